"""What memory holds of the runs of a journal: a few values each, and where their lines are."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from flowledger.domain.certificates import Certificate
from flowledger.domain.runs import Level, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ledger.details import HeldDetail
from flowledger.ledger.files.journal import Span

Large = tuple[tuple[str, int], ...]
_SECOND = timedelta(seconds=1)


class Listed(NamedTuple):
    """Where a run is in its app's order, oldest first."""

    at: datetime
    run_id: str


@dataclass(slots=True, eq=False)
class Item:
    """One run: what lists are cut and ordered by, what is held of its detail, and its lines."""

    run_id: str
    listed_at: datetime
    status: RunStatus
    log_id: str | None
    run_at: Span
    is_plain: bool = False
    """Whether its line is the record alone, which tells its detail as well."""
    collected_at: datetime | None = None
    held: HeldDetail | None = None
    detail_at: Span | None = None
    run_large: Large = ()
    detail_large: Large = ()

    @property
    def large(self) -> Large:
        """The files beside the journal that it needs."""
        return self.run_large + self.detail_large

    @property
    def size_bytes(self) -> int:
        """What it takes on the disk."""
        lines = self.run_at.length + (self.detail_at.length if self.detail_at else 0)
        return lines + sum(size for _, size in self.large)

    def put_run_line(self, span: Span) -> None:
        """Say where its run is."""
        self.run_at = span

    def put_detail_line(self, span: Span) -> None:
        """Say where its detail is."""
        self.detail_at = span


@dataclass(slots=True)
class AppIndex:
    """The runs of one app, its certificates, and the members of its filtered scopes."""

    items: dict[str, Item] = field(default_factory=dict)
    by_log: dict[str, str] = field(default_factory=dict)
    members: dict[tuple[Window, str], set[str]] = field(default_factory=dict)
    certificates: dict[tuple[Window, str], Certificate] = field(default_factory=dict)
    _order: list[Listed] | None = None

    def put(self, run: Run, span: Span, *, is_plain: bool, large: Large = ()) -> Item:
        """Take in a run as it is now."""
        item = self.items.get(run.run_id)
        if item is None:
            item = Item(run.run_id, run.listed_at, run.status, run.log_id, span)
            self.items[run.run_id] = item
            self._list(item)
        elif item.listed_at != run.listed_at:
            self._unlist(item)
            item.listed_at = run.listed_at
            self._list(item)
        item.status, item.log_id, item.run_at = run.status, run.log_id, span
        item.is_plain, item.run_large = is_plain, large
        if run.log_id:
            self.by_log[run.log_id] = run.run_id
        return item

    def rename(self, was: str, run_id: str) -> None:
        """Let a run that turned up take a gone row's place; what was held of a detail goes."""
        item = self.items.pop(was)
        self._unlist(item)
        item.run_id, item.held, item.detail_at, item.detail_large = run_id, None, None, ()
        self.items[run_id] = item
        self._list(item)
        for members in self.members.values():
            if was in members:
                members.remove(was)
                members.add(run_id)

    def forget(self, run_id: str) -> None:
        """Know nothing of a run any more."""
        item = self.items.pop(run_id, None)
        if item is None:
            return
        self._unlist(item)
        if item.log_id and self.by_log.get(item.log_id) == run_id:
            del self.by_log[item.log_id]
        for members in self.members.values():
            members.discard(run_id)

    def certify(self, certificate: Certificate) -> None:
        """Take in a certificate; an older one does not replace the held one."""
        place = (certificate.scope.window, certificate.scope.query)
        held = self.certificates.get(place)
        if held is None or held.at <= certificate.at:
            self.certificates[place] = certificate

    @property
    def order(self) -> list[Listed]:
        """All runs, oldest first; made when it is first asked for, kept up from then on."""
        if self._order is None:
            self._order = sorted(Listed(item.listed_at, run_id) for run_id, item in self.items.items())
        return self._order

    def older(self, than: tuple[datetime, str] | None, count: int) -> Sequence[Listed]:
        """Give the next runs before a place, newest first."""
        end = len(self.order) if than is None else bisect_left(self.order, than)
        return self.order[max(0, end - count) : end][::-1]

    def within(self, window: Window, query: str) -> Iterator[Item]:
        """Give the runs of a scope, oldest first."""
        first = bisect_left(self.order, (window.after_at, ""))
        last = bisect_left(self.order, (window.before_at + _SECOND, ""))
        members = self.members.get((window, query), set())
        for _, run_id in self.order[first:last]:
            if not query or run_id in members:
                yield self.items[run_id]

    def number(self, window: Window) -> int:
        """Count the runs of a window."""
        first = bisect_left(self.order, (window.after_at, ""))
        return bisect_left(self.order, (window.before_at + _SECOND, "")) - first

    def _list(self, item: Item) -> None:
        if self._order is not None:
            insort(self._order, Listed(item.listed_at, item.run_id))

    def _unlist(self, item: Item) -> None:
        if self._order is not None:
            del self._order[bisect_left(self._order, (item.listed_at, item.run_id))]


@lru_cache(maxsize=4096)
def shared(level: Level, reason: str, permanent: bool, read_open: bool) -> HeldDetail:
    """Give one object for all details of which the same is held."""
    return HeldDetail(level, reason, permanent, read_open)
