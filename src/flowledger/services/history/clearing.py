"""Runs deleted in small batches; what is to go is on record before the first one goes."""

from collections.abc import Callable, Sequence
from datetime import datetime

from flowledger.domain.history import RunKey, RunQuery
from flowledger.ports import Ledger
from flowledger.services.history.audit import CLEANUP, DELETE, act
from flowledger.services.history.paging import pages_of

BATCH = 500


def delete(ledger: Ledger, keys: Sequence[RunKey], *, at: datetime, user: str) -> int:
    """Delete single runs, each on record; give how many there were."""
    for key in keys:
        ledger.record(act(DELETE, at, user, {"run_id": key.run_id}, app=key.app, subject=key.run_id))
    return ledger.delete_runs(keys)


def clear(
    ledger: Ledger,
    query: RunQuery,
    *,
    at: datetime,
    user: str,
    told: dict[str, object],
    gone: Callable[[int], None] = lambda _runs: None,
) -> int:
    """Delete all runs of a query and give how many; ``told`` is what the audit trail says of it.

    ``gone`` is told after each batch how many more are deleted.
    """
    app = query.apps[0] if query.apps and len(query.apps) == 1 else None
    ledger.record(act(CLEANUP, at, user, told, app=app))
    count = 0
    for page in pages_of(ledger, query, with_details=False):
        keys = [RunKey(entry.run.app, entry.run.run_id) for entry in page]
        for first in range(0, len(keys), BATCH):
            deleted = ledger.delete_runs(keys[first : first + BATCH])
            count += deleted
            gone(deleted)
    return count
