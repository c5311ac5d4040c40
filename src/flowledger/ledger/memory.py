"""A ledger that lasts as long as the process: for trials, and for tests of what uses a ledger."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import RLock
from typing import Self

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
from flowledger.domain.runs import AppKey, Detail, Detailed, Entry, Level, Run
from flowledger.domain.windows import Window
from flowledger.ledger.details import LEFT_OUT, HeldDetail, facts_of, is_pending, rebuild, replaces, summarise
from flowledger.ledger.letters import never_posted, settled, waits
from flowledger.ledger.merging import Roll, Sighted, check_amended, latest
from flowledger.ledger.storable import storable, storable_letter
from flowledger.ledger.texts import clean
from flowledger.ports import Change, Decoder


@dataclass(frozen=True, slots=True)
class MemoryLedger:
    """The ``Ledger`` port over dictionaries; threads may share it."""

    decoders: Mapping[str, Decoder]
    _rolls: dict[AppKey, Roll] = field(default_factory=dict, repr=False)
    _collected: dict[Sighted, datetime | None] = field(default_factory=dict, repr=False)
    _details: dict[Sighted, tuple[HeldDetail, Mapping[str, bytes]]] = field(default_factory=dict, repr=False)
    _members: dict[Scope, set[Sighted]] = field(default_factory=dict, repr=False)
    _certificates: dict[Scope, Certificate] = field(default_factory=dict, repr=False)
    _operations: dict[str, Operation] = field(default_factory=dict, repr=False)
    _letters: dict[str, Letter] = field(default_factory=dict, repr=False)
    _keys: dict[str, AccessKey] = field(default_factory=dict, repr=False)
    _lock: RLock = field(default_factory=RLock, repr=False)

    @classmethod
    def open(cls, url: str, decoders: Mapping[str, Decoder]) -> Self:  # noqa: ARG003  every ledger opens alike
        """Make an empty ledger."""
        return cls(decoders)

    def save_runs(
        self, runs: Sequence[Run], *, scope: Scope, at: datetime, certificate: Certificate | None = None
    ) -> None:
        """Insert or update runs, and the scope's certificate."""
        with self._lock:
            sighted = [self._see(run, at) for run in runs]
            if scope.query:
                self._members.setdefault(storable(scope), set()).update(sighted)
            if certificate is not None:
                self._certify(storable(certificate))

    def save_details(self, details: Sequence[tuple[Run, Detail]]) -> None:
        """Keep details, and the runs as they are now."""
        with self._lock:
            for run, detail in details:
                raws = dict(detail.raw) if isinstance(detail, Detailed) else {}
                sighted, seen = self._see(run, None), summarise(run, detail)
                if replaces(self._details.get(sighted, (None, {}))[0], seen):
                    self._details[sighted] = (seen, raws)

    def certificate(self, scope: Scope) -> Certificate | None:
        """Give the newest certificate of exactly this scope."""
        return self._certificates.get(storable(scope))

    def certificates(self, app: AppKey, within: Window, query: str | None = "") -> Sequence[Certificate]:
        """Give the newest certificate of each scope inside a window, oldest window first."""
        with self._lock:
            found = [
                certificate
                for scope, certificate in self._certificates.items()
                if scope.app == storable(app)
                and (query is None or scope.query == clean(query))
                and within.covers(scope.window)
            ]
        return sorted(found, key=lambda certificate: (certificate.scope.window, certificate.scope.query))

    def count(self, scope: Scope, *, collected_since: datetime | None = None) -> int:
        """Count the runs of a scope (only those a collection has seen since an instant)."""
        with self._lock:
            collected = [self._collected[sighted] for sighted in self._scoped(scope)]
        return sum(collected_since is None or (at is not None and at >= collected_since) for at in collected)

    def pending(
        self, scope: Scope, level: Level, *, open_since: datetime, tried: bool | None = None
    ) -> Iterator[Run]:
        """Stream the runs that need enrichment, newest first."""
        for sighted in self._scoped(scope):
            held, _ = self._details.get(sighted, (None, {}))
            if tried in (None, held is not None) and is_pending(sighted.run, held, level, open_since):
                yield sighted.run

    def open_runs(self, scope: Scope) -> Iterator[Run]:
        """Stream the runs that had not ended when they were last seen, newest first."""
        return (sighted.run for sighted in self._scoped(scope) if sighted.run.status.is_open)

    def entries(self, scope: Scope, *, with_details: bool = True) -> Iterator[Entry]:
        """Stream runs with their details, newest first."""
        for sighted in self._scoped(scope):
            yield Entry(sighted.run, self._detail(sighted) if with_details else LEFT_OUT)

    def record(self, operation: Operation) -> bool:
        """Append to the audit trail; the same operation id twice is once, and False the second time."""
        with self._lock:
            kept = storable(operation)
            return self._operations.setdefault(kept.operation_id, kept) is kept

    def operation(self, operation_id: str) -> Operation | None:
        """Give one operation; None where there is none."""
        return self._operations.get(clean(operation_id))

    def operations(
        self, query: OperationQuery = EVERY_OPERATION, *, after: Place | None = None, limit: int = 1000
    ) -> Sequence[Operation]:
        """Give operations, newest first, those of one instant by falling id."""
        wanted = storable(query)
        with self._lock:
            found = [each for each in self._operations.values() if wanted.admits(each)]
        found.sort(key=lambda each: (each.at, each.operation_id), reverse=True)
        return [each for each in found if after is None or (each.at, each.operation_id) < after][:limit]

    def keep_key(self, key: AccessKey) -> None:
        """Keep a key; one of the same id is replaced."""
        with self._lock:
            kept = storable(key)
            self._keys[kept.key_id] = kept

    def access_keys(self) -> Sequence[AccessKey]:
        """Give all keys, oldest first."""
        with self._lock:
            return sorted(self._keys.values(), key=lambda key: (key.created_at, key.key_id))

    def apps(self) -> Sequence[AppSummary]:
        """Tell of every app that has runs, by source and id."""
        with self._lock:
            return [_summary(app, self._runs(app)) for app in sorted(self._rolls, key=str) if self._runs(app)]

    def history(
        self, query: RunQuery, *, after: Place | None = None, limit: int = 50, with_details: bool = False
    ) -> HistoryPage:
        """Read a page of runs, newest first."""
        with self._lock:
            found = sorted(self._wanted(query), key=lambda sighted: _place(sighted.run), reverse=True)
            rest = [each for each in found if after is None or _place(each.run) < after]
            entries = [self._entry(each, with_details=with_details) for each in rest[:limit]]
        return HistoryPage(entries, _place(rest[limit - 1].run) if len(rest) > limit else None)

    def entry(self, key: RunKey) -> Entry | None:
        """Give one run with its detail; None where there is none."""
        with self._lock:
            sighted = self._held(key)
            return None if sighted is None else self._entry(sighted, with_details=True)

    def locate(self, source: str, run_id: str) -> AppKey | None:
        """Give the app of a run that is known by its source and id alone; the newest, should there be two."""
        with self._lock:
            apps = [app for app in self._rolls if app.source == clean(source)]
            held = [found.run for app in apps if (found := self._held(RunKey(app, run_id)))]
        return max(held, key=_place).app if held else None

    def facts(self, query: RunQuery) -> Iterator[RunFacts]:
        """Stream what statistics count."""
        with self._lock:
            entries = [self._entry(sighted, with_details=True) for sighted in self._wanted(query)]
        return map(facts_of, entries)

    def sizes(self, app: AppKey) -> Iterator[RunSize]:
        """Stream what each run of an app takes, newest first."""
        with self._lock:
            held = sorted(self._runs(storable(app)), key=lambda sighted: _place(sighted.run), reverse=True)
            for sighted in held:
                _, raws = self._details.get(sighted, (None, {}))
                size = len(sighted.run.raw) + sum(map(len, raws.values()))
                yield RunSize(sighted.run.run_id, sighted.run.listed_at, size)

    def amend(self, key: RunKey, change: Change) -> Entry | None:
        """Read one run and keep what becomes of it, with nobody between."""
        with self._lock:
            held = self._held(key)
            kept = change(None if held is None else self._entry(held, with_details=True))
            if kept is not None:
                run, detail = kept
                check_amended(key, run)
                sighted, _ = self._rolls.setdefault(storable(run.app), Roll()).see(storable(run))
                sighted.run = storable(run)
                self._collected.setdefault(sighted, None)
                raws = dict(detail.raw) if isinstance(detail, Detailed) else {}
                self._details[sighted] = (summarise(run, detail), raws)
            return self.entry(key)

    def delete_runs(self, keys: Sequence[RunKey]) -> int:
        """Forget runs with all that is kept of them; give how many there were."""
        with self._lock:
            held = [(key, sighted) for key in dict.fromkeys(keys) if (sighted := self._held(key))]
            for key, sighted in held:
                self._rolls[storable(key.app)].forget(sighted)
                self._collected.pop(sighted, None)
                self._details.pop(sighted, None)
                for members in self._members.values():
                    members.discard(sighted)
        return len(held)

    def compact(self) -> None:
        """Nothing to give back."""

    def post(self, letters: Sequence[Letter]) -> int:
        """Keep letters to be sent, and give how many are new."""
        with self._lock:
            kept = [storable_letter(letter) for letter in letters]
            return sum(self._letters.setdefault(letter.letter_id, letter) is letter for letter in kept)

    def claim(self, at: datetime, lease: timedelta, *, limit: int = 100) -> Sequence[Letter]:
        """Take letters that may be tried at ``at``, oldest first, for as long as the lease lasts."""
        with self._lock:
            due = [letter for letter in self._letters.values() if waits(letter) and letter.not_before <= at]
            due.sort(key=lambda letter: letter.posted_at)
            taken = [replace(letter, not_before=at + lease) for letter in due[:limit]]
            self._letters.update((letter.letter_id, letter) for letter in taken)
        return taken

    def settle(self, letter: Letter) -> None:
        """Keep what came of a letter; one that was sent stays sent.

        :raises LedgerError: when it was never posted.
        """
        with self._lock:
            seen = storable_letter(letter)
            if seen.letter_id not in self._letters:
                raise never_posted(letter)
            self._letters[seen.letter_id] = settled(self._letters[seen.letter_id], seen)

    def letters(self, *, waiting: bool | None = None, limit: int = 100) -> Sequence[Letter]:
        """Give the newest letters, newest first: all, only those still waiting, or only the others."""
        with self._lock:
            newest_last = sorted(self._letters.values(), key=lambda letter: letter.posted_at)
        wanted = [letter for letter in newest_last if waiting is None or waits(letter) is waiting]
        return wanted[::-1][:limit]

    def forget_letters(self, posted_before: datetime) -> int:
        """Forget letters posted before an instant that wait no more; give how many."""
        with self._lock:
            gone = [
                each for each in self._letters.values() if not waits(each) and each.posted_at < posted_before
            ]
            for letter in gone:
                del self._letters[letter.letter_id]
        return len(gone)

    def close(self) -> None:
        """Nothing to give back; what is held stays readable."""

    def _see(self, run: Run, at: datetime | None) -> Sighted:
        kept = storable(run)
        sighted, fresh = self._rolls.setdefault(kept.app, Roll()).see(kept)
        if fresh:
            self._details.pop(sighted, None)
        self._collected[sighted] = latest(self._collected.get(sighted), at)
        return sighted

    def _runs(self, app: AppKey) -> Sequence[Sighted]:
        roll = self._rolls.get(app)
        return list(roll.by_run.values()) if roll else []

    def _wanted(self, query: RunQuery) -> list[Sighted]:
        wanted = storable(query)
        return [each for app in self._rolls for each in self._runs(app) if wanted.admits(each.run)]

    def _held(self, key: RunKey) -> Sighted | None:
        roll = self._rolls.get(storable(key.app))
        return roll.by_run.get(clean(key.run_id)) if roll else None

    def _entry(self, sighted: Sighted, *, with_details: bool) -> Entry:
        if with_details:
            return Entry(sighted.run, self._detail(sighted))
        return Entry(replace(sighted.run, raw=b""), LEFT_OUT)

    def _certify(self, certificate: Certificate) -> None:
        held = self._certificates.get(certificate.scope)
        if held is None or held.at <= certificate.at:
            self._certificates[certificate.scope] = certificate

    def _scoped(self, scope: Scope) -> Sequence[Sighted]:
        wanted = storable(scope)
        with self._lock:
            found = [
                sighted
                for sighted in self._rolls.get(wanted.app, Roll()).by_run.values()
                if sighted.run.listed_at in wanted.window
                and (not wanted.query or sighted in self._members.get(wanted, ()))
            ]
        found.sort(key=lambda sighted: (sighted.run.log_id or "", sighted.run.run_id))
        return sorted(found, key=lambda sighted: sighted.run.listed_at, reverse=True)

    def _detail(self, sighted: Sighted) -> Detail:
        held, raws = self._details.get(sighted, (None, {}))
        return rebuild(sighted.run, held, raws, self.decoders)


def _place(run: Run) -> Place:
    return Place(run.listed_at, json.dumps([run.app.source, run.app.app_id, run.run_id]))


def _summary(app: AppKey, held: Sequence[Sighted]) -> AppSummary:
    listed = [sighted.run.listed_at for sighted in held]
    return AppSummary(app, Counter(sighted.run.status for sighted in held), min(listed), max(listed))
