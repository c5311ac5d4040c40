"""Where things are in a ledger's folder; no id is ever a path."""

import re

from flowledger.domain.names import safe_name

_AS_IT_IS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
EXECUTIONS = "workflow_executions"
OPERATIONS = "workflow_operations"
HISTORIES = "execution_history"
RUNS = "runs"
JOURNALS = "journals"
FORMAT = "format.json"


def file_stem(name: str) -> str:
    """Give the name of a file without its ending: an id that is one already, else a safe one made of it."""
    return name if _AS_IT_IS.fullmatch(name) else safe_name(name)
