"""What is done to the history, for the audit trail."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import KINDS
from flowledger.domain.runs import AppKey, Detail, Detailed, Entry, Json, Missing
from flowledger.errors import UsageError
from flowledger.ports import Ledger
from flowledger.services.history.paging import pages_of

DELETE, CLEANUP, IMPORT, MIGRATE, RESTORE = "DELETE", "CLEANUP", "IMPORT", "MIGRATE", "RESTORE"
MOVE = "MOVE"
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


def move_app(ledger: Ledger, source: AppKey, target: AppKey, *, at: datetime, user: str, runs: int) -> int:
    """Move the runs of an app to another one, batch by batch, and return how many were moved.

    Each is written there before it is deleted here, so that a move that was interrupted is begun again.
    What was read under the wrong app and is no proof of anything (no nodes, an unknown run) is read anew.

    :raises UsageError: when both are the same app, or of different sources.
    """
    if source == target or source.source != target.source or source.source in KINDS:
        raise UsageError(
            f"runs of {source} cannot be moved to {target}: name two apps of one source; a record of another"
            " program names its workflow itself"
        )
    ledger.record(act(MOVE, at, user, {"from": str(source), "to": str(target), "runs": runs}, app=source))
    count = 0
    for page in pages_of(ledger, RunQuery(apps=(source,)), with_details=True):
        ledger.save_details([(replace(each.run, app=target), _under_other_app(each)) for each in page])
        count += ledger.delete_runs([RunKey(source, each.run.run_id) for each in page])
    return count


def _under_other_app(entry: Entry) -> Detail:
    """Return what is worth moving of a detail that was read under an app that did not have the run."""
    match entry.detail:
        case Missing(reason):
            return Missing(reason)
        case Detailed(nodes=Missing(reason)) as detail:
            return replace(detail, nodes=Missing(reason))
        case Detailed(nodes=nodes) as detail if not nodes and entry.run.total_steps:
            raw = {name: body for name, body in detail.raw.items() if name != "nodes"}
            return replace(detail, nodes=Missing("read under another app"), raw=raw)
        case detail:
            return detail
