"""The ``Ledger`` port over JSON files."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import merge as merged
from pathlib import Path
from typing import Self, TypeVar

from flowledger.domain.access_keys import AccessKey
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.history import (
    EVERY_OPERATION,
    AppSummary,
    HistoryPage,
    OperationQuery,
    Place,
    RunFacts,
    RunKey,
    RunQuery,
    RunSize,
)
from flowledger.domain.messages import Letter
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey, Detail, Entry, Level, Run
from flowledger.domain.windows import Window
from flowledger.errors import UsageError
from flowledger.ledger.details import LEFT_OUT, is_pending
from flowledger.ledger.files.folder import Folder
from flowledger.ledger.files.index import AppIndex, Item
from flowledger.ledger.files.merge import Merge
from flowledger.ledger.storable import storable
from flowledger.ledger.texts import clean
from flowledger.ports import Change, Decoder

Each = TypeVar("Each")
PAGE = 50
"""So many runs are read at once."""
CHUNK = 200
"""So many places in the order of an app are looked up at once."""
Order = tuple[datetime, str, str, str]
"""Listed at, source, app id, run id: newest first, this order reversed."""


@dataclass(frozen=True, slots=True)
class FileLedger:
    """The ``Ledger`` port over JSON files; threads and processes may share the folder.

    A write of one app is all or nothing; one of several apps is so for each of them.
    """

    folder: Folder

    @classmethod
    def open(cls, url: str, decoders: Mapping[str, Decoder]) -> Self:
        """Open the folder of ``file:///DIR``; its files are read when they are asked for.

        :raises UsageError: when the URL names no folder; LedgerError: when it cannot be used;
            LedgerVersionError: when its format is newer than this program.
        """
        place = url.partition("://")[2]
        if not place.strip("/"):
            raise UsageError(f"{url} names no folder: write file:///path/to/folder")
        return cls(Folder.open(Path(place), decoders))

    @property
    def problems(self) -> Sequence[str]:
        """What was found damaged since it was opened."""
        return tuple(self.folder.problems)

    def save_runs(
        self, runs: Sequence[Run], *, scope: Scope, at: datetime, certificate: Certificate | None = None
    ) -> None:
        """Insert or update runs, and the scope's certificate."""
        kept, proof = storable(scope), None if certificate is None else storable(certificate)
        by_app = _by_app(runs, lambda run: run)
        mine = by_app.pop(kept.app, [])
        for app, others in by_app.items():
            self.folder.shelf(app).save(app, _seeing(others, at))
        if mine or proof is not None:
            self.folder.shelf(kept.app).save(kept.app, _seeing(mine, at), kept, proof)

    def save_details(self, details: Sequence[tuple[Run, Detail]]) -> None:
        """Keep details, and the runs as they are now."""
        for app, mine in _by_app(details, lambda each: each[0]).items():

            def read(merge: Merge, mine: Sequence[tuple[Run, Detail]] = mine) -> Sequence[str]:
                for run, detail in mine:
                    merge.read_detail(run, detail)
                return ()

            self.folder.shelf(app).save(app, read)

    def certificate(self, scope: Scope) -> Certificate | None:
        """Give the newest certificate of exactly this scope."""
        wanted = storable(scope)
        return self._index(wanted.app).certificates.get((wanted.window, wanted.query))

    def certificates(self, app: AppKey, within: Window, query: str | None = "") -> Sequence[Certificate]:
        """Give the newest certificate of each scope inside a window, oldest window first."""
        held = list(self._index(storable(app)).certificates.values())
        found = [
            certificate
            for certificate in held
            if (query is None or certificate.scope.query == clean(query))
            and within.covers(certificate.scope.window)
        ]
        return sorted(found, key=lambda certificate: (certificate.scope.window, certificate.scope.query))

    def count(self, scope: Scope, *, collected_since: datetime | None = None) -> int:
        """Count the runs of a scope (only those a collection has seen since an instant)."""
        wanted = storable(scope)
        shelf = self.folder.shelf(wanted.app)
        with shelf.journal.lock:
            index = shelf.index(wanted.app)
            if collected_since is None and not wanted.query:
                return index.number(wanted.window)
            return sum(
                collected_since is None
                or (item.collected_at is not None and item.collected_at >= collected_since)
                for item in index.within(wanted.window, wanted.query)
            )

    def pending(
        self, scope: Scope, level: Level, *, open_since: datetime, tried: bool | None = None
    ) -> Iterator[Run]:
        """Stream the runs that need enrichment, newest first."""

        def needs_it(item: Item) -> bool:
            if tried not in (None, item.held is not None):
                return False
            return is_pending(item, item.held, level, open_since)  # type: ignore[arg-type]  # listed as a run is

        return self._runs(scope, needs_it)

    def open_runs(self, scope: Scope) -> Iterator[Run]:
        """Stream the runs that had not ended when they were last seen, newest first."""
        return self._runs(scope, lambda item: item.status.is_open)

    def entries(self, scope: Scope, *, with_details: bool = True) -> Iterator[Entry]:
        """Stream runs with their details, newest first."""
        wanted = storable(scope)
        shelf = self.folder.shelf(wanted.app)
        for ids in _pages(self._scoped(wanted, lambda _: True)):
            yield from shelf.entries(wanted.app, ids, with_details=with_details)

    def apps(self) -> Sequence[AppSummary]:
        """Tell of every app that has runs, by source and id."""
        found = []
        for shelf in self.folder.shelves():
            with shelf.journal.lock:
                found += [_summary(app, index) for app, index in shelf.apps().items() if index.items]
        return sorted(found, key=lambda summary: str(summary.app))

    def history(
        self, query: RunQuery, *, after: Place | None = None, limit: int = 50, with_details: bool = False
    ) -> HistoryPage:
        """Read a page of runs, newest first."""
        wanted = storable(query)
        found: list[Entry] = []
        for entry in self._wanted(wanted, after, with_details=with_details):
            if len(found) == limit:
                return HistoryPage(found, _place(found[-1].run))
            found.append(entry if with_details else Entry(replace(entry.run, raw=b""), LEFT_OUT))
        return HistoryPage(found, None)

    def entry(self, key: RunKey) -> Entry | None:
        """Give one run with its detail; None where there is none."""
        kept = _kept(key)
        return self.folder.shelf(kept.app).entry(kept.app, kept.run_id)

    def locate(self, source: str, run_id: str) -> AppKey | None:
        """Give the app of a run that is known by its source and id alone; the newest, should there be two."""
        source, run_id = clean(source), clean(run_id)
        held: list[tuple[datetime, str, AppKey]] = []
        for shelf in self.folder.shelves([source]):
            for app, index in shelf.apps().items():
                item = index.items.get(run_id)
                if item is not None and app.source == source:
                    held.append((item.listed_at, app.app_id, app))
        return max(held)[2] if held else None

    def facts(self, query: RunQuery) -> Iterator[RunFacts]:
        """Stream what statistics count."""
        for entry in self._wanted(storable(query), None, with_details=False):
            run = entry.run
            facts = self.folder.shelf(run.app).facts(run.app, run.run_id)
            if facts is not None:
                yield facts

    def sizes(self, app: AppKey) -> Iterator[RunSize]:
        """Stream what each run of an app takes, newest first."""
        shelf, kept = self.folder.shelf(storable(app)), storable(app)
        with shelf.journal.lock:
            index = shelf.index(kept)
            held = [index.items[run_id] for _, run_id in reversed(index.order)]
        for item in held:
            yield RunSize(item.run_id, item.listed_at, item.size_bytes)

    def amend(self, key: RunKey, change: Change) -> Entry | None:
        """Read one run and keep what becomes of it, with nobody between."""
        kept = _kept(key)
        return self.folder.shelf(kept.app).amend(kept, change)

    def delete_runs(self, keys: Sequence[RunKey]) -> int:
        """Forget runs with all that is kept of them; give how many there were."""
        by_app: dict[AppKey, list[str]] = {}
        for key in map(_kept, keys):
            by_app.setdefault(key.app, []).append(key.run_id)
        return sum(self.folder.shelf(app).delete(app, ids) for app, ids in by_app.items())

    def compact(self) -> None:
        """Give the space of what was deleted back to the disk."""
        self.folder.compact()

    def record(self, operation: Operation) -> bool:
        """Append to the audit trail; the same operation id twice is once, and False the second time."""
        return self.folder.operations.record(storable(operation))

    def operation(self, operation_id: str) -> Operation | None:
        """Give one operation; None where there is none."""
        return self.folder.operations.operation(clean(operation_id))

    def operations(
        self, query: OperationQuery = EVERY_OPERATION, *, after: Place | None = None, limit: int = 1000
    ) -> Sequence[Operation]:
        """Give operations, newest first, those of one instant by falling id."""
        return self.folder.operations.operations(storable(query), after, limit)

    def keep_key(self, key: AccessKey) -> None:
        """Keep a key; one of the same id is replaced."""
        self.folder.keys.keep(storable(key))

    def access_keys(self) -> Sequence[AccessKey]:
        """Give all keys, oldest first."""
        return self.folder.keys.keys()

    def post(self, letters: Sequence[Letter]) -> int:
        """Keep letters to be sent, and give how many are new."""
        return self.folder.letters.post(letters)

    def claim(self, at: datetime, lease: timedelta, *, limit: int = 100) -> Sequence[Letter]:
        """Take letters that may be tried at ``at``, oldest first, for as long as the lease lasts."""
        return self.folder.letters.claim(at, lease, limit)

    def settle(self, letter: Letter) -> None:
        """Keep what came of a letter; one that was sent stays sent.

        :raises LedgerError: when it was never posted.
        """
        self.folder.letters.settle(letter)

    def letters(self, *, waiting: bool | None = None, limit: int = 100) -> Sequence[Letter]:
        """Give the newest letters, newest first: all, only those still waiting, or only the others."""
        return self.folder.letters.letters(waiting, limit)

    def forget_letters(self, posted_before: datetime) -> int:
        """Forget letters posted before an instant that wait no more; give how many."""
        return self.folder.letters.forget(posted_before)

    def close(self) -> None:
        """Nothing to give back: files are open only while they are used."""

    def _index(self, app: AppKey) -> AppIndex:
        return self.folder.shelf(app).index(app)

    def _scoped(self, scope: Scope, wanted: Callable[[Item], bool]) -> Sequence[str]:
        """Give the ids of a scope's runs, newest first, ties by log id, then run id."""
        shelf = self.folder.shelf(scope.app)
        with shelf.journal.lock:
            found = [
                (item.listed_at, item.log_id or "", item.run_id)
                for item in shelf.index(scope.app).within(scope.window, scope.query)
                if wanted(item)
            ]
        found.sort(key=lambda each: each[1:])
        found.sort(key=lambda each: each[0], reverse=True)
        return [run_id for _, _, run_id in found]

    def _runs(self, scope: Scope, wanted: Callable[[Item], bool]) -> Iterator[Run]:
        kept = storable(scope)
        shelf = self.folder.shelf(kept.app)
        for ids in _pages(self._scoped(kept, wanted)):
            yield from (entry.run for entry in shelf.entries(kept.app, ids, with_details=False))

    def _wanted(self, query: RunQuery, after: Place | None, *, with_details: bool) -> Iterator[Entry]:
        """Stream what a query admits after a place, newest first."""
        start = None if after is None else (after.at, *_tie(after))
        walks = [self._walk(app, query, start) for app in self._apps(query)]
        for _, source, app_id, run_id in merged(*walks, reverse=True):
            app = AppKey(source, app_id)
            shelf = self.folder.shelf(app)
            run = shelf.run(app, run_id)
            if run is None or not query.admits(run):
                continue
            entry = shelf.entry(app, run_id) if with_details else Entry(run, LEFT_OUT)
            if entry is not None:
                yield entry

    def _apps(self, query: RunQuery) -> Sequence[AppKey]:
        if query.apps is not None:
            known = dict.fromkeys(query.apps)
        else:
            shelves = self.folder.shelves(query.sources, query.workflows)
            known = dict.fromkeys(app for shelf in shelves for app in shelf.apps())
        return [
            app
            for app in known
            if (not query.sources or app.source in query.sources)
            and (not query.workflows or app.app_id in query.workflows)
        ]

    def _walk(self, app: AppKey, query: RunQuery, start: Order | None) -> Iterator[Order]:
        """Go through the places of an app's runs that may be wanted, newest first, a few at a time."""
        shelf = self.folder.shelf(app)
        than = _start_in(app, query, start)
        while True:
            with shelf.journal.lock:
                index = shelf.index(app)
                listed = index.older(than, CHUNK)
                found = [
                    (at, app.source, app.app_id, run_id)
                    for at, run_id in listed
                    if not query.statuses or index.items[run_id].status in query.statuses
                ]
            for place in found:
                if query.listed_from is not None and place[0] < query.listed_from:
                    return
                yield place
            if len(listed) < CHUNK:
                return
            than = listed[-1]


def _start_in(app: AppKey, query: RunQuery, start: Order | None) -> tuple[datetime, str] | None:
    """Tell where in an app's order to begin: before this."""
    starts: list[tuple[datetime, str]] = []
    if query.listed_before is not None:
        starts.append((query.listed_before, ""))
    if start is not None:
        at, source, app_id, run_id = start
        mine, there = (app.source, app.app_id), (source, app_id)
        if mine == there:
            starts.append((at, run_id))
        else:  # of one instant, apps come by falling source and id
            starts.append((at, LAST_ID if mine < there else ""))
    return min(starts, default=None)


LAST_ID = "\U0010ffff" * 8
"""After every id there may be."""


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), PAGE):
        yield ids[first : first + PAGE]


def _place(run: Run) -> Place:
    return Place(run.listed_at, json.dumps([run.app.source, run.app.app_id, run.run_id]))


def _tie(place: Place) -> tuple[str, str, str]:
    try:
        source, app_id, run_id = map(str, json.loads(place.tie))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{place.tie!r} is no place in this ledger's history: begin anew") from error
    return source, app_id, run_id


def _kept(key: RunKey) -> RunKey:
    return RunKey(storable(key.app), clean(key.run_id))


def _seeing(runs: Sequence[Run], at: datetime) -> Callable[[Merge], Sequence[str]]:
    def see(merge: Merge) -> Sequence[str]:
        sighted = [merge.see(run, at) for run in runs]
        return list(dict.fromkeys(each.run.run_id for each in sighted))

    return see


def _by_app(values: Sequence[Each], run_of: Callable[[Each], Run]) -> dict[AppKey, list[Each]]:
    found: dict[AppKey, list[Each]] = {}
    for value in values:
        found.setdefault(storable(run_of(value).app), []).append(value)
    return found


def _summary(app: AppKey, index: AppIndex) -> AppSummary:
    by_status = Counter(item.status for item in index.items.values())
    return AppSummary(app, by_status, index.order[0].at, index.order[-1].at)
