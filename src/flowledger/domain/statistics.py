"""Statistics over many runs in one pass and flat memory: counts, durations, tokens, cost, by day."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from math import ceil, floor, log

from flowledger.domain.history import RunFacts
from flowledger.domain.runs import RunStatus

ACCURACY = 0.005
"""Largest relative error of a quantile; below ``SMALLEST`` seconds the answer is 0."""

SMALLEST = 1e-6
LARGEST = 1e9
_GROWTH = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GROWTH = log(_GROWTH)


class Histogram:
    """Counts durations (seconds) in logarithmic buckets: at most about 3,500, however many values come.

    A bucket reaches from ``g**(i-1)`` to ``g**i`` and is told by ``2 * g**i / (g + 1)``, which lies within
    ``ACCURACY`` of every value in it.  Values above ``LARGEST`` count as ``LARGEST``.
    """

    def __init__(self) -> None:
        self._buckets: Counter[int | None] = Counter()

    def add(self, seconds: float) -> None:
        """Count one duration; negative ones count as 0."""
        self._buckets[_bucket(seconds)] += 1

    def quantile(self, share: float) -> float | None:
        """Return the nearest-rank quantile (0 < share <= 1) in seconds; None where nothing was counted."""
        total = self._buckets.total()
        rank = max(1, ceil(share * total))
        cumulative = 0
        for bucket in sorted(self._buckets, key=_order):
            cumulative += self._buckets[bucket]
            if cumulative >= rank:
                return 0.0 if bucket is None else 2 * _GROWTH**bucket / (_GROWTH + 1)
        return None


def _bucket(seconds: float) -> int | None:
    if seconds < SMALLEST:
        return None
    return ceil(log(min(seconds, LARGEST)) / _LOG_GROWTH)


def _order(bucket: int | None) -> int:
    return floor(log(SMALLEST) / _LOG_GROWTH) - 1 if bucket is None else bucket


A_DAY, A_MICROSECOND = timedelta(days=1), timedelta(microseconds=1)


@dataclass(slots=True)
class RunTotals:
    """What was counted of some runs.

    ``cost`` is by currency: what is known, which is all where ``costed``, the number of runs whose cost is
    known, is ``runs``.
    """

    runs: int = 0
    by_status: Counter[RunStatus] = field(default_factory=Counter)
    total_tokens: int = 0
    cost: dict[str, Decimal] = field(default_factory=dict)
    costed: int = 0

    def add(self, facts: RunFacts) -> None:
        """Count one run."""
        self.runs += 1
        self.by_status[facts.status] += 1
        if facts.total_tokens:
            self.total_tokens += facts.total_tokens
        self.costed += facts.cost_known
        for currency, price in facts.cost.items():
            self.cost[currency] = self.cost.get(currency, Decimal(0)) + price

    def merge(self, other: "RunTotals") -> None:
        """Count what another one has counted."""
        self.runs += other.runs
        self.by_status.update(other.by_status)
        self.total_tokens += other.total_tokens
        self.costed += other.costed
        for currency, price in other.cost.items():
            self.cost[currency] = self.cost.get(currency, Decimal(0)) + price


@dataclass(frozen=True, slots=True)
class Statistics:
    """All runs together, and day by day of a zone, oldest first; durations are in seconds."""

    total: RunTotals
    by_day: Mapping[date, RunTotals]
    duration_p50_s: float | None
    duration_p95_s: float | None
    duration_max_s: Decimal | None


def statistics_of(facts: Iterable[RunFacts], tz: tzinfo, listed: Iterable[date] = ()) -> Statistics:
    """Count runs, in any order; days that are ``listed`` are there without runs, too."""
    days = {day: RunTotals() for day in listed}
    durations, longest = Histogram(), None
    day_of = day_finder(tz)
    for each in facts:
        day = day_of(each.listed_at)
        totals = days.get(day)
        if totals is None:
            totals = days[day] = RunTotals()
        totals.add(each)
        elapsed = each.elapsed_s
        if elapsed is not None and elapsed.is_finite():
            durations.add(float(elapsed))
            longest = elapsed if longest is None or elapsed > longest else longest
    total = RunTotals()
    for totals in days.values():
        total.merge(totals)
    return Statistics(
        total, dict(sorted(days.items())), durations.quantile(0.5), durations.quantile(0.95), longest
    )


def days_between(since: datetime, before: datetime, tz: tzinfo) -> Iterator[date]:
    """Yield the days of a zone from an aware instant (included) to another one (excluded)."""
    day, last = since.astimezone(tz).date(), (before - A_MICROSECOND).astimezone(tz).date()
    while day <= last:
        yield day
        day += A_DAY


def day_finder(tz: tzinfo) -> Callable[[datetime], date]:
    """Make what tells the day of an aware instant in a zone; each quarter of an hour is looked up once.

    Since 1972 all zones differ from UTC by whole quarters, so that every one lies in a single day.
    """
    days_by_quarter: dict[int, date] = {}

    def day_of(instant: datetime) -> date:
        quarter = int(instant.timestamp()) // 900
        day = days_by_quarter.get(quarter)
        if day is None:
            if len(days_by_quarter) > 100_000:
                days_by_quarter.clear()
            day = days_by_quarter[quarter] = datetime.fromtimestamp(quarter * 900, tz).date()
        return day

    return day_of
