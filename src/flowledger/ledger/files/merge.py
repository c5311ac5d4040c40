"""What a batch of runs and details makes of what is held of one app, and the lines that say it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.costs import cost_of
from flowledger.domain.runs import AppKey, Detail, Detailed, Missing, Run
from flowledger.ledger.details import HeldDetail, replaces, summarise
from flowledger.ledger.files.bodies import Bodies, large_of
from flowledger.ledger.files.index import AppIndex, Item
from flowledger.ledger.files.journal import line_of
from flowledger.ledger.files.records import is_plain
from flowledger.ledger.files.values import (
    app_values,
    certificate_values,
    held_values,
    instant_text,
    run_values,
)
from flowledger.ledger.merging import Roll, Sighted, latest
from flowledger.ledger.storable import storable

IDS_PER_LINE = 1000


@dataclass(slots=True, eq=False)
class Draft:
    """One run on its way: as it is held, and what has become of it."""

    item: Item | None = None
    was: Run | None = None
    held: HeldDetail | None = None
    detail: Detail | None = None
    """The new detail; None where it stays as it is held."""
    collected_at: datetime | None = None
    is_seen: bool = False

    @classmethod
    def of(cls, item: Item, run: Run) -> "Draft":
        """Begin with what is held."""
        return cls(item, run, item.held, None, item.collected_at)


@dataclass(slots=True)
class Merge:
    """Runs of one app seen again; ``read`` gives a held run whole."""

    app: AppKey
    index: AppIndex
    read: Callable[[Item], Run]
    bodies: Bodies
    roll: Roll = field(default_factory=Roll)
    drafts: dict[Sighted, Draft] = field(default_factory=dict)
    _recalled: set[str] = field(default_factory=set)

    def see(self, run: Run, at: datetime | None) -> Sighted:
        """Take in a sighting by a collection (or none)."""
        kept = storable(run)
        self._recall(kept.run_id)
        if kept.log_id:
            self._recall(self.index.by_log.get(kept.log_id, ""))
        sighted, fresh = self.roll.see(kept)
        draft = self.drafts.setdefault(sighted, Draft())
        if fresh:
            draft.held, draft.detail = None, None
        collected_at = latest(draft.collected_at, at)
        draft.is_seen = draft.is_seen or collected_at != draft.collected_at
        draft.collected_at = collected_at
        return sighted

    def put(self, run: Run, detail: Detail) -> None:
        """Put a run and its detail in the place of the held ones, whatever those are."""
        sighted = self.see(run, None)
        sighted.run = storable(run)
        draft = self.drafts[sighted]
        draft.held, draft.detail = summarise(run, detail), detail

    def read_detail(self, run: Run, detail: Detail) -> None:
        """Take in a detail, and the run as it was when it was read."""
        draft, held = self.drafts[self.see(run, None)], summarise(run, detail)
        if replaces(draft.held, held):
            draft.held, draft.detail = held, detail

    def lines(self) -> Iterator[bytes]:
        """Give the lines that say what has changed."""
        for sighted, draft in self.drafts.items():
            yield from self._lines_of(sighted.run, draft)
        seen: dict[datetime, list[str]] = {}
        for sighted, draft in self.drafts.items():
            if draft.is_seen and draft.collected_at is not None:
                seen.setdefault(draft.collected_at, []).append(sighted.run.run_id)
        yield from seen_lines(self.app, seen)

    def changed(self) -> Iterator[Run]:
        """Give the runs that are not as they were."""
        return (sighted.run for sighted, draft in self.drafts.items() if sighted.run is not draft.was)

    def _recall(self, run_id: str) -> None:
        item = self.index.items.get(run_id)
        if item is None or run_id in self._recalled:
            return
        self._recalled.add(run_id)
        sighted = Sighted(self.read(item))
        self.roll.by_run[run_id] = sighted
        if item.log_id:
            self.roll.by_log[item.log_id] = sighted
        self.drafts[sighted] = Draft.of(item, sighted.run)

    def _lines_of(self, run: Run, draft: Draft) -> Iterator[bytes]:
        item, was = draft.item, draft.was
        renamed = item is not None and item.run_id != run.run_id
        if item is not None and renamed:
            yield line_of("renamed", app=app_values(self.app), was=item.run_id, id=run.run_id)
        changed = was is None or renamed or (was is not run and not _same(was, run))
        if draft.detail is None and not changed:
            return
        was_plain = item is not None and item.is_plain and not renamed
        if (
            _bodies_of(draft.detail) == {}
            and (was_plain or draft.detail is not None)
            and is_plain(run, draft.held)
        ):
            if changed or not was_plain:
                yield run.raw
            return
        if changed or was_plain:
            yield self._run_line(run)
        if draft.held is not None and (was_plain or draft.detail is not None):
            yield self._detail_line(run.run_id, draft.held, draft.detail)

    def _run_line(self, run: Run) -> bytes:
        raw = self.bodies.pack(run.raw)
        values = {"app": app_values(self.app), "run": run_values(run), "raw": raw}
        return line_of("run", **values, large=large_of([raw]))

    def _detail_line(self, run_id: str, held: HeldDetail, detail: Detail | None) -> bytes:
        bodies = {name: self.bodies.pack(body) for name, body in _bodies_of(detail).items()}
        return line_of(
            "detail",
            app=app_values(self.app),
            id=run_id,
            held=held_values(held),
            bodies=bodies,
            cost=_cost(detail),
            large=large_of(bodies.values()),
        )


def scope_lines(scope: Scope, members: Sequence[str], certificate: Certificate | None) -> Iterator[bytes]:
    """Give the lines of a filtered scope's members, and of a certificate."""
    if scope.query:
        yield from member_lines(scope, members)
    if certificate is not None:
        yield line_of("certificate", **certificate_values(certificate))


def member_lines(scope: Scope, members: Sequence[str]) -> Iterator[bytes]:
    """Give the lines that name the members of a scope."""
    about = {"after": scope.window.after, "before": scope.window.before, "query": scope.query}
    for ids in _parts(members):
        yield line_of("members", app=app_values(scope.app), **about, ids=ids)


def seen_lines(app: AppKey, seen: Mapping[datetime, Sequence[str]]) -> Iterator[bytes]:
    """Give the lines that tell which collection has seen which runs."""
    for at, ids in seen.items():
        for part in _parts(ids):
            yield line_of("seen", app=app_values(app), at=instant_text(at), ids=part)


def deleted_lines(app: AppKey, ids: Sequence[str]) -> list[bytes]:
    """Give the lines that name deleted runs."""
    return [line_of("deleted", app=app_values(app), ids=part) for part in _parts(ids)]


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), IDS_PER_LINE):
        yield ids[first : first + IDS_PER_LINE]


def _same(held: Run, seen: Run) -> bool:
    """Whether two runs are the same to the last zero; numbers that are none cannot be compared otherwise."""
    return held.raw == seen.raw and run_values(held) == run_values(seen)


def _bodies_of(detail: Detail | None) -> Mapping[str, bytes]:
    return detail.raw if isinstance(detail, Detailed) else {}


def _cost(detail: Detail | None) -> Mapping[str, str]:
    if not isinstance(detail, Detailed) or isinstance(detail.nodes, Missing):
        return {}
    return {currency: str(amount) for currency, amount in cost_of(detail.nodes).items()}
