"""Figures against a naive count, and the rules behind them."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import ceil
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.costs import MODEL_NODES, amount_text, cost_json, nodes_cost, output_tokens, run_cost
from flowledger.domain.figures import LISTED_PROBLEMS, MOST_DAYS, Figures, FiguresCounter
from flowledger.domain.messages import failed_of
from flowledger.domain.numbers import decimal_of, integer_of
from flowledger.domain.report_heading import conversation_of, count_turns, user_of
from flowledger.domain.runs import (
    STATUS_ORDER,
    AppKey,
    Creator,
    Detailed,
    Entry,
    Json,
    Level,
    Missing,
    NodeExecution,
    Run,
    RunStatus,
)
from flowledger.domain.statistics import Histogram
from flowledger.domain.windows import Window

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
USD = "USD"


def node(kind: str = "llm", price: str | None = None, **fields: Json) -> NodeExecution:
    """A node execution that succeeded."""
    known = NodeExecution(0, "e", "n", kind, "title", "succeeded", currency=USD if price else None)
    return replace(known, total_price=Decimal(price) if price else None, **fields)  # type: ignore[arg-type]


def entry(
    number: int = 0, hours_ago: int = 1, status: RunStatus = RunStatus.SUCCESS, user: str = "u"
) -> Entry:
    """A run with a detail that holds nothing."""
    run = Run(
        AppKey("dify", "a"),
        f"r{number}",
        NOW - timedelta(hours=hours_ago),
        status,
        str(status),
        creator=Creator("end_user", session_id=user) if user else None,
        elapsed_s=Decimal(number),
        total_tokens=number,
    )
    return Entry(run, Detailed({}, {}, [], {}))


def count(*entries: Entry, level: Level = Level.NODES) -> Figures:
    """Tally entries in Shanghai."""
    counter = FiguresCounter(SHANGHAI, now=NOW, level=level)
    for one in entries:
        counter.add(one)
    return counter.figures()


ENTRIES = st.lists(
    st.builds(
        entry,
        number=st.integers(0, 500),
        hours_ago=st.integers(0, 100),
        status=st.sampled_from(RunStatus),
        user=st.sampled_from(["", "a", "b", "c"]),
    ),
    max_size=15,
)


@given(ENTRIES)
def test_figures_equal_a_naive_count(entries: list[Entry]) -> None:
    """Counters, sums, days and users are those of a list held in memory."""
    figures = count(*entries)
    runs = [one.run for one in entries]
    days = [run.listed_at.astimezone(SHANGHAI).date() for run in runs]
    users = Counter(run.creator.session_id for run in runs if run.creator)
    assert figures.runs == figures.conversations == figures.detailed == len(entries)
    assert figures.by_status == Counter(run.status for run in runs)
    assert figures.daily == Counter(days)
    assert (figures.first_day, figures.last_day) == (min(days, default=None), max(days, default=None))
    assert {user.user: user.runs for user in figures.users} == users
    assert [user.runs for user in figures.users] == sorted(users.values(), reverse=True)
    assert figures.total_tokens == sum(run.total_tokens or 0 for run in runs)
    assert figures.elapsed_s == sum((run.elapsed_s or Decimal(0) for run in runs), Decimal(0))
    assert figures.open == sum(run.status.is_open for run in runs)
    assert figures.stuck == len(figures.stuck_runs) == sum(run.is_stuck(NOW) for run in runs)


@given(st.lists(st.floats(1e-5, 1e8), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1.0]))
def test_quantiles_are_within_one_percent(values: list[float], share: float) -> None:
    """A quantile lies within 1 % of the exact nearest-rank one."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[ceil(share * len(values)) - 1]
    found = histogram.quantile(share)
    assert found is not None
    assert abs(found - exact) <= 0.01 * exact


def test_quantiles_at_the_edges() -> None:
    """Nothing has no quantile; zero and negative durations are 0."""
    histogram = Histogram()
    assert histogram.quantile(0.5) is None
    histogram.add(0)
    histogram.add(-3)
    assert histogram.quantile(0.5) == 0


@pytest.mark.fault(20)
def test_days_are_cut_in_the_zone() -> None:
    """16:00 UTC begins a new day in Shanghai."""
    late = replace(entry().run, listed_at=datetime(2026, 11, 20, 16, 0, tzinfo=UTC))
    early = replace(late, listed_at=late.listed_at - timedelta(seconds=1))
    figures = count(*(Entry(run, Missing("x")) for run in (late, early)))
    assert [day.isoformat() for day in figures.daily] == ["2026-11-20", "2026-11-21"]
    (user,) = figures.users
    assert (user.runs, user.days) == (2, 2)


@pytest.mark.parametrize(
    ("level", "missing"),
    [(Level.NODES, {"no console": 1, "deleted": 1}), (Level.RUN, {"deleted": 1}), (Level.NONE, {})],
)
def test_only_what_was_wanted_is_missing(level: Level, missing: dict[str, int]) -> None:
    """What a report did not ask for is not missing from it."""
    half = replace(entry(), detail=Detailed({}, {}, Missing("no console"), {}))
    figures = count(entry(), half, replace(entry(), detail=Missing("deleted", permanent=True)), level=level)
    assert figures.missing_reasons == missing
    assert figures.missing == sum(missing.values())
    assert figures.detailed == (0 if level is Level.NONE else 3 - figures.missing)


def test_prices_count_once() -> None:
    """A container repeats its children's prices; it counts only where no child is listed."""
    child = node(price="0.2", metadata={"iteration_id": "it"})
    container = replace(node("iteration", "0.2"), node_id="it")
    assert nodes_cost([container, child]).amounts == {USD: Decimal("0.2")}
    assert nodes_cost([container, node(price="0.1")]).amounts == {USD: Decimal("0.3")}


def test_what_is_called_usage_is_no_price() -> None:
    """An end node that hands on the usage of a model does not double it, and no input or output sets it."""
    usage = {"usage": {"total_price": "0.5", "currency": "RMB"}, "total_price": "7"}
    model = node(price="0.5", outputs=usage, process_data=usage)
    others = [
        node(kind, inputs=usage, outputs=usage, process_data=usage)
        for kind in ("start", "code", "http-request", "tool", "end", "answer", "template-transform")
    ]
    assert nodes_cost([model, *others]) == ({USD: Decimal("0.5")}, True)
    assert nodes_cost([node("end", "9"), node("start", "9"), node("tool", "1")]).amounts == {USD: Decimal(1)}


@pytest.mark.parametrize("kind", sorted(MODEL_NODES))
def test_a_model_without_a_price_leaves_the_cost_unknown(kind: str) -> None:
    """What is known is a lower bound then, and nothing known is no zero."""
    assert nodes_cost([node(kind)]) == ({}, False)
    assert nodes_cost([node(kind), node(price="0.5")]) == ({USD: Decimal("0.5")}, False)
    assert nodes_cost([node("start"), node("end")]) == ({}, True)


def test_how_many_runs_have_a_known_cost_is_counted() -> None:
    """A run without its nodes, and an open one, cost what nobody knows."""
    run = entry().run
    priced = Detailed({}, {}, [node(price="0.25")], {})
    figures = count(
        Entry(run, priced), Entry(run, Missing("gone")), Entry(run, Detailed({}, {}, Missing("x"), {}))
    )
    assert (figures.costed, figures.runs, figures.cost) == (1, 3, {USD: Decimal("0.25")})
    assert run_cost(replace(run, status=RunStatus.RUNNING), priced) == ({USD: Decimal("0.25")}, False)
    assert cost_json({}, 0, 2) is None
    assert cost_json({}, 0, 0) == cost_json({}, 2, 2) == {}
    assert cost_json({USD: Decimal("1E-7")}, 1, 2) == {USD: "0.0000001"}


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0"), ("0.0012345678", "0.001235"), ("0.1", "0.1"), ("1234.5678", "1234.57"), ("2", "2.00")],
)
def test_amounts_have_sensible_digits(amount: str, text: str) -> None:
    """Cents from one on, below it four digits that count."""
    assert amount_text(Decimal(amount)) == text


@pytest.mark.parametrize(
    "value", ["1e9999999", "1e400000000", 10**400, "9" * 5000, float("inf"), "-1e20", "1e", "１２", "1_000"]
)
def test_absurd_numbers_are_none(value: Json) -> None:
    """What no format could carry is no number, instead of a text of a gigabyte."""
    assert decimal_of(value) is None
    assert integer_of(value) is None


@pytest.mark.parametrize(("value", "number"), [("1e-9999999", 0), ("0e400000000", 0), ("1e18", 10**18)])
def test_numbers_at_the_bounds(value: str, number: int) -> None:
    """What is next to nothing is nothing, and costs nothing to write."""
    assert decimal_of(value) == number
    assert len(f"{decimal_of(value):f}") < 40
    assert decimal_of("0." + "3" * 300) == Decimal("0." + "3" * 30)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0.10", Decimal("0.10")),
        (1, Decimal(1)),
        (0.1, Decimal("0.1")),
        (True, None),
        ("x", None),
        ("NaN", None),
        (None, None),
    ],
)
def test_numbers_are_read_leniently(value: Json, number: Decimal | None) -> None:
    """Numbers and texts of numbers are read; anything else is None."""
    assert decimal_of(value) == number


def test_failures_are_named_and_bounded() -> None:
    """The newest failures are listed with the failing node's error; the counter knows all."""
    broken = replace(node("tool"), status="failed", error="e" * 9000, title="HTTP")
    failed = [
        replace(entry(n, status=RunStatus.FAILED), detail=Detailed({}, {}, [broken], {})) for n in range(60)
    ]
    gone = entry(99, status=RunStatus.INTERRUPTED)
    figures = count(*failed, Entry(replace(gone.run, gone=True), Missing("deleted")))
    assert figures.by_status[RunStatus.FAILED] == 60
    assert [one.run_id for one in figures.failures] == [f"r{n}" for n in range(LISTED_PROBLEMS)]
    assert figures.failures[0].node == "HTTP"
    assert len(figures.failures[0].error) == 500
    assert figures.gone == 1


def test_speed_and_mean_turns() -> None:
    """Speed is the sum of tokens over the sum of seconds; conversations count once."""
    chat = replace(entry(10), detail=Detailed({"sys.conversation_id": "c"}, {}, [], {}))
    figures = count(chat, chat, entry(20))
    assert figures.total_tokens_per_second == 1
    assert figures.tokens_per_second is None
    assert (figures.conversations, figures.runs_per_conversation) == (2, Decimal("1.5"))
    assert count_turns([chat, chat, entry()]) == {"c": 2}


def test_speed_is_that_of_output_tokens() -> None:
    """Tokens that models put out, a second of the runs that say how many; nobody else's ``usage`` counts."""
    usage = {"usage": {"completion_tokens": 30, "total_tokens": 900}}
    spoken = Detailed({}, {}, [node(process_data=usage, outputs=usage), node("end", outputs=usage)], {})
    runs = [replace(entry(10), detail=spoken), entry(90), replace(entry(5), detail=spoken)]
    figures = count(*runs)
    assert (figures.output_tokens, figures.output_s) == (60, Decimal(15))
    assert figures.tokens_per_second == Decimal(4)
    assert output_tokens([node(outputs={"usage": {"completion_tokens": "1e400"}})]) is None


def test_a_window_has_all_its_days() -> None:
    """Days without runs count 0, and the first and last day are the window's, however few runs there are."""
    window = Window.between(NOW - timedelta(days=3), NOW)
    counter = FiguresCounter(SHANGHAI, now=NOW, window=window)
    counter.add(entry(1, hours_ago=30))
    figures = counter.figures()
    days = [date(2026, 11, day) for day in (19, 20, 21, 22)]
    assert figures.daily == dict(zip(days, (0, 0, 1, 0), strict=True))
    assert list(figures.daily) == days
    assert (figures.first_day, figures.last_day) == (days[0], days[-1])
    ages = Window.between(datetime(1970, 1, 2, tzinfo=UTC), NOW)
    assert len(FiguresCounter(SHANGHAI, now=NOW, window=ages).figures().daily) == MOST_DAYS + 1


def test_statuses_are_in_one_order() -> None:
    """However the runs come."""
    mixed = [entry(n, status=status) for n, status in enumerate(reversed(RunStatus))]
    figures = count(*mixed)
    assert list(figures.by_status) == list(STATUS_ORDER)
    assert set(STATUS_ORDER) == set(RunStatus)
    assert list(figures.by_source_status) == sorted(figures.by_source_status)


def test_as_many_failures_are_counted_as_are_listed() -> None:
    """The number in a message is that of the list, also of runs that the source no longer has."""
    gone = entry(3, status=RunStatus.INTERRUPTED)
    figures = count(
        entry(1, status=RunStatus.FAILED),
        entry(2, status=RunStatus.PARTIAL),
        Entry(replace(gone.run, gone=True), Missing("deleted")),
        entry(4, status=RunStatus.CANCELLED),
        entry(5, status=RunStatus.RUNNING),
    )
    assert figures.failed == len(figures.failures) == 3
    assert figures.failed == failed_of({str(status): n for status, n in figures.by_status.items()})


def test_users_and_conversations() -> None:
    """A session id names a user before an e-mail, a name and an id, then the inputs do."""
    one = entry(user="")
    assert user_of(one) is None
    assert user_of(replace(one, detail=Detailed({"sys.user_id": "s"}, None, [], {}))) == "s"
    account = Creator("account", id="i", name="Ann", email="ann@example.com")
    assert user_of(Entry(replace(one.run, creator=account), one.detail)) == "ann@example.com"
    assert conversation_of(Entry(replace(one.run, raw=b'{"conversation_id": "c9"}'), Missing("x"))) == "c9"
    assert conversation_of(Entry(replace(one.run, raw=b'["conversation_id"]'), Missing("x"))) is None
    assert (
        conversation_of(Entry(replace(one.run, raw=b'{"a": {"conversation_id": 1}}'), Missing("x"))) is None
    )
