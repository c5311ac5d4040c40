"""The words callers may use for a kind of log."""

from collections.abc import Mapping

from flowledger.domain.record_checks import shortened
from flowledger.errors import UsageError

EXECUTIONS = "workflow_executions"
OPERATIONS = "workflow_operations"
_LOG_TYPES: Mapping[str, str] = {
    word: log_type
    for log_type in (EXECUTIONS, OPERATIONS)
    for one in (log_type.removesuffix("s"), log_type.removeprefix("workflow_").removesuffix("s"))
    for word in (one, f"{one}s", f"{one}_log", f"{one}_logs")
}
OPERATION_TYPES = (
    *("CREATE", "UPDATE", "DELETE", "PUBLISH", "EXECUTE", "CANCEL", "RESUME", "RETRY"),
    *("APPROVE", "REJECT", "IMPORT", "EXPORT", "MIGRATE", "CLEANUP", "CONFIG"),
)
"""What usually happens to a workflow; other words are kept as well."""


def log_type_of(word: object) -> str:
    """Give the kind of log that a word means: ``EXECUTIONS`` or ``OPERATIONS``.

    :raises UsageError: for an unknown word.
    """
    known = _LOG_TYPES.get(word.lower()) if isinstance(word, str) else None
    if known is None:
        raise UsageError(f"unknown type of log {shortened(word)}: {EXECUTIONS} or {OPERATIONS}")
    return known
