"""What can be asked of the history of runs and operations, and what comes back: one rule for all ledgers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey, Entry, Run, RunStatus

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class RunKey(NamedTuple):
    """Which run: ids are unique within their app."""

    app: AppKey
    run_id: str

    def __str__(self) -> str:
        return f"{self.app}:{self.run_id}"


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs are wanted; what is left out asks for nothing.

    ``apps`` None means every app, and none at all where it is empty.  ``workflows`` are app ids in any
    source.  ``listed_from`` (included) and ``listed_before`` (excluded) are aware.  ``user`` is exactly the
    id, name, e-mail or session id of who started the run.  Bounds of the duration are in seconds and
    included; a run without a duration lies within no bound.  ``text`` is looked for in run id, error and the
    starter's name and session id, the letters A to Z in either case.
    """

    sources: tuple[str, ...] = ()
    apps: tuple[AppKey, ...] | None = None
    workflows: tuple[str, ...] = ()
    statuses: tuple[RunStatus, ...] = ()
    listed_from: datetime | None = None
    listed_before: datetime | None = None
    user: str = ""
    at_least_s: Decimal | None = None
    at_most_s: Decimal | None = None
    text: str = ""

    def admits(self, run: Run) -> bool:
        """Return whether a run is wanted; what SQL decides must be the same."""
        return (
            (not self.sources or run.app.source in self.sources)
            and (self.apps is None or run.app in self.apps)
            and (not self.workflows or run.app.app_id in self.workflows)
            and (not self.statuses or run.status in self.statuses)
            and (self.listed_from is None or run.listed_at >= self.listed_from)
            and (self.listed_before is None or run.listed_at < self.listed_before)
            and (not self.user or self.user in _starters(run))
            and self._lasted(run.elapsed_s)
            and (not self.text or lowered(self.text) in lowered("\n".join(_texts(run))))
        )

    def _lasted(self, elapsed_s: Decimal | None) -> bool:
        if self.at_least_s is None and self.at_most_s is None:
            return True
        if elapsed_s is None or not elapsed_s.is_finite():
            return False
        return (self.at_least_s is None or elapsed_s >= self.at_least_s) and (
            self.at_most_s is None or elapsed_s <= self.at_most_s
        )


@dataclass(frozen=True, slots=True)
class OperationQuery:
    """Which operations are wanted; what is left out asks for nothing.

    ``apps`` None means every app and those about none.  ``since`` (included) and ``before`` (excluded) are
    aware.
    """

    apps: tuple[AppKey, ...] | None = None
    types: tuple[str, ...] = ()
    subject: str = ""
    user: str = ""
    since: datetime | None = None
    before: datetime | None = None

    def admits(self, operation: Operation) -> bool:
        """Return whether an operation is wanted."""
        return (
            (self.apps is None or operation.app in self.apps)
            and (not self.types or operation.operation_type in self.types)
            and (not self.subject or operation.subject == self.subject)
            and (not self.user or operation.user == self.user)
            and (self.since is None or operation.at >= self.since)
            and (self.before is None or operation.at < self.before)
        )


EVERY_OPERATION = OperationQuery()


class Place(NamedTuple):
    """Where a page ended: what follows in the order is still to come.

    The order is newest first; ``tie`` tells those of one instant apart and is the ledger's own.
    """

    at: datetime
    tie: str


class HistoryPage(NamedTuple):
    """Runs newest first, and where the page ended; None where nothing follows."""

    entries: Sequence[Entry]
    following: Place | None


class RunFacts(NamedTuple):
    """What statistics count of one run; ``cost`` is by currency, and all there is only if ``cost_known``."""

    app: AppKey
    listed_at: datetime
    status: RunStatus
    elapsed_s: Decimal | None
    total_tokens: int | None
    cost: Mapping[str, Decimal] = MappingProxyType({})
    cost_known: bool = False


@dataclass(frozen=True, slots=True)
class AppSummary:
    """What the ledger holds of one app; the instants are those of its oldest and newest run."""

    app: AppKey
    by_status: Mapping[RunStatus, int]
    first_at: datetime
    last_at: datetime

    @property
    def runs(self) -> int:
        """How many runs."""
        return sum(self.by_status.values())


class RunSize(NamedTuple):
    """What one run takes: its row's and its bodies' bytes as kept, compressed where they are."""

    run_id: str
    listed_at: datetime
    size_bytes: int


def lowered(text: str) -> str:
    """Return a text with only the letters A to Z in lower case, which every database does alike."""
    return text.translate(_LOWER)


def _starters(run: Run) -> tuple[str | None, ...]:
    creator = run.creator
    return (creator.id, creator.name, creator.email, creator.session_id) if creator else ()


def _texts(run: Run) -> list[str]:
    creator = run.creator
    texts = (run.run_id, run.error, *((creator.name, creator.session_id) if creator else ()))
    return [text for text in texts if text]
