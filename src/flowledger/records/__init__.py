"""For other programs: ``LogService`` and ``ExecutionHistoryService`` record, workflows are executed.

Importing opens nothing: ``log_service`` reads the settings and opens the ledger at its first use.
"""

from flowledger.domain.coze_runs import NOT_GIVEN
from flowledger.domain.workflows.definition import ConnectionType, NodeType
from flowledger.records.execution_history import ExecutionHistoryService
from flowledger.records.log_service import LogService, WorkflowLogger, load_default_config, log_service
from flowledger.records.models import (
    OPERATION_TYPES,
    LogFormatter,
    WorkflowExecutionLog,
    WorkflowOperationLog,
)
from flowledger.records.storage import BaseLogStorage, DatabaseLogStorage, FileLogStorage, create_storage
from flowledger.records.workflow_executor import WorkflowExecutor, WorkflowPlugin
from flowledger.records.workflow_monitor import WorkflowMonitor
from flowledger.records.workflow_orchestrator import WorkflowOrchestrator

__all__ = [
    "NOT_GIVEN",
    "OPERATION_TYPES",
    "BaseLogStorage",
    "ConnectionType",
    "DatabaseLogStorage",
    "ExecutionHistoryService",
    "FileLogStorage",
    "LogFormatter",
    "LogService",
    "NodeType",
    "WorkflowExecutionLog",
    "WorkflowExecutor",
    "WorkflowLogger",
    "WorkflowMonitor",
    "WorkflowOperationLog",
    "WorkflowOrchestrator",
    "WorkflowPlugin",
    "create_storage",
    "load_default_config",
    "log_service",
]
