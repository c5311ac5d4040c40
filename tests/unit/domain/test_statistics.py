"""Statistics are what counting by hand gives, whatever the order and the zone."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.history import RunFacts
from flowledger.domain.runs import AppKey, RunStatus
from flowledger.domain.statistics import RunTotals, day_finder, statistics_of

APP = AppKey("dify", "a")
INSTANTS = st.integers(157_766_400, 3_786_912_000).map(lambda second: datetime.fromtimestamp(second, UTC))
ZONES = ("Asia/Shanghai", "Asia/Kathmandu", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe", "UTC")
FACTS = st.builds(
    RunFacts,
    app=st.just(APP),
    listed_at=INSTANTS,
    status=st.sampled_from(RunStatus),
    elapsed_s=st.none() | st.decimals(0, 5000, places=3, allow_nan=False),
    total_tokens=st.none() | st.integers(0, 10**12),
    cost=st.dictionaries(st.sampled_from(["USD", "CNY", ""]), st.decimals(0, 9, places=7, allow_nan=False)),
)


@given(st.lists(FACTS, max_size=40), st.sampled_from(ZONES))
def test_totals_are_the_sums(facts: list[RunFacts], name: str) -> None:
    """Every run counts once in the total and once in its day."""
    found = statistics_of(facts, ZoneInfo(name))
    assert found.total.runs == len(facts) == sum(day.runs for day in found.by_day.values())
    assert found.total.by_status == Counter(each.status for each in facts)
    assert found.total.total_tokens == sum(each.total_tokens or 0 for each in facts)
    for currency in ("USD", "CNY", ""):
        priced = [each.cost[currency] for each in facts if currency in each.cost]
        assert found.total.cost.get(currency, Decimal(0)) == sum(priced)
    assert list(found.by_day) == sorted(found.by_day)
    assert found.by_day.keys() == {each.listed_at.astimezone(ZoneInfo(name)).date() for each in facts}
    durations = [each.elapsed_s for each in facts if each.elapsed_s is not None]
    assert found.duration_max_s == max(durations, default=None)


@given(st.lists(FACTS, max_size=20))
def test_the_order_does_not_matter(facts: list[RunFacts]) -> None:
    """Ledgers stream in no order."""
    tz = ZoneInfo("UTC")
    assert statistics_of(facts, tz) == statistics_of(reversed(facts), tz)


@given(INSTANTS, st.sampled_from(ZONES))
def test_days_are_those_of_the_zone(instant: datetime, name: str) -> None:
    """Looking a quarter of an hour up gives the day of every instant in it."""
    assert day_finder(ZoneInfo(name))(instant) == instant.astimezone(ZoneInfo(name)).date()


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_quantiles_are_near(share: float) -> None:
    """Within half a per cent."""
    facts = [
        RunFacts(
            APP, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n), RunStatus.SUCCESS, Decimal(n), None
        )
        for n in range(1, 1001)
    ]
    found = statistics_of(facts, UTC)
    told = found.duration_p50_s if share == 0.5 else found.duration_p95_s
    assert told == pytest.approx(share * 1000, rel=0.006)


def test_what_lasted_no_finite_time_has_no_duration() -> None:
    """NaN counts as a run, not as a duration."""
    odd = RunFacts(APP, datetime(2026, 1, 1, tzinfo=UTC), RunStatus.FAILED, Decimal("NaN"), None)
    found = statistics_of([odd], UTC)
    assert (found.total.runs, found.duration_p50_s, found.duration_max_s) == (1, None, None)


def test_tallies_join() -> None:
    """Two halves are the whole."""
    fact = RunFacts(
        APP, datetime(2026, 1, 1, tzinfo=UTC), RunStatus.SUCCESS, None, 3, {"USD": Decimal("0.1")}
    )
    one, two = RunTotals(), RunTotals()
    one.add(fact)
    two.add(fact)
    one.merge(two)
    assert (one.runs, one.total_tokens, one.cost) == (2, 6, {"USD": Decimal("0.2")})
