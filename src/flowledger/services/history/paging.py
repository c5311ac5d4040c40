"""Runs and operations as streams, a page in memory at a time, and polling for new and changed runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from flowledger.domain.history import EVERY_OPERATION, OperationQuery, Place, RunKey, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.runs import Entry, Run
from flowledger.ports import AuditTrail, RunHistory

PAGE = 2000
"""Runs read at once without details."""
DETAILED_PAGE = 32
"""Runs read at once with details, each of which may be megabytes."""
OPERATIONS_PAGE = 1000
WATCHED = 1000
"""So many of the newest runs are watched for changes."""


def pages_of(
    history: RunHistory, query: RunQuery, *, with_details: bool, limit: int | None = None
) -> Iterator[Sequence[Entry]]:
    """Yield runs newest first, page by page; what is written meanwhile may or may not be among them.

    Runs of a page may be deleted before the next one is read.
    """
    place: Place | None = None
    limit = limit or (DETAILED_PAGE if with_details else PAGE)
    while True:
        page = history.history(query, after=place, limit=limit, with_details=with_details)
        if page.entries:
            yield page.entries
        place = page.following
        if place is None:
            return


def runs_of(history: RunHistory, query: RunQuery, *, with_details: bool = False) -> Iterator[Entry]:
    """Yield runs newest first."""
    for page in pages_of(history, query, with_details=with_details):
        yield from page


def count_of(history: RunHistory, query: RunQuery) -> int:
    """Count the runs of a query."""
    return sum(len(page) for page in pages_of(history, query, with_details=False))


def operations_of(trail: AuditTrail, query: OperationQuery = EVERY_OPERATION) -> Iterator[Operation]:
    """Yield operations newest first."""
    place: Place | None = None
    while page := trail.operations(query, after=place, limit=OPERATIONS_PAGE):
        yield from page
        if len(page) < OPERATIONS_PAGE:
            return
        place = Place(page[-1].at, page[-1].operation_id)


@dataclass(slots=True)
class Follower:
    """Reads what is new or has changed since the last reading, oldest first, in memory that does not grow."""

    history: RunHistory
    query: RunQuery
    watched: dict[RunKey, Run] = field(default_factory=dict)
    """The newest runs as they were, newest first."""
    since: datetime | None = None

    def begin(self, count: int) -> list[Entry]:
        """Return the newest ``count`` runs."""
        newest = list(islice(runs_of(self.history, self.query), max(count, WATCHED)))
        self._watch({_key(entry): entry.run for entry in newest})
        return newest[:count][::-1]

    def again(self) -> list[Entry]:
        """Return the runs that are new, or not as they were."""
        query = self.query if self.since is None else replace(self.query, listed_from=self.since)
        now: dict[RunKey, Run] = {}
        changed: list[Entry] = []
        for entry in runs_of(self.history, query):
            key = _key(entry)
            now[key] = entry.run
            if self.watched.get(key) != entry.run:
                changed.append(entry)
        self._watch(now)
        return changed[::-1]

    def _watch(self, runs: dict[RunKey, Run]) -> None:
        self.watched = dict(islice(runs.items(), WATCHED))
        if len(self.watched) == WATCHED:
            # Some runs of the oldest instant may not fit: it is left out, lest they are reported each time.
            edge = next(reversed(self.watched.values())).listed_at
            newer = {key: run for key, run in self.watched.items() if run.listed_at > edge}
            self.watched = newer or self.watched
            self.since = next(reversed(self.watched.values())).listed_at


def follow(follower: Follower, wait: Callable[[], None]) -> Iterator[list[Entry]]:
    """Yield batches of changed runs for ever, waiting between them."""
    while True:
        wait()
        if changed := follower.again():
            yield changed


def _key(entry: Entry) -> RunKey:
    return RunKey(entry.run.app, entry.run.run_id)
