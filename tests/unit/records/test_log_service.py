"""LogService over every ledger: what is logged comes back, and what is wrong is refused."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowledger.domain.runs import AppKey, Detailed, Missing, Run, RunStatus
from flowledger.errors import FlowledgerError, RecordConflictError, RecordNotFoundError, UsageError
from flowledger.records import LogService
from flowledger.records.storage import LedgerLogStorage

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
KNOWN = {
    "execution_id",
    "workflow_id",
    "status",
    "start_time",
    "end_time",
    "context",
    "messages",
    "task_results",
}
records = st.fixed_dictionaries(
    {
        "workflow_id": st.sampled_from(["wf-1", "wf.2", "WF:3"]),
        "status": st.sampled_from(["running", "Completed", "failed", "已完成", "my own word"]),
        "start_time": st.integers(0, 2**31).map(
            lambda second: datetime.fromtimestamp(second, UTC).isoformat()
        ),
        "end_time": st.none() | st.just("2026-11-22T08:30:00.5+08:00"),
        "context": st.dictionaries(texts, values, max_size=4),
        "messages": st.lists(values, max_size=4),
    },
    optional={"task_results": st.dictionaries(texts, values, max_size=4), "user": values, "usage": values},
)
ON_ONE_LEDGER = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ON_ONE_LEDGER
@given(record=records, more=st.dictionaries(texts.filter(lambda name: name not in KNOWN), values, max_size=3))
def test_any_record_comes_back_as_it_was_given(service: LogService, record: Any, more: Any) -> None:
    """Every value of it, from logging, from asking for it and from the list."""
    given_record = {**more, "execution_id": str(uuid4()), **record}
    assert service.log_workflow_execution(given_record) == given_record
    assert service.get_workflow_execution(given_record["execution_id"]) == given_record
    # Of records that began at one instant any may be first, so the whole list is read.
    assert given_record in service.get_workflow_executions(record["workflow_id"], {"limit": 10_000})


@pytest.mark.usefixtures("ticking")
def test_an_execution_from_its_start_to_its_end(service: LogService) -> None:
    """Messages are added, task results merged, and the end comes with the status that ends it."""
    begun = service.start_workflow_execution("wf-1", context={"order": 7})
    assert begun == {
        "execution_id": begun["execution_id"],
        "workflow_id": "wf-1",
        "status": "running",
        "start_time": "2026-11-22T08:30:01+00:00",
        "end_time": None,
        "context": {"order": 7},
        "messages": [],
    }
    execution_id = begun["execution_id"]
    service.update_workflow_execution(execution_id, messages=["half"], task_results={"a": 1, "b": 1})
    done = service.update_workflow_execution(
        execution_id, status="已完成", messages=["执行完成"], task_results={"b": [2]}
    )
    assert done == {
        **begun,
        "status": "已完成",
        "end_time": "2026-11-22T08:30:03+00:00",
        "messages": ["half", "执行完成"],
        "task_results": {"a": 1, "b": [2]},
    }
    assert service.get_workflow_execution(execution_id) == done


@pytest.mark.usefixtures("ticking")
def test_completing_twice_is_once_and_never_otherwise(service: LogService) -> None:
    """The same words change nothing, the opposite is refused, and what is kept stays."""
    made = service.start_workflow_execution("wf-1", execution_id="run-1")["execution_id"]
    done = service.complete_workflow_execution(made, True, ["fine"], end_time="2026-11-22T10:00:00+02:00")
    assert (done["status"], done["end_time"]) == ("completed", "2026-11-22T10:00:00+02:00")
    assert service.complete_workflow_execution(made, True, ["fine"]) == done
    with pytest.raises(
        RecordConflictError, match=r"run-1 of wf-1 has ended as 'completed'.* become 'failed'"
    ):
        service.complete_workflow_execution(made, False, ["no"])
    for late in ("running", "failed", "取消"):
        with pytest.raises(RecordConflictError, match="has ended as 'completed'"):
            service.update_workflow_execution(made, status=late, messages=["late"])
    assert service.update_workflow_execution(made, status="done")["status"] == "done"
    assert service.get_workflow_execution(made) == {**done, "status": "done"}


@pytest.mark.usefixtures("ticking")
def test_an_ended_execution_begins_anew_only_by_being_logged(service: LogService) -> None:
    """Then its end goes, and it can end otherwise."""
    service.log_workflow_execution({"execution_id": "e", "workflow_id": "w", "status": "failed"})
    again = service.log_workflow_execution({"execution_id": "e", "workflow_id": "w", "status": "retrying"})
    assert (again["status"], again["end_time"]) == ("retrying", None)
    assert service.complete_workflow_execution("e", True)["status"] == "completed"


@pytest.mark.usefixtures("ticking")
def test_starting_the_same_twice_is_one_execution(service: LogService) -> None:
    """With another context or workflow it is refused, naming both workflows."""
    first = service.start_workflow_execution("wf-1", {"a": 1}, execution_id="x")
    assert service.start_workflow_execution("wf-1", {"a": 1}, execution_id="x") == first
    with pytest.raises(RecordConflictError, match="another context"):
        service.start_workflow_execution("wf-1", {"a": True}, execution_id="x")
    attempts: list[Callable[[], Any]] = [
        lambda: service.start_workflow_execution("wf-2", {"a": 1}, execution_id="x"),
        lambda: service.log_workflow_execution({"execution_id": "x", "workflow_id": "wf-2"}),
    ]
    for attempt in attempts:
        with pytest.raises(RecordConflictError, match="x belongs to the workflow wf-1, not to wf-2"):
            attempt()
    assert service.get_workflow_executions() == [first]


def test_logging_again_replaces_what_is_given_and_leaves_the_rest(service: LogService) -> None:
    """It is found by its id, also where its start is told anew."""
    service.log_workflow_execution(
        {"execution_id": "e", "workflow_id": "w", "context": {"a": 1}, "start_time": "2026-01-01T00:00:00Z"}
    )
    merged = service.log_workflow_execution(
        {"execution_id": "e", "workflow_id": "w", "status": "ok", "start_time": "2026-02-01T00:00:00Z"}
    )
    assert (merged["context"], merged["status"], merged["start_time"]) == (
        {"a": 1},
        "ok",
        "2026-02-01T00:00:00Z",
    )
    assert service.get_workflow_executions() == [merged]


def test_what_is_left_out_is_made(service: LogService) -> None:
    """An id, the start, and empty parts; the workflow has to be told."""
    made = service.log_workflow_execution({"workflow_id": "w", "status": None, "context": None})
    assert list(made) == [
        "execution_id", "workflow_id", "status", "start_time", "end_time", "context", "messages"
    ]  # fmt: skip
    assert (made["status"], made["context"], made["messages"]) == ("running", {}, [])
    with pytest.raises(UsageError, match=r"workflow_id .* is no id"):
        service.log_workflow_execution({"status": "running"})


def test_times_without_a_zone_are_of_the_configured_one(configure: Any) -> None:
    """Nobody has to guess later what they meant; an aware datetime is taken too."""
    with LogService("memory", configure("memory", timezone="Asia/Shanghai")) as service:
        for start in ("2026-11-22T08:30:00", datetime(2026, 11, 22, 0, 30, tzinfo=UTC).replace(tzinfo=None)):
            made = service.log_workflow_execution({"workflow_id": "w", "start_time": start})
            assert made["start_time"].endswith(":30:00+08:00")
        aware = datetime(2026, 11, 22, 8, 30, tzinfo=timezone(timedelta(hours=8)))
        assert service.log_workflow_execution({"workflow_id": "w", "start_time": aware})["start_time"] == (
            "2026-11-22T08:30:00+08:00"
        )


@pytest.mark.usefixtures("ticking")
def test_filters(service: LogService) -> None:
    """By status (a ledger's word by its meaning, any other as it is), user, time, own words, and stretch."""
    for number, (status, user) in enumerate(
        [("completed", "ann"), ("success", "bob"), ("running", "ann"), ("timeout", None), ("odd", "ann")]
    ):
        service.log_workflow_execution(
            {
                "execution_id": f"e{number}",
                "workflow_id": "w" if number < 4 else "v",
                "status": status,
                "start_time": f"2026-11-0{number + 1}T00:00:00+00:00",
                "operation_type": "RETRY" if number % 2 else "EXECUTE",
                "source": "cron" if number == 3 else "api",
                **({"user": user} if user else {}),
            }
        )

    def found(workflow_id: str | None = None, **filters: Any) -> str:
        listed = service.get_workflow_executions(workflow_id, filters)
        return "".join(record["execution_id"][1:] for record in listed)

    assert found() == "43210"
    assert (found("w"), found("nobody")) == ("3210", "")
    assert (found(status="success"), found(status="completed"), found(status="SUCCESS")) == ("10", "0", "1")
    assert (found(status="failed"), found(status="odd"), found(status=["odd", "running"])) == ("3", "4", "42")
    assert (found(user="ann"), found("w", user="ann")) == ("420", "20")
    assert found(started_after="2026-11-02T00:00:00Z", started_before="2026-11-04T00:00:00Z") == "21"
    assert (found(operation_type="RETRY"), found(source="cron"), found(source="log")) == ("31", "3", "43210")
    assert (found(limit=2), found(limit=2, offset=1), found(offset=9)) == ("43", "32", "")
    assert (found(order="oldest"), found(order="asc", limit=2, offset=1)) == ("01234", "12")


def test_runs_of_other_sources_are_in_the_same_list(service: LogService) -> None:
    """Where they are asked for; they look like executions."""
    at = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
    assert isinstance(service.storage, LedgerLogStorage)
    run = Run(
        AppKey("coze", "w"), "r", at, RunStatus.FAILED, "failed", started_at=at, raw=b'{"execute_id":"r"}'
    )
    detail = Detailed({"q": 1}, {"a": 2}, Missing("no nodes", permanent=True), {})
    held_run = Run(
        run.app, "r", at, RunStatus.FAILED, "failed", started_at=at,
        raw=b'{"execute_id":"r","workflow_id":"w","input_parameters":{"q":1},"output":{"a":2}}',
    )  # fmt: skip
    service.storage.ledger.save_details([(held_run, detail)])
    assert service.get_workflow_executions("w") == []
    assert service.get_workflow_executions("w", {"source": "coze"}) == [
        {
            "execution_id": "r",
            "workflow_id": "w",
            "status": "failed",
            "start_time": "2026-11-22T08:30:00+00:00",
            "end_time": None,
            "context": {"q": 1},
            "messages": [],
            "task_results": {"a": 2},
            "source": "coze",
        }
    ]


@pytest.mark.usefixtures("ticking")
def test_operations_are_kept_and_never_changed(service: LogService) -> None:
    """Newest first, with their user; an id means one operation for ever."""
    first = service.log_workflow_operation("CREATE", "w", data={"name": "新名称"}, user="ann")
    assert first == {
        "operation_id": first["operation_id"],
        "operation_type": "CREATE",
        "workflow_id": "w",
        "timestamp": "2026-11-22T08:30:01+00:00",
        "user": "ann",
        "data": {"name": "新名称"},
    }
    second = service.log_workflow_operation("MY OWN", "w")
    assert (second["data"], bool(second["user"])) == ({}, True)
    service.log_workflow_operation("CREATE", "other")
    assert service.get_workflow_operations("w") == [second, first]
    assert service.get_workflow_operations("w", {"operation_type": "CREATE"}) == [first]
    assert service.get_workflow_operations(filters={"user": "ann", "limit": 5}) == [first]
    assert service.storage.get_log_by_id("workflow_operations", first["operation_id"]) == first
    assert service.storage.save_log("workflow_operation", first) == first
    with pytest.raises(RecordConflictError, match="operations are never changed"):
        service.storage.save_log("operations", {**first, "data": {"name": "other"}})
    assert service.storage.get_log_by_id("operation", first["operation_id"]) == first


def test_an_unknown_execution_is_not_found(service: LogService) -> None:
    """Asking gives None; changing raises what both kinds of callers catch."""
    assert service.get_workflow_execution("nobody") is None
    assert service.storage.get_log_by_id("workflow_operations", "nobody") is None
    for change in (service.update_workflow_execution, service.complete_workflow_execution):
        with pytest.raises(RecordNotFoundError, match="there is no execution nobody") as caught:
            change("nobody")
        assert isinstance(caught.value, LookupError)
        assert isinstance(caught.value, FlowledgerError)


NOT_IDS = [
    "../etc/passwd",
    "a/b",
    "a\\b",
    ".hidden",
    "-x",
    "",
    " ",
    "a\0b",
    "a\n",
    "é",
    "x" * 129,
    7,
    None,
    ["a"],
]


@pytest.mark.parametrize("bad", NOT_IDS, ids=repr)
def test_what_is_no_id_is_refused_everywhere(service: LogService, bad: Any) -> None:
    """It never reaches a file's name or a table."""
    attempts: list[Callable[[], Any]] = [
        lambda: service.start_workflow_execution(bad),
        lambda: service.log_workflow_execution({"workflow_id": bad}),
        lambda: service.get_workflow_execution(bad),
        lambda: service.update_workflow_execution(bad, status="x"),
        lambda: service.storage.get_log_by_id("workflow_operations", bad),
    ]
    if bad is not None:
        attempts += [
            lambda: service.start_workflow_execution("w", execution_id=bad),
            lambda: service.log_workflow_operation("CREATE", bad),
            lambda: service.get_workflow_executions(bad),
        ]
    for attempt in attempts:
        with pytest.raises(UsageError, match="is no id"):
            attempt()
    assert service.get_workflow_executions() == service.get_workflow_operations() == []


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"context": {"a": float("nan")}}, r"execution.context.a is nan"),
    ({"context": {"a": [1, float("-inf")]}}, r"context\.a\[1\] is -inf"),
    ({"context": {"a": "x\0"}}, r"context.a holds U\+0000"),
    ({"context": {"\ud800": 1}}, r"context holds U\+D800"),
    ({"context": {1: 2}}, "keys must be texts, not a number"),
    ({"context": {"a": b"x"}}, "bytes, which JSON does not have"),
    ({"context": {"a": datetime(2026, 1, 1, tzinfo=UTC)}}, "datetime, which JSON does not have"),
    ({"context": {"a": 10**5000}}, "more than 1,000 digits"),
    ({"context": {"a": deep(99)}}, "deeper than 100"),
    ({"context": {"a": deep(100_000)}}, "deeper than 100"),
    ({"context": [1]}, "context must be an object, not a list"),
    ({"messages": "text"}, "messages must be a list, not a text"),
    ({"messages": {"a": 1}}, "messages must be a list, not an object"),
    ({"task_results": [1]}, "task_results must be an object, not a list"),
    ({"status": 7}, "status must be a text, not a number"),
    ({"status": "a\nb"}, "status .* none that cannot be seen"),
    ({"status": " "}, "status ' ' must have 1 to 200 characters"),
    ({"start_time": "yesterday"}, "start_time 'yesterday' is no time"),
    ({"start_time": 1761901941289}, r"start_time \(a number\) is no time"),
    ({"end_time": "0001-01-01T00:00:00+14:00"}, "end_time .* is no time"),
]


@pytest.mark.parametrize(("wrong", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_what_is_wrong_is_refused_with_its_place_and_nothing_is_written(
    service: LogService, wrong: dict[str, Any], reason: str
) -> None:
    """Neither a new execution nor one that is held takes it."""
    held = service.log_workflow_execution({"execution_id": "held", "workflow_id": "w"})
    for execution_id in ("held", "new"):
        with pytest.raises(UsageError, match=reason):
            service.log_workflow_execution({"execution_id": execution_id, "workflow_id": "w", **wrong})
    assert service.get_workflow_executions() == [held]


def test_a_record_that_is_too_large_is_refused(configure: Any) -> None:
    """Whole, by what is added to it, and by parts that it holds many times."""
    shared: Any = ["x" * 100]
    for _ in range(60):
        shared = [shared, shared]
    with LogService("memory", configure("memory", max_record_mb=1 / 64)) as service:
        for context in ({"a": "x" * 17_000}, {"a": ["é"] * 4_000}, {"a": shared}):
            with pytest.raises(UsageError, match=r"is larger than 0.015625 MB.*RECORDS_MAX_MB"):
                service.start_workflow_execution("w", context)
        held = service.start_workflow_execution("w", {"a": "x" * 15_000}, "e")
        with pytest.raises(UsageError, match=r"execution e is larger than 0.015625 MB"):
            service.update_workflow_execution("e", messages=["x" * 2_000])
        assert service.get_workflow_executions() == [held]
        with pytest.raises(UsageError, match="data is larger"):
            service.log_workflow_operation("CREATE", "w", {"a": "x" * 17_000})


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ({"colour": 1}, "unknown filter colour: one of workflow_id, source"),
        ({"limit": 0}, "limit must be a whole number from 1 on, not 0"),
        ({"limit": True}, "limit must be"),
        ({"offset": -1}, "offset must be a whole number from 0 on"),
        ({"order": "sideways"}, "unknown order 'sideways': one of newest"),
        ({"started_after": "soon"}, "started_after 'soon' is no time"),
        ({"status": 3}, "status must be a text"),
        ([], "filters must be an object, not a list"),
    ],
)
def test_a_wrong_filter_is_refused(service: LogService, filters: Any, reason: str) -> None:
    """An empty list would look like an answer."""
    with pytest.raises(UsageError, match=reason):
        service.get_workflow_executions(filters=filters)


def test_a_wrong_operation_is_refused(service: LogService) -> None:
    """Its type, data and user have to be what they are."""
    for words, reason in [
        (("", "w"), "operation_type '' must have"),
        ((7, "w"), "operation_type must be a text"),
        (("CREATE", "w", [1]), "data must be an object"),
        (("CREATE", "w", {"a": float("inf")}), r"data\.a is inf"),
        (("CREATE", "w", {}, "a\0b"), "user .* none that cannot be seen"),
    ]:
        with pytest.raises(UsageError, match=reason):
            service.log_workflow_operation(*words)  # type: ignore[arg-type]  # what is wrong is the point
    with pytest.raises(UsageError, match="unknown type of log 'letters'"):
        service.storage.save_log("letters", {})
    assert service.get_workflow_operations() == []


def test_threads_that_add_messages_to_one_execution_lose_none(service: LogService) -> None:
    """Each thread's messages are there, in its order."""
    service.start_workflow_execution("w", execution_id="e")

    def add(thread: int) -> None:
        for number in range(12):
            service.update_workflow_execution(
                "e", messages=[[thread, number]], task_results={f"{thread}": number}
            )

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(add, range(6)))
    kept = service.get_workflow_execution("e")
    assert kept is not None
    assert kept["task_results"] == {f"{thread}": 11 for thread in range(6)}
    for thread in range(6):
        own = [number for by, number in kept["messages"] if by == thread]
        assert own == list(range(12))


def test_threads_that_make_one_id_for_two_workflows_do_not_both_get_it(service: LogService) -> None:
    """One of them is refused."""

    def make(workflow_id: str) -> bool:
        try:
            service.log_workflow_execution({"execution_id": "e", "workflow_id": workflow_id})
        except RecordConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(make, ["a", "b", "c", "d"]))
    assert made.count(True) == len(service.get_workflow_executions()) == 1


def test_expired_executions_are_deleted_when_asked_for(service: LogService, ticking: Any) -> None:
    """Those that have ended and began before the retention; an operation tells of it."""
    for execution_id, status, days in (("old", "done", 91), ("open", "running", 91), ("new", "done", 89)):
        service.log_workflow_execution(
            {
                "execution_id": execution_id,
                "workflow_id": "w",
                "status": status,
                "start_time": (ticking.now - timedelta(days=days)).isoformat(),
            }
        )
    assert service.delete_expired_executions(user="ann") == 1
    assert [each["execution_id"] for each in service.get_workflow_executions()] == ["new", "open"]
    (told,) = service.get_workflow_operations()
    assert (told["operation_type"], told["user"], told["data"]["days"]) == ("CLEANUP", "ann", 90)
