"""What becomes of a held run when it is seen again; pure, one rule for every backend."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto

from flowledger.domain.history import RunKey
from flowledger.domain.runs import Run, RunStatus
from flowledger.ledger.texts import clean


class Change(Enum):
    """What a sighting of a run does to the one held."""

    REPLACE = auto()
    MARK_GONE = auto()
    KEEP = auto()


def change(held: RunStatus, *, held_gone: bool, seen: Run) -> Change:
    """Decide: what is known outlives the source's own row, and a final run is never made open again.

    A row that does not say who started the run (a chatflow's) has no news of one that has ended.
    """
    if seen.gone:
        return Change.KEEP if held_gone else Change.MARK_GONE
    if seen.creator is None and not held.is_open:
        return Change.KEEP
    return Change.KEEP if seen.status.is_open and not held.is_open else Change.REPLACE


def combine(held: Run, seen: Run) -> Run:
    """Give the run to keep; a sighting without log id or raw row does not take the held ones away."""
    match change(held.status, held_gone=held.gone, seen=seen):
        case Change.KEEP:
            return held
        case Change.MARK_GONE:
            return replace(held, gone=True)
        case Change.REPLACE:
            return replace(seen, log_id=seen.log_id or held.log_id, raw=seen.raw or held.raw)


def latest(held: datetime | None, seen: datetime | None) -> datetime | None:
    """Give the later of two collections, either of which may not have been."""
    if held is None or seen is None:
        return held or seen
    return max(held, seen)


def check_amended(key: RunKey, run: Run) -> None:
    """Refuse a change that makes another run of the one it was asked about.

    :raises ValueError: naming both.
    """
    if clean(str(RunKey(run.app, run.run_id))) != clean(str(key)):
        raise ValueError(f"the change of run {key} gave run {run.run_id} of {run.app}")


@dataclass(slots=True, eq=False)
class Sighted:
    """A run as all sightings so far make it."""

    run: Run


@dataclass(frozen=True, slots=True)
class Roll:
    """The runs of one app, each once, whatever ids they were seen under.

    A gone row may come under an id of its own; the log id then tells that its run is known already,
    or, when the run turns up later, that it takes the place of the gone row.
    """

    by_run: dict[str, Sighted] = field(default_factory=dict)
    by_log: dict[str, Sighted] = field(default_factory=dict)

    def see(self, seen: Run) -> tuple[Sighted, bool]:
        """Take a sighting in; say which run it is and whether nothing was known of it before."""
        sighted = self.by_run.get(seen.run_id)
        fresh = sighted is None
        if sighted is not None:
            sighted.run = combine(sighted.run, seen)
        else:
            sighted, fresh = self._see_by_log_id(seen)
        self.by_run[sighted.run.run_id] = sighted
        if sighted.run.log_id:
            self.by_log[sighted.run.log_id] = sighted
        return sighted, fresh

    def forget(self, sighted: Sighted) -> None:
        """Know nothing of a run any more."""
        self.by_run.pop(sighted.run.run_id, None)
        if sighted.run.log_id:
            self.by_log.pop(sighted.run.log_id, None)

    def _see_by_log_id(self, seen: Run) -> tuple[Sighted, bool]:
        known = self.by_log.get(seen.log_id or "")
        if known is None or not (seen.gone or known.run.gone):
            return Sighted(seen), True
        if seen.gone:
            known.run = combine(known.run, seen)
            return known, False
        del self.by_run[known.run.run_id]
        known.run = seen
        return known, True
