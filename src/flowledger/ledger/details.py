"""What a ledger keeps of a detail, and how it becomes a detail again; pure, one rule for every backend."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from flowledger.domain.costs import cost_of
from flowledger.domain.history import RunFacts
from flowledger.domain.runs import UNREAD, Detail, Detailed, Entry, Level, Missing, Run, level_of
from flowledger.errors import LedgerError
from flowledger.ledger.texts import clean
from flowledger.ports import Decoder

NOT_READ = UNREAD
LEFT_OUT = Missing("left out of this reading")


@dataclass(frozen=True, slots=True)
class HeldDetail:
    """A detail without its bodies: depth, why it is not deeper, and whether its run was open when read."""

    level: Level
    reason: str
    permanent: bool
    read_open: bool

    @property
    def may_change(self) -> bool:
        """Whether something was read of a run that had not ended."""
        return self.read_open and self.level > Level.NONE

    @property
    def settled(self) -> bool:
        """Whether no wish for depth can ever make the run pending again."""
        return not self.may_change and (self.permanent or self.level == Level.NODES)


def summarise(run: Run, detail: Detail) -> HeldDetail:
    """Tell what to keep of a detail; ``run`` is the run as it was when the detail was read."""
    absent = detail.nodes if isinstance(detail, Detailed) else detail
    reason, permanent = (absent.reason, absent.permanent) if isinstance(absent, Missing) else ("", False)
    return HeldDetail(level_of(detail), clean(reason), permanent, run.status.is_open)


def replaces(held: HeldDetail | None, seen: HeldDetail) -> bool:
    """Whether a detail takes the place of the held one: one that is less deep never does."""
    return held is None or seen.level >= held.level


def is_pending(run: Run, held: HeldDetail | None, level: Level, open_since: datetime) -> bool:
    """Whether a run needs enrichment (``ports.Ledger.pending``)."""
    if held is None:
        return level > Level.NONE
    if held.level < level and not held.permanent:
        return True
    return held.may_change and (not run.status.is_open or run.listed_at >= open_since)


def rebuild(
    run: Run, held: HeldDetail | None, raws: Mapping[str, bytes], decoders: Mapping[str, Decoder]
) -> Detail:
    """Make a detail of what is held.

    :raises LedgerError: when nothing can read the bodies of the run's source.
    """
    if held is None:
        return NOT_READ
    if held.level == Level.NONE:
        return Missing(held.reason, held.permanent)
    if run.app.source not in decoders:
        raise LedgerError(
            f"run {run.run_id} of {run.app}: nothing here can read details of the source {run.app.source!r};"
            f" readable are {', '.join(sorted(decoders)) or 'none'}: add its decoder"
        )
    detailed = decoders[run.app.source](run, raws, held.reason)
    if held.level == Level.NODES:
        return detailed
    return replace(detailed, nodes=Missing(held.reason, held.permanent))


def facts_of(entry: Entry) -> RunFacts:
    """Tell what statistics count of a run."""
    run, detail = entry.run, entry.detail
    nodes = () if isinstance(detail, Missing) or isinstance(detail.nodes, Missing) else detail.nodes
    return RunFacts(run.app, run.listed_at, run.status, run.elapsed_s, run.total_tokens, cost_of(nodes))
