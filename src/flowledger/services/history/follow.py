"""The newest runs, then new and changed ones as they come; memory does not grow."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.runs import Entry, Run
from flowledger.ports import RunHistory
from flowledger.services.history.paging import runs_of

WATCHED = 1000
"""So many of the newest runs are watched for changes."""


@dataclass(slots=True)
class Follower:
    """Gives what is new or has changed since it was asked before, oldest first."""

    history: RunHistory
    query: RunQuery
    seen: dict[RunKey, Run] = field(default_factory=dict)
    """The newest runs as they were, newest first."""
    since: datetime | None = None

    def begin(self, count: int) -> list[Entry]:
        """Give the newest so many."""
        newest = list(islice(runs_of(self.history, self.query), max(count, WATCHED)))
        self._watch({_key(entry): entry.run for entry in newest})
        return newest[:count][::-1]

    def again(self) -> list[Entry]:
        """Give the runs that are new, or not as they were."""
        query = self.query if self.since is None else replace(self.query, listed_from=self.since)
        now: dict[RunKey, Run] = {}
        found: list[Entry] = []
        for entry in runs_of(self.history, query):
            key = _key(entry)
            now[key] = entry.run
            if self.seen.get(key) != entry.run:
                found.append(entry)
        self._watch(now)
        return found[::-1]

    def _watch(self, runs: dict[RunKey, Run]) -> None:
        self.seen = dict(islice(runs.items(), WATCHED))
        if len(self.seen) == WATCHED:
            # Of the last instant some may not be watched: it is left out, lest they be told again.
            edge = next(reversed(self.seen.values())).listed_at
            self.seen = {key: run for key, run in self.seen.items() if run.listed_at > edge} or self.seen
            self.since = next(reversed(self.seen.values())).listed_at


def follow(follower: Follower, wait: Callable[[], None]) -> Iterator[list[Entry]]:
    """Give batches for ever, waiting between them."""
    while True:
        wait()
        if found := follower.again():
            yield found


def _key(entry: Entry) -> RunKey:
    return RunKey(entry.run.app, entry.run.run_id)
