"""The history of runs for people and programs: read, exported, copied, compared, cleared."""
