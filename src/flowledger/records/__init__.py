"""Records of other programs: ``LogService`` and ``ExecutionHistoryService`` over the one ledger.

Importing opens nothing: ``log_service`` reads the settings and opens the ledger at its first use.
"""

from flowledger.domain.coze_runs import NOT_GIVEN
from flowledger.records.execution_history import ExecutionHistoryService
from flowledger.records.log_service import LogService, WorkflowLogger, load_default_config, log_service
from flowledger.records.models import (
    OPERATION_TYPES,
    LogFormatter,
    WorkflowExecutionLog,
    WorkflowOperationLog,
)
from flowledger.records.storage import BaseLogStorage, DatabaseLogStorage, FileLogStorage, create_storage

__all__ = [
    "NOT_GIVEN",
    "OPERATION_TYPES",
    "BaseLogStorage",
    "DatabaseLogStorage",
    "ExecutionHistoryService",
    "FileLogStorage",
    "LogFormatter",
    "LogService",
    "WorkflowExecutionLog",
    "WorkflowLogger",
    "WorkflowOperationLog",
    "create_storage",
    "load_default_config",
    "log_service",
]
