"""The history of all runs, in every ledger: what a query admits, pages, apps, facts and sizes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import APP, AT, OTHER_APP, SCOPE, SECOND, START, detailed, gone_run, open_run, run

from flowledger.domain.certificates import Scope
from flowledger.domain.history import Place, RunFacts, RunKey, RunQuery
from flowledger.domain.runs import AppKey, Creator, Detail, Missing, Run, RunStatus
from flowledger.ledger.rules import LEFT_OUT, NOT_READ
from flowledger.ports import Change, Ledger

ELSEWHERE = AppKey("else", "app-1")
APPS = (APP, OTHER_APP, ELSEWHERE)
EVERYTHING = RunQuery()
NOBODY_ASKED = RunQuery(apps=())


def save(ledger: Ledger, *runs: Run) -> None:
    for each in runs:
        ledger.save_runs([each], scope=Scope(each.app, SCOPE.window), at=AT)


def pages(ledger: Ledger, query: RunQuery, limit: int) -> Iterator[Sequence[Run]]:
    after: Place | None = None
    while True:
        page = ledger.history(query, after=after, limit=limit)
        yield [entry.run for entry in page.entries]
        if page.following is None:
            return
        after = page.following


def ids(runs: Sequence[Run]) -> list[str]:
    return [each.run_id for each in runs]


def listed(ledger: Ledger, query: RunQuery = EVERYTHING) -> list[str]:
    return ids([entry.run for entry in ledger.history(query).entries])


def test_an_empty_ledger_has_no_history(ledger: Ledger) -> None:
    """Every question has an empty answer."""
    assert ledger.history(EVERYTHING) == ([], None)
    assert list(ledger.apps()) == []
    assert list(ledger.facts(EVERYTHING)) == []
    assert list(ledger.sizes(APP)) == []
    assert ledger.entry(RunKey(APP, "run-000001")) is None
    assert ledger.locate("sample", "run-000001") is None


def test_the_runs_of_all_apps_are_one_list(ledger: Ledger) -> None:
    """Newest first, whatever app and source they are of, and in whatever order they were saved."""
    save(ledger, run(2), run(1, app=OTHER_APP), run(4, app=ELSEWHERE), run(3))
    assert listed(ledger) == ["run-000004", "run-000003", "run-000002", "run-000001"]


def test_a_page_has_every_field_but_the_raw_row(ledger: Ledger) -> None:
    """Without details the source's own row is left out as well; with them nothing is."""
    ledger.save_details([(run(1), detailed())])
    save(ledger, gone_run(0))
    plain = ledger.history(EVERYTHING).entries
    assert [(each.run, each.detail) for each in plain] == [
        (run(1, raw=b""), LEFT_OUT),
        (gone_run(0), LEFT_OUT),
    ]
    whole = ledger.history(EVERYTHING, with_details=True).entries
    assert [(each.run, each.detail) for each in whole] == [(run(1), detailed()), (gone_run(0), NOT_READ)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 19, 20, 21])
def test_pages_give_every_run_exactly_once(ledger: Ledger, limit: int) -> None:
    """Many runs of one second, of several apps: no page skips or repeats one, and the last says so."""
    saved = [run(number, at_s=number // 7, app=APPS[number % 3]) for number in range(20)]
    save(ledger, *saved)
    for query in (EVERYTHING, RunQuery(apps=APPS), RunQuery(sources=("sample", "else"))):
        read = list(pages(ledger, query, limit))
        runs = [each for page in read for each in page]
        assert sorted(ids(runs)) == ids(saved)
        assert [each.listed_at for each in runs] == sorted((each.listed_at for each in runs), reverse=True)
        assert [len(page) for page in read[:-1]] == [limit] * (len(read) - 1)
        assert read[-1]


def test_a_run_that_comes_meanwhile_moves_no_page(ledger: Ledger) -> None:
    """A newer run, and one that is gone, do not make the next page skip or repeat another."""
    save(ledger, *(run(number) for number in range(6)))
    first = ledger.history(EVERYTHING, limit=3)
    save(ledger, run(9))
    ledger.delete_runs([RunKey(APP, "run-000003")])
    second = ledger.history(EVERYTHING, after=first.following, limit=3)
    assert ids([each.run for each in second.entries]) == ["run-000002", "run-000001", "run-000000"]


def test_many_apps_are_one_list_too(ledger: Ledger) -> None:
    """However many apps are asked for at once, the order and the pages are the same."""
    apps = [AppKey("sample", f"many-{number}") for number in range(70)]
    save(ledger, *(run(number, at_s=number // 5, app=app) for number, app in enumerate(apps)))
    save(ledger, run(1000, app=OTHER_APP))
    query = RunQuery(apps=tuple(apps))
    found = [each for page in pages(ledger, query, 9) for each in page]
    assert sorted(ids(found)) == [f"run-{number:06d}" for number in range(70)]
    assert [each.listed_at for each in found] == sorted((each.listed_at for each in found), reverse=True)
    assert len(list(ledger.facts(RunQuery(sources=("sample",))))) == 71
    assert listed(ledger, RunQuery(workflows=("many-3", "many-9"))) == ["run-000009", "run-000003"]


words = st.sampled_from(
    ["", "a", "A", "ab", "ß", "İ", "ı", "é", "É", "%", "_", "\\", "'", "\n", "\0", "\ud800", "小王"]
)
texts = st.lists(words, max_size=3).map("".join)
plain = ["0", "-0.0", "1", "1.0", "1.2300000000000000001", "1.23", "9.5", "10", "1E+2", "1E-9"]
absurd = ["NaN", "Infinity", "-Infinity", "sNaN", "1E+400", "12345678901234567890.123456789"]
seconds = st.none() | st.sampled_from([Decimal(text) for text in (*plain, *absurd)])
finite = st.sampled_from([None, *map(Decimal, ("0", "1", "1.23", "9.50", "10", "100", "1E+400"))])
creators = st.none() | st.builds(
    Creator, texts, st.none() | texts, st.none() | texts, st.none() | texts, st.none() | texts
)
instants = st.integers(0, 4).map(lambda number: START + number * SECOND / 2)
made = st.builds(
    lambda app, run_id, at, status, creator, error, elapsed: run(
        0,
        app=app,
        run_id=run_id,
        log_id=None,
        listed_at=at,
        status=status,
        creator=creator,
        error=error,
        elapsed_s=elapsed,
        raw=b"",
    ),
    st.sampled_from(APPS),
    texts,
    instants,
    st.sampled_from(list(RunStatus)),
    creators,
    st.none() | texts,
    seconds,
)


def putting(kept: Run) -> Change:
    return lambda _: (kept, Missing("none"))


def some(values: Sequence[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(values), max_size=2).map(tuple)


queries = st.builds(
    RunQuery,
    sources=some(["sample", "else", "nowhere"]),
    apps=st.none() | some([*APPS, AppKey("sample", "app-9"), AppKey("else", "app-2")]),
    workflows=some(["app-1", "app-2", "app-9"]),
    statuses=some(list(RunStatus)),
    listed_from=st.none() | instants,
    listed_before=st.none() | instants,
    user=st.just("") | texts,
    at_least_s=finite,
    at_most_s=finite,
    text=st.just("") | texts,
)


@given(runs=st.lists(made, max_size=12), wanted=st.lists(queries, min_size=1, max_size=6))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_a_query_finds_what_it_admits(ledger: Ledger, runs: list[Run], wanted: list[RunQuery]) -> None:
    """Whatever the runs and the question: what is found is what ``RunQuery.admits``, as history and facts."""
    for each in runs:
        ledger.amend(RunKey(each.app, each.run_id), putting(each))
    held = [entry.run for entry in ledger.history(EVERYTHING, limit=100).entries]
    assert len(held) == len({(each.app, each.run_id) for each in held})
    for query in map(kept, wanted):
        found = [each for page in pages(ledger, query, 3) for each in page]
        expected = [each for each in held if query.admits(each)]
        assert Counter(map(key_of, found)) == Counter(map(key_of, expected))
        assert [each.listed_at for each in found] == [each.listed_at for each in expected]
        assert Counter(map(counted, ledger.facts(query))) == Counter(counted(fact(each)) for each in expected)
    assert ledger.delete_runs([RunKey(each.app, each.run_id) for each in runs]) == len(held)


def kept(query: RunQuery) -> RunQuery:
    """The query as ledgers read it: its texts as runs keep theirs."""
    return replace(query, user=clean(query.user), text=clean(query.text))


def clean(text: str) -> str:
    return text.replace("\0", "\ufffd").replace("\ud800", "\ufffd")


def key_of(each: Run) -> tuple[AppKey, str]:
    return each.app, each.run_id


def fact(each: Run, **cost: Decimal) -> RunFacts:
    return RunFacts(each.app, each.listed_at, each.status, each.elapsed_s, each.total_tokens, cost)


def counted(facts: RunFacts) -> tuple[object, ...]:
    cost = tuple(sorted(facts.cost.items()))
    return facts.app, facts.listed_at, facts.status, str(facts.elapsed_s), facts.total_tokens, cost


def test_facts_tell_what_a_run_cost(ledger: Ledger) -> None:
    """The cost is that of the nodes, by currency, however it came to be known."""
    ledger.save_runs([run(1), run(2)], scope=SCOPE, at=AT)
    ledger.save_details(
        [(run(2), detailed(nodes=3)), (run(3), detailed(nodes=1)), (run(4), Missing("timed out"))]
    )
    ledger.amend(RunKey(APP, "run-000005"), lambda _: (run(5), detailed(nodes=2)))
    costs = {facts.listed_at: dict(facts.cost) for facts in ledger.facts(EVERYTHING)}
    price = Decimal("0.0041700")
    assert costs == {
        START + 1 * SECOND: {},
        START + 2 * SECOND: {"USD": price * 3},
        START + 3 * SECOND: {"USD": price},
        START + 4 * SECOND: {},
        START + 5 * SECOND: {"USD": price * 2},
    }
    known = [facts.listed_at for facts in ledger.facts(EVERYTHING) if facts.cost_known]
    assert sorted(known) == [START + second * SECOND for second in (2, 3, 5)]


def test_a_detail_that_is_read_again_changes_the_cost(ledger: Ledger) -> None:
    """The newest detail counts; a lesser one that takes its place leaves no cost."""
    price = Decimal("0.0041700")
    for nodes, expected in ((2, price * 2), (1, price), (0, None)):
        ledger.save_details([(run(1), detailed(nodes=nodes))])
        (facts,) = ledger.facts(EVERYTHING)
        assert facts.cost.get("USD") == expected
    ledger.amend(RunKey(APP, "run-000001"), lambda _: (run(1), detailed(nodes=4)))
    ledger.amend(RunKey(APP, "run-000001"), lambda _: (run(1), Missing("not any more")))
    assert [dict(facts.cost) for facts in ledger.facts(EVERYTHING)] == [{}]


def test_apps_tell_what_is_held_of_each(ledger: Ledger) -> None:
    """By source and id, with the runs by status and the instants of the oldest and the newest."""
    save(ledger, run(1), run(5), open_run(9), run(7, app=OTHER_APP, status=RunStatus.FAILED))
    save(ledger, run(3, app=ELSEWHERE, listed_at=START + timedelta(microseconds=1)))
    elsewhere, mine, other = ledger.apps()
    assert (elsewhere.app, elsewhere.runs) == (ELSEWHERE, 1)
    assert elsewhere.first_at == elsewhere.last_at == START + timedelta(microseconds=1)
    assert (mine.app, mine.runs) == (APP, 3)
    assert mine.by_status == {RunStatus.SUCCESS: 2, RunStatus.RUNNING: 1}
    assert (mine.first_at, mine.last_at) == (START + SECOND, START + 9 * SECOND)
    assert (other.app, dict(other.by_status)) == (OTHER_APP, {RunStatus.FAILED: 1})


def test_a_run_is_located_by_its_id_alone(ledger: Ledger) -> None:
    """Of two with the same id in one source, the newest; another source's is another run."""
    save(ledger, run(1), run(2), run(1, app=OTHER_APP, at_s=9), run(3, app=ELSEWHERE))
    save(ledger, run(4, run_id="\0id"))
    found = [ledger.locate("sample", f"run-{number:06d}") for number in (1, 2, 3)]
    assert found == [OTHER_APP, APP, None]
    assert ledger.locate("else", "run-000003") == ELSEWHERE
    assert ledger.locate("sample", "\0id") == APP
    assert [ledger.locate(source, "run-000002") for source in ("", "nowhere", "\0")] == [None] * 3


@pytest.mark.parametrize("detail", [detailed(), detailed(nodes=Missing("no access")), Missing("timed out")])
def test_one_run_comes_with_its_detail(ledger: Ledger, detail: Detail) -> None:
    """By its key, whole."""
    ledger.save_details([(run(1), detail)])
    found = ledger.entry(RunKey(APP, "run-000001"))
    assert found is not None
    assert (found.run, found.detail) == (run(1), detail)
    assert ledger.entry(RunKey(OTHER_APP, "run-000001")) is None


def test_sizes_tell_what_a_run_takes(ledger: Ledger) -> None:
    """Newest first, the row's own and the bodies' bytes together; other apps' are left out."""
    large = detailed(noise="".join(chr(0x4E00 + number * 7919 % 20000) for number in range(20000)))
    ledger.save_details([(run(1), detailed()), (run(2), large), (run(3, raw=b""), Missing("timed out"))])
    save(ledger, run(9, app=OTHER_APP))
    sizes = list(ledger.sizes(APP))
    assert [(size.run_id, size.listed_at) for size in sizes] == [
        (f"run-00000{number}", START + number * SECOND) for number in (3, 2, 1)
    ]
    third, second, first = (size.size_bytes for size in sizes)
    assert second > 20_000 > first > third >= 0
    assert first < 1000


def test_what_is_asked_about_nothing_finds_nothing(ledger: Ledger) -> None:
    """No apps at all is another question than every app."""
    save(ledger, run(1))
    assert listed(ledger, NOBODY_ASKED) == []
    assert list(ledger.facts(NOBODY_ASKED)) == []
    assert listed(ledger, RunQuery(apps=(OTHER_APP,))) == []
    assert listed(ledger, RunQuery(sources=("sample",), apps=(ELSEWHERE,))) == []


@pytest.mark.parametrize("at", [START, datetime(1, 1, 1, tzinfo=START.tzinfo), AT + timedelta(days=365)])
def test_a_place_need_not_be_a_run(ledger: Ledger, at: datetime) -> None:
    """What follows an instant is what is older, whether or not there is a run at it."""
    save(ledger, *(run(number) for number in range(3)))
    last = ledger.history(EVERYTHING, limit=1).following
    assert last is not None
    found = ledger.history(EVERYTHING, after=Place(at, last.tie)).entries
    assert all(each.run.listed_at <= at for each in found)
