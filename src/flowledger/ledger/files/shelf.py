"""The runs of one journal: read by its index, merged, amended, deleted, and told in files of records."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.history import RunFacts, RunKey
from flowledger.domain.runs import AppKey, Entry, Run
from flowledger.ledger.details import LEFT_OUT, rebuild
from flowledger.ledger.files.bodies import Bodies
from flowledger.ledger.files.index import AppIndex, Item
from flowledger.ledger.files.journal import Journal, Moved, line_of, parsed
from flowledger.ledger.files.merge import Merge, deleted_lines, member_lines, scope_lines, seen_lines
from flowledger.ledger.files.projections import RecordFiles, write_snapshot
from flowledger.ledger.files.records import is_record, plain_run
from flowledger.ledger.files.tables import RunTable
from flowledger.ledger.files.values import certificate_values, run_from
from flowledger.ledger.merging import check_amended
from flowledger.ports import Change, Decoder

SNAPSHOT_BYTES = 1 << 20
"""A snapshot is written anew after so many bytes, and only after as many as there were."""


@dataclass(slots=True)
class RunShelf:
    """Runs of one app, or of all apps of a source that share a journal."""

    journal: Journal
    table: RunTable
    bodies: Bodies
    decoders: Mapping[str, Decoder]
    files: RecordFiles | None = None
    snapshot: Path | None = None

    def apps(self) -> Mapping[AppKey, AppIndex]:
        """Give the index of each app, as of now."""
        with self.journal.reading():
            return dict(self.table.apps)

    def index(self, app: AppKey) -> AppIndex:
        """Give the index of an app, as of now."""
        with self.journal.reading():
            return self.table.apps.get(app) or AppIndex()

    def run(self, app: AppKey, run_id: str) -> Run | None:
        """Read a run; None where there is none (any more)."""
        with self.journal.reading() as descriptor:
            item = self._item(app, run_id)
            return None if item is None else self._run(descriptor, app, item)

    def entry(self, app: AppKey, run_id: str, *, with_details: bool = True) -> Entry | None:
        """Read a run with its detail; None where there is none (any more)."""
        with self.journal.reading() as descriptor:
            item = self._item(app, run_id)
            if item is None:
                return None
            return self._entry(descriptor, app, item, with_details=with_details)

    def entries(self, app: AppKey, ids: Sequence[str], *, with_details: bool) -> Sequence[Entry]:
        """Read those of some runs that are there."""
        with self.journal.reading() as descriptor:
            items = [item for run_id in ids if (item := self._item(app, run_id)) is not None]
            return [self._entry(descriptor, app, item, with_details=with_details) for item in items]

    def facts(self, app: AppKey, run_id: str) -> RunFacts | None:
        """Read what statistics count of a run."""
        with self.journal.reading() as descriptor:
            item = self._item(app, run_id)
            if item is None:
                return None
            run = self._run(descriptor, app, item)
            cost: Mapping[str, str] = {}
            if item.detail_at is not None:
                cost = parsed(self.journal.read(descriptor, item.detail_at))["cost"]
        amounts = {currency: Decimal(amount) for currency, amount in cost.items()}
        return RunFacts(app, run.listed_at, run.status, run.elapsed_s, run.total_tokens, amounts)

    def save(
        self,
        app: AppKey,
        see: Callable[[Merge], Sequence[str]],
        scope: Scope | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        """Write what ``see`` makes of an app's runs, a scope's members and certificate: all or nothing."""
        with self.journal.writing() as descriptor:
            merge = self._merge(descriptor, app)
            members = see(merge)
            scoped = [] if scope is None else list(scope_lines(scope, members, certificate))
            self._write(descriptor, merge, scoped)

    def amend(self, key: RunKey, change: Change) -> Entry | None:
        """Read one run and keep what becomes of it, with nobody between."""
        with self.journal.writing() as descriptor:
            item = self._item(key.app, key.run_id)
            held = None if item is None else self._entry(descriptor, key.app, item, with_details=True)
            kept = change(held)
            if kept is None:
                return held
            check_amended(key, kept[0])
            merge = self._merge(descriptor, key.app)
            merge.put(*kept)
            self._write(descriptor, merge, [])
            item = self._item(key.app, key.run_id)
            return None if item is None else self._entry(descriptor, key.app, item, with_details=True)

    def delete(self, app: AppKey, ids: Sequence[str]) -> int:
        """Forget runs of an app; give how many there were."""
        with self.journal.writing() as descriptor:
            self._repair(descriptor)
            held = [run_id for run_id in dict.fromkeys(ids) if self._item(app, run_id) is not None]
            if not held:
                return 0
            withdrawn = [] if self.files is None else self.files.withdraw(held)
            self.journal.append(descriptor, deleted_lines(app, held))
            if self.files is not None:
                self.files.drop(withdrawn)
            return len(held)

    def compact(self) -> None:
        """Write the journal anew without what counts no more, and the snapshot."""
        if not self.journal.path.exists():
            return
        with self.journal.writing() as descriptor:
            self._repair(descriptor)
            self._compact(descriptor)

    def _merge(self, descriptor: int, app: AppKey) -> Merge:
        self._repair(descriptor)
        read: Callable[[Item], Run] = lambda item: self._run(descriptor, app, item)  # noqa: E731  one line says it
        return Merge(app, self.table.of(app), read, self.bodies)

    def _write(self, descriptor: int, merge: Merge, more: Sequence[bytes]) -> None:
        lines = [*merge.lines(), *more]
        if not lines:
            return
        records = {run.run_id: run.raw for run in merge.changed() if is_record(run)} if self.files else {}
        if self.files is not None:
            self.files.prepare(records)
        self.journal.append(descriptor, lines)
        if self.files is not None:
            self.files.place(records)
        if self.journal.is_due(self._live_bytes):
            self._compact(descriptor)
        elif self.snapshot is not None and self._is_snapshot_due():
            self._take_snapshot(descriptor)
            self.journal.append(descriptor, [line_of("snapshot")])

    def _repair(self, descriptor: int) -> None:
        if self.files is None:
            return

        def held(record_id: str) -> bytes | None:
            found = ((app, index.items.get(record_id)) for app, index in self.table.apps.items())
            runs = (self._run(descriptor, app, item) for app, item in found if item is not None)
            return next((run.raw for run in runs if is_record(run)), None)

        self.files.repair(held)

    def _item(self, app: AppKey, run_id: str) -> Item | None:
        index = self.table.apps.get(app)
        return None if index is None else index.items.get(run_id)

    def _run(self, descriptor: int | None, app: AppKey, item: Item) -> Run:
        line = self.journal.read(descriptor, item.run_at)
        if item.is_plain:
            return plain_run(app.source, line)
        values = parsed(line)
        raw = self.bodies.unpack(values["raw"], f"run {item.run_id} of {app}")
        return run_from(app, values["run"], raw)

    def _entry(self, descriptor: int | None, app: AppKey, item: Item, *, with_details: bool) -> Entry:
        run = self._run(descriptor, app, item)
        if not with_details:
            return Entry(run, LEFT_OUT)
        raws: Mapping[str, bytes] = {}
        if item.detail_at is not None:
            owner = f"the detail of run {item.run_id} of {app}"
            bodies = parsed(self.journal.read(descriptor, item.detail_at))["bodies"]
            raws = {name: self.bodies.unpack(body, owner) for name, body in bodies.items()}
        return Entry(run, rebuild(run, item.held, raws, self.decoders))

    def _live_bytes(self) -> int:
        items = (item for index in self.table.apps.values() for item in index.items.values())
        return sum(item.run_at.length + (item.detail_at.length if item.detail_at else 0) for item in items)

    def _is_snapshot_due(self) -> bool:
        return self.journal.size > 2 * self.table.snapshot_at + SNAPSHOT_BYTES

    def _compact(self, descriptor: int) -> None:
        if self.snapshot is not None:
            self._take_snapshot(descriptor)
        self.journal.rewrite(self._kept_lines(descriptor))
        self.table.snapshot_at = self.journal.size
        kept = (item for index in self.table.apps.values() for item in index.items.values())
        self.bodies.forget_all_but(digest for item in kept for digest, _ in item.large)

    def _kept_lines(self, descriptor: int) -> Iterator[Moved]:
        for app, index in self.table.apps.items():
            seen: dict[object, list[str]] = {}
            for item in index.items.values():
                yield self.journal.read(descriptor, item.run_at), item.put_run_line
                if item.detail_at is not None:
                    yield self.journal.read(descriptor, item.detail_at), item.put_detail_line
                seen.setdefault(item.collected_at, []).append(item.run_id)
            seen.pop(None, None)
            more = [*seen_lines(app, seen), *_scopes(app, index)]  # type: ignore[arg-type]  # None is gone
            for line in more:
                yield line, None
        yield line_of("snapshot"), None

    def _take_snapshot(self, descriptor: int) -> None:
        assert self.snapshot is not None
        for app, index in self.table.apps.items():
            items = (index.items[run_id] for _, run_id in reversed(index.order))
            runs = (self._record(descriptor, app, item) for item in items)
            at_ms = int(self.journal.path.stat().st_mtime * 1000)
            write_snapshot(self.snapshot, app.app_id, len(index.items), (raw for raw in runs if raw), at_ms)

    def _record(self, descriptor: int, app: AppKey, item: Item) -> bytes:
        if item.is_plain:
            return self.journal.read(descriptor, item.run_at)
        run = self._run(descriptor, app, item)
        return run.raw if is_record(run) else b""


def _scopes(app: AppKey, index: AppIndex) -> Iterator[bytes]:
    for (window, query), members in index.members.items():
        yield from member_lines(Scope(app, window, query), sorted(members))
    for certificate in index.certificates.values():
        yield line_of("certificate", **certificate_values(certificate))
