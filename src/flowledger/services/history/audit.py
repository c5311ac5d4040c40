"""What is done to the history, for the audit trail."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import uuid4

from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey, Json
from flowledger.ports import Ledger
from flowledger.services.history.paging import pages_of

DELETE, CLEANUP, IMPORT, MIGRATE, RESTORE = "DELETE", "CLEANUP", "IMPORT", "MIGRATE", "RESTORE"
INCOMING = (IMPORT, MIGRATE, RESTORE)
"""Acts that a ledger has on record about itself only, since what came in came from another."""
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^@/\s]*@")


def act(
    operation_type: str,
    at: datetime,
    user: str,
    data: Mapping[str, Json],
    *,
    app: AppKey | None = None,
    subject: str | None = None,
) -> Operation:
    """Make an operation with an id of its own."""
    return Operation(f"history-{uuid4().hex}", operation_type, at, user, app, subject, dict(data))


def without_password(place: str) -> str:
    """Return a URL or folder without the password in it."""
    return _PASSWORD.sub(r"\1:…@", place).partition("?")[0]


BATCH = 500


def delete(ledger: Ledger, keys: Sequence[RunKey], *, at: datetime, user: str) -> int:
    """Delete single runs, each on record; return how many there were."""
    for key in keys:
        ledger.record(act(DELETE, at, user, {"run_id": key.run_id}, app=key.app, subject=key.run_id))
    return ledger.delete_runs(keys)


def clear(
    ledger: Ledger,
    query: RunQuery,
    *,
    at: datetime,
    user: str,
    data: dict[str, object],
    on_deleted: Callable[[int], None] = lambda _runs: None,
) -> int:
    """Delete all runs of a query and give how many; ``told`` is what the audit trail says of it.

    ``gone`` is told after each batch how many more are deleted.
    """
    app = query.apps[0] if query.apps and len(query.apps) == 1 else None
    ledger.record(act(CLEANUP, at, user, data, app=app))
    count = 0
    for page in pages_of(ledger, query, with_details=False):
        keys = [RunKey(entry.run.app, entry.run.run_id) for entry in page]
        for first in range(0, len(keys), BATCH):
            deleted = ledger.delete_runs(keys[first : first + BATCH])
            count += deleted
            on_deleted(deleted)
    return count
