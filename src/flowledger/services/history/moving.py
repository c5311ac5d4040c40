"""Bring all that one ledger holds into another, batch by batch, each read back before the next."""

from collections.abc import Callable, Iterable

from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.run_documents import digest_of
from flowledger.domain.runs import AppKey, Entry
from flowledger.ports import Ledger
from flowledger.services.history.copying import Tally, copy_rest, save_entries
from flowledger.services.history.paging import count_of, pages_of


def migrate(
    source: Ledger,
    target: Ledger,
    *,
    resume: bool = False,
    apps: Iterable[AppKey] = (),
    moved: Callable[[int], None] = lambda _runs: None,
) -> Tally:
    """Copy everything; twice is once.  ``problems`` name the runs that are not the same in the target.

    ``resume`` leaves out what the target holds already, to the last byte; ``apps`` are those that may have
    certificates and no runs; ``moved`` is told after each batch how many more runs are safe.
    """
    tally = Tally()
    for page in pages_of(source, RunQuery(), with_details=True):
        batch = [entry for entry in page if not holds(target, entry)] if resume else page
        save_entries(target, batch)
        tally.problems += [_differs(entry) for entry in batch if not holds(target, entry)]
        tally.runs += len(batch)
        tally.skipped += len(page) - len(batch)
        moved(len(page))
    copy_rest(source, target, tally, apps)
    return tally


def would_migrate(source: Ledger, target: Ledger | None) -> Tally:
    """Tell how many runs would go over, and how many the target (None: not there yet) holds already."""
    if target is None:
        return Tally(runs=count_of(source, RunQuery()))
    tally = Tally()
    for page in pages_of(source, RunQuery(), with_details=True):
        held = sum(holds(target, entry) for entry in page)
        tally.runs += len(page) - held
        tally.skipped += held
    return tally


def holds(target: Ledger, entry: Entry) -> bool:
    """Whether a ledger holds a run with its detail just so."""
    held = target.entry(RunKey(entry.run.app, entry.run.run_id))
    return held is not None and digest_of(held) == digest_of(entry)


def _differs(entry: Entry) -> str:
    run = entry.run
    return f"run {run.app}:{run.run_id} is held otherwise in the target: newer, or read more deeply, there"
