"""Single runs changed and forgotten, in every ledger: nothing lost, nothing half, nothing of others."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from ledger_samples import APP, AT, FAILED, OTHER_APP, SCOPE, START, detailed, gone_run, open_run, run

from flowledger.domain.certificates import Scope
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.record_kinds import COZE, KINDS, LOG
from flowledger.domain.runs import AppKey, Creator, Detail, Entry, Level, Missing, Run
from flowledger.errors import RecordConflictError
from flowledger.ports import Change, Ledger

KEY = RunKey(APP, "run-000001")
LARGE = b'{"text":"' + bytes(range(35, 91)) * 6000 + b'"}'
"""Some 330 KB."""
NONE = Missing("none")


def putting(kept: Run, detail: Detail = NONE) -> Change:
    return lambda _: (kept, detail)


def shown(entry: Entry | None) -> tuple[Run, Detail] | None:
    return None if entry is None else (entry.run, entry.detail)


def test_a_new_run_is_given_back_as_it_is_held(ledger: Ledger) -> None:
    """The change is asked with None, and what comes back is what is read afterwards."""
    asked: list[Entry | None] = []

    def create(held: Entry | None) -> tuple[Run, Detail]:
        asked.append(held)
        return run(1), detailed()

    assert shown(ledger.amend(KEY, create)) == (run(1), detailed())
    assert asked == [None]
    assert shown(ledger.entry(KEY)) == (run(1), detailed())
    assert ledger.count(SCOPE) == 1


def test_a_change_sees_what_is_held(ledger: Ledger) -> None:
    """Each change builds on the one before."""
    ledger.save_details([(run(1, total_tokens=1), detailed(n=1))])

    def count_on(held: Entry | None) -> tuple[Run, Detail]:
        assert held is not None
        return replace(held.run, total_tokens=(held.run.total_tokens or 0) + 1), held.detail

    for expected in (2, 3, 4):
        assert shown(ledger.amend(KEY, count_on)) == (run(1, total_tokens=expected), detailed(n=1))


def test_none_leaves_a_run_as_it_is(ledger: Ledger) -> None:
    """What is held is given back; what is not stays unknown."""
    assert ledger.amend(KEY, lambda _: None) is None
    assert ledger.entry(KEY) is None
    ledger.save_details([(run(1), detailed())])
    assert shown(ledger.amend(KEY, lambda _: None)) == (run(1), detailed())


@pytest.mark.parametrize("held", [None, run(1), open_run(1)])
def test_a_change_that_raises_writes_nothing(ledger: Ledger, held: Run | None) -> None:
    """Its error comes through, and the ledger goes on as before."""
    if held is not None:
        ledger.save_details([(held, detailed())])

    def refuse(_: Entry | None) -> None:
        raise LookupError("a finished record")

    with pytest.raises(LookupError, match="a finished record"):
        ledger.amend(KEY, refuse)
    assert shown(ledger.entry(KEY)) == (held and (held, detailed()))
    assert shown(ledger.amend(KEY, putting(run(1)))) == (run(1), Missing("none"))


def test_a_change_cannot_become_another_run(ledger: Ledger) -> None:
    """A run of another id or app is refused, and nothing is written."""
    for other in (run(2), run(1, app=OTHER_APP)):
        with pytest.raises(ValueError, match="run-000001 gave run"):
            ledger.amend(KEY, putting(other))
    assert ledger.history(RunQuery()).entries == []


def test_an_amendment_may_open_a_run_again(ledger: Ledger) -> None:
    """Unlike a collection: what the program says is what is kept."""
    ledger.save_details([(run(1), detailed())])
    assert shown(ledger.amend(KEY, putting(open_run(1), detailed(n=2)))) == (open_run(1), detailed(n=2))
    assert [each.run_id for each in ledger.open_runs(SCOPE)] == ["run-000001"]
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    assert shown(ledger.entry(KEY)) == (run(1), detailed(n=2))


def test_an_amendment_may_take_a_deeper_details_place(ledger: Ledger) -> None:
    """Nodes that were held are gone then, and the run is pending again."""
    ledger.save_details([(run(1), detailed(nodes=3))])
    less = detailed(nodes=Missing("no access"))
    assert shown(ledger.amend(KEY, putting(run(1), less))) == (run(1), less)
    assert [each.run_id for each in ledger.pending(SCOPE, Level.NODES, open_since=AT)] == ["run-000001"]
    assert shown(ledger.amend(KEY, putting(run(1)))) == (run(1), Missing("none"))
    assert shown(ledger.amend(KEY, putting(run(1), detailed()))) == (run(1), detailed())


def test_every_field_of_a_run_can_be_amended(ledger: Ledger) -> None:
    """Also back to nothing."""
    bare = Run(APP, "run-000001", START + timedelta(days=3), open_run().status, "läuft")
    for each in (bare, run(1), bare, run(1, creator=Creator("account", None, "x", "e@example.org", None))):
        assert shown(ledger.amend(KEY, putting(each))) == (each, Missing("none"))


def test_what_a_collection_saw_stays_known(ledger: Ledger) -> None:
    """An amended run is still one that a collection has seen, and a member of its scope."""
    ledger.save_runs([run(1)], scope=FAILED, at=AT)
    ledger.amend(KEY, putting(run(1, total_tokens=7)))
    assert (ledger.count(SCOPE, collected_since=AT), ledger.count(FAILED)) == (1, 1)
    ledger.amend(RunKey(APP, "run-000002"), putting(run(2)))
    assert (ledger.count(SCOPE, collected_since=AT), ledger.count(SCOPE)) == (1, 2)


@pytest.mark.parametrize(
    "hostile",
    [
        run(1, run_id="a\0b\ud800c"),
        run(1, run_id="../../etc/passwd"),
        run(1, run_id=""),
        run(1, run_id="x" * 3000),
        run(1, app=AppKey("s\0", "\udfff")),
        run(1, error="\0\ud800", source_status="\udfff", creator=Creator("\0", "\0", "\ud800")),
        run(1, total_tokens=10**40, total_steps=-(10**40), exceptions_count=2**63),
        run(1, elapsed_s=Decimal("1E+999999")),
        run(1, elapsed_s=Decimal("NaN")),
        run(1, raw=b"\0\xff\xfe not JSON"),
    ],
)
def test_hostile_values_are_held(ledger: Ledger, hostile: Run) -> None:
    """What no database takes is replaced, what it takes comes back, and the run is found under its own id."""
    key = RunKey(hostile.app, hostile.run_id)
    amended = ledger.amend(key, putting(hostile))
    assert amended is not None
    assert amended.run.raw == hostile.raw
    assert amended.run.listed_at == hostile.listed_at
    found = ledger.entry(key)
    assert repr(found) == repr(amended)
    assert len(ledger.history(RunQuery(at_least_s=Decimal(0), text="r")).entries) <= 1
    again = ledger.amend(key, shown)
    assert repr(again) == repr(amended)
    assert ledger.locate(hostile.app.source, hostile.run_id) == amended.run.app
    assert ledger.delete_runs([key]) == 1
    assert ledger.entry(key) is None


@pytest.mark.parametrize("raw", [LARGE, LARGE[: 256 * 1024], LARGE[: 256 * 1024 + 1], b"{}", b""])
def test_a_record_of_any_size_comes_back_whole(ledger: Ledger, raw: bytes) -> None:
    """Large or small, first or after another, saved by an amendment or a collection."""
    for before in (LARGE[1:], b"[]", b""):
        ledger.amend(KEY, putting(run(1, raw=before)))
        assert shown(ledger.amend(KEY, putting(run(1, raw=raw)))) == (run(1, raw=raw), Missing("none"))
    ledger.save_runs([run(2, raw=raw), open_run(3, raw=LARGE)], scope=SCOPE, at=AT)
    ledger.save_runs([run(3, raw=raw)], scope=SCOPE, at=AT)
    expected = [raw or LARGE, raw, raw]
    assert [each.run.raw for each in ledger.entries(SCOPE)] == expected
    assert [each.run.raw for each in ledger.entries(SCOPE, with_details=False)] == expected
    page = ledger.history(RunQuery(), with_details=True).entries
    assert [each.run.raw for each in page] == expected
    assert {each.run.raw for each in ledger.history(RunQuery()).entries} == {b""}
    assert {each.raw for each in ledger.pending(SCOPE, Level.NODES, open_since=AT)} >= {raw}


def test_a_large_body_of_a_detail_comes_back_whole(ledger: Ledger) -> None:
    """Above 256 KB as below."""
    large = detailed(text="问" * 300_000)
    ledger.save_details([(run(1), large)])
    assert shown(
        ledger.amend(KEY, lambda held: None if held is None else (run(1, total_tokens=2), held.detail))
    ) == (
        run(1, total_tokens=2),
        large,
    )


def test_threads_that_amend_the_same_run_lose_nothing(ledger: Ledger) -> None:
    """Each change sees all before it, whichever run the others change meanwhile."""
    errors: list[BaseException] = []

    def add(word: str) -> Callable[[Entry | None], tuple[Run, Detail]]:
        def change(held: Entry | None) -> tuple[Run, Detail]:
            raw = held.run.raw + word.encode() if held else word.encode()
            return run(1, raw=raw), Missing("none")

        return change

    def work(letter: str) -> None:
        try:
            for number in range(12):
                ledger.amend(KEY, add(f"{letter}{number} "))
                other = RunKey(APP, f"run-{ord(letter):06d}")
                ledger.amend(other, lambda _: (run(ord(letter)), Missing("none")))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    found = ledger.entry(KEY)
    assert found is not None
    said = found.run.raw.decode().split()
    assert sorted(said) == sorted(f"{letter}{number}" for letter in "abcd" for number in range(12))
    assert [word for word in said if word[0] == "b"] == [f"b{number}" for number in range(12)]
    assert ledger.count(SCOPE) == 5


def test_a_forgotten_run_leaves_nothing(ledger: Ledger) -> None:
    """Neither detail nor membership: the same run saved again is a new one."""
    ledger.save_runs([run(1), run(2)], scope=FAILED, at=AT)
    ledger.save_details([(run(1, raw=LARGE), detailed()), (run(2), detailed())])
    assert ledger.delete_runs([KEY, KEY, RunKey(APP, "run-000009"), RunKey(OTHER_APP, "run-000002")]) == 1
    assert (ledger.count(SCOPE), ledger.count(FAILED)) == (1, 1)
    assert ledger.entry(KEY) is None
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    found = ledger.entry(KEY)
    assert found is not None
    assert (found.run, found.detail.reason) == (run(1), "not read yet")  # type: ignore[union-attr]
    assert ledger.count(FAILED) == 1
    assert shown(ledger.entry(RunKey(APP, "run-000002"))) == (run(2), detailed())


def test_a_forgotten_row_is_not_found_by_its_log_id(ledger: Ledger) -> None:
    """A gone row that was forgotten does not come back with its run."""
    ledger.save_runs([gone_run(1)], scope=SCOPE, at=AT)
    assert ledger.delete_runs([RunKey(APP, "log:log-000001")]) == 1
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    assert [entry.run for entry in ledger.entries(SCOPE)] == [run(1)]


def test_many_runs_are_forgotten_at_once(ledger: Ledger) -> None:
    """Of several apps, more than one statement's worth, in one call; nothing for none."""
    many = [run(number) for number in range(1100)]
    ledger.save_runs(many, scope=SCOPE, at=AT)
    ledger.save_runs([run(1, app=OTHER_APP)], scope=Scope(OTHER_APP, SCOPE.window), at=AT)
    keys = [RunKey(each.app, each.run_id) for each in many[50:]]
    assert ledger.delete_runs([*keys, RunKey(OTHER_APP, "run-000001")]) == 1051
    assert ledger.delete_runs([]) == 0
    assert [app.runs for app in ledger.apps()] == [50]


def test_a_ledger_is_compacted_while_it_is_used(ledger: Ledger) -> None:
    """All that is held is there before, between and after."""
    ledger.compact()
    ledger.save_details([(run(number), detailed()) for number in range(60)])
    reader = ledger.entries(SCOPE)
    next(reader)
    ledger.delete_runs([RunKey(APP, f"run-{number:06d}") for number in range(50, 60)])
    ledger.compact()
    assert sum(1 for _ in reader) in (49, 59)
    ledger.save_details([(run(99), detailed())])
    assert ledger.count(SCOPE) == 51


def execution(source: str, workflow: str, minute: int = 0) -> tuple[Run, Detail]:
    """An execution ``e`` that a program recorded."""
    words = {"execution_id": "e", "execute_id": "e", "workflow_id": workflow, "status": "running"}
    at = START + timedelta(minutes=minute)
    times = {"start_time": at.isoformat(), "create_time": int(at.timestamp() * 1000)}
    return KINDS[source].run_and_detail(words | times)


@pytest.mark.parametrize("source", [LOG, COZE])
def test_an_id_of_an_execution_belongs_to_one_workflow(ledger: Ledger, source: str) -> None:
    """Another workflow is refused it, naming both, until it is free again; a source has ids of its own."""
    mine, other = execution(source, "mine"), execution(source, "other")
    keys = [RunKey(each.app, "e") for each, _ in (mine, other)]
    ledger.amend(keys[0], putting(*mine))
    with pytest.raises(RecordConflictError, match="the workflow mine, not to other"):
        ledger.amend(keys[1], putting(*other))
    assert ledger.entry(keys[1]) is None
    elsewhere = execution(COZE if source == LOG else LOG, "other")
    ledger.amend(RunKey(elsewhere[0].app, "e"), putting(*elsewhere))
    ledger.delete_runs(keys[:1])
    assert shown(ledger.amend(keys[1], putting(*other))) == other


@pytest.mark.parametrize("source", [LOG, COZE])
def test_a_copy_loses_no_execution_of_a_shared_id(ledger: Ledger, source: str) -> None:
    """What an older ledger holds comes over whole, from whichever workflow; new ones are refused still."""
    pair = [execution(source, workflow, minute) for minute, workflow in enumerate(("one", "two"))]
    for _ in range(2):
        ledger.save_details(pair)
        assert [shown(ledger.entry(RunKey(each.app, "e"))) for each, _ in pair] == pair
    ledger.amend(RunKey(pair[1][0].app, "e"), putting(*pair[1]))
    third = execution(source, "three")
    with pytest.raises(RecordConflictError, match="not to three"):
        ledger.amend(RunKey(third[0].app, "e"), putting(*third))
