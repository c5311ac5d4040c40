"""Records of other programs: ``LogService`` and ``ExecutionHistoryService``."""
