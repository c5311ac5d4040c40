"""ExecutionHistoryService over every ledger."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowledger.domain.history import OperationQuery
from flowledger.domain.runs import AppKey
from flowledger.errors import RecordConflictError, RecordNotFoundError, UsageError
from flowledger.records import NOT_GIVEN, ExecutionHistoryService

Result = TypeVar("Result")
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(texts, values, max_size=4)


def done(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end."""
    return asyncio.run(work)


def create(histories: ExecutionHistoryService, execute_id: str, workflow_id: str = "w", **more: Any) -> Any:
    """Make a record with little in it."""
    return done(
        histories.create_execution_record(workflow_id, {"q": 1}, "bot", "talk", execute_id=execute_id, **more)
    )


def update(histories: ExecutionHistoryService, execute_id: str = "e", **changes: Any) -> Any:
    """Change a record of the workflow ``w``."""
    return done(histories.update_execution_record("w", execute_id, **changes))


def ids(page: dict[str, Any]) -> list[str]:
    return [each["execute_id"] for each in page["histories"]]


@pytest.mark.usefixtures("ticking")
def test_a_record_has_all_fields_from_its_beginning(histories: ExecutionHistoryService) -> None:
    """In the order of the old files; times are milliseconds."""
    record = done(
        histories.create_execution_record(
            "w", {"input": "值"}, "bot_123", "conv_123", metadata={"a": 1}, run_mode=1
        )
    )
    assert list(record.items()) == [
        ("execute_id", record["execute_id"]),
        ("workflow_id", "w"),
        ("create_time", 1795336201000),
        ("update_time", 1795336201000),
        ("execute_status", "running"),
        ("error_code", None),
        ("error_message", None),
        ("output", None),
        ("input_parameters", {"input": "值"}),
        ("bot_id", "bot_123"),
        ("conversation_id", "conv_123"),
        ("debug_url", None),
        ("run_mode", 1),
        ("usage", None),
        ("metadata", {"a": 1}),
        ("connector_id", None),
        ("connector_uid", None),
        ("is_output_trimmed", False),
        ("node_execute_status", None),
    ]
    assert done(histories.get_execution_detail("w", record["execute_id"])) == record


@pytest.mark.usefixtures("ticking")
def test_only_what_is_given_changes(histories: ExecutionHistoryService) -> None:
    """None is a value; what is left out stays."""
    begun = create(histories, "e")
    changed = update(
        histories, execute_status="failed", error_code=700, error_message="上游", output={"r": 1}
    )
    assert changed == {
        **begun,
        "execute_status": "failed",
        "error_code": 700,
        "error_message": "上游",
        "output": {"r": 1},
        "update_time": begun["create_time"] + 1000,
    }
    cleared = update(histories, error_message=None, usage={"tokens": 100}, node_execute_status={"n": "ok"})
    assert (cleared["error_message"], cleared["error_code"], cleared["output"]) == (None, 700, {"r": 1})
    assert (cleared["usage"], cleared["node_execute_status"]) == ({"tokens": 100}, {"n": "ok"})
    assert update(histories, output=NOT_GIVEN) == cleared
    assert update(histories, output=None, is_output_trimmed=True)["output"] is None


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parameters=objects, metadata=objects, output=values, usage=st.none() | objects, nodes=values)
def test_any_values_come_back_as_they_were_given(
    histories: ExecutionHistoryService, parameters: Any, metadata: Any, output: Any, usage: Any, nodes: Any
) -> None:
    """Whatever JSON goes in or out of a workflow."""

    async def both() -> Any:
        made = await histories.create_execution_record("w", parameters, None, None, metadata=metadata)
        execute_id = made["execute_id"]
        kept = await histories.update_execution_record(
            "w", execute_id, "success", output, usage, node_execute_status=nodes
        )
        return made, kept, await histories.get_execution_detail("w", execute_id)

    made, kept, detail = done(both())
    assert (made["input_parameters"], made["metadata"]) == (parameters, metadata)
    assert (kept["output"], kept["usage"], kept["node_execute_status"]) == (output, usage, nodes)
    assert detail == kept


@pytest.mark.usefixtures("ticking")
def test_an_ended_execution_keeps_its_status(histories: ExecutionHistoryService) -> None:
    """The same status may come again, with more; another is refused, and nothing is written."""
    create(histories, "e")
    ended = update(histories, execute_status="interrupted")
    for late in ("running", "success", "failed"):
        with pytest.raises(
            RecordConflictError, match=f"e of w has ended as 'interrupted' and cannot become '{late}'"
        ):
            update(histories, execute_status=late, output={"late": True})
    assert done(histories.get_execution_detail("w", "e")) == ended
    assert update(histories, execute_status="interrupted", debug_url="https://x")["debug_url"] == "https://x"


@pytest.mark.usefixtures("ticking")
def test_an_id_is_given_once(histories: ExecutionHistoryService) -> None:
    """The same beginning said again is one execution, whatever became of it; another one is refused."""
    create(histories, "e")
    ended = update(histories, execute_status="success")
    assert create(histories, "e") == ended
    with pytest.raises(RecordConflictError, match="an execution e already, with other metadata: "):
        create(histories, "e", metadata={"other": 1})
    with pytest.raises(RecordConflictError, match="e belongs to the workflow w, not to other"):
        create(histories, "e", workflow_id="other")
    assert done(histories.get_all_workflows()) == ["w"]


@pytest.mark.usefixtures("ticking")
def test_pages(histories: ExecutionHistoryService) -> None:
    """Newest first; a page says whether there is another, and how many there are in all."""
    for number in range(5):
        create(histories, f"e{number}")
    create(histories, "other", workflow_id="v")

    def page(**asked: int) -> dict[str, Any]:
        return done(histories.get_execution_history("w", **asked))

    assert {**page(), "histories": ids(page())} == {
        "workflow_id": "w",
        "histories": ["e4", "e3", "e2", "e1", "e0"],
        "total": 5,
        "has_more": False,
        "page_size": 20,
        "page_index": 1,
    }
    seen = [
        (ids(each), each["has_more"], each["total"])
        for each in (page(page_size=2, page_index=n) for n in (1, 2, 3))
    ]
    assert seen == [(["e4", "e3"], True, 5), (["e2", "e1"], True, 5), (["e0"], False, 5)]
    assert (ids(page(page_size=5, page_index=2)), ids(page(page_size=100, page_index=9))) == ([], [])
    assert done(histories.get_execution_history("nobody"))["total"] == 0


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"page_size": 0}, "page_size must be a whole number from 1 to 100, not 0"),
        ({"page_size": 101}, "page_size must be .* not 101"),
        ({"page_size": True}, "page_size must be"),
        ({"page_size": "20"}, "page_size must be"),
        ({"page_index": 0}, "page_index must be a whole number from 1 on, not 0"),
    ],
)
def test_a_wrong_page_is_refused(histories: ExecutionHistoryService, asked: Any, reason: str) -> None:
    """With the reason."""
    with pytest.raises(UsageError, match=reason):
        done(histories.get_execution_history("w", **asked))


@pytest.mark.usefixtures("ticking")
def test_deleting_leaves_an_operation(histories: ExecutionHistoryService) -> None:
    """Of who did it; there is none of what was not there."""
    for number in range(3):
        create(histories, f"e{number}")
    create(histories, "kept", workflow_id="v")
    assert done(histories.delete_execution_record("w", "e1", user="ann")) is True
    assert done(histories.delete_execution_record("w", "e1", user="ann")) is False
    assert ids(done(histories.get_execution_history("w"))) == ["e2", "e0"]
    assert done(histories.get_execution_detail("w", "e1")) is None
    assert done(histories.clear_workflow_history("w", user="bob")) == 2
    assert done(histories.clear_workflow_history("w", user="bob")) == 0
    assert done(histories.get_all_workflows()) == ["v"]
    trail = histories.ledger.operations(OperationQuery(apps=(AppKey("coze", "w"),)))
    assert [(each.operation_type, each.user, each.subject, dict(each.data)) for each in trail] == [
        ("CLEANUP", "bob", None, {"executions": 2}),
        ("DELETE", "ann", "e1", {}),
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"execute_status": "done"},
            "unknown execute_status 'done': one of running, success, failed, interrupted",
        ),
        ({"execute_status": None}, "unknown execute_status"),
        ({"execute_status": ["success"]}, "unknown execute_status"),
        ({"output": {"a": float("nan")}}, r"output\.a is nan"),
        ({"output": "x\0"}, r"output holds U\+0000"),
        ({"usage": 7}, "usage must be an object or null, not a number"),
        ({"error_code": True}, "error_code must be a number, a text or null, not true or false"),
        ({"error_message": 7}, "error_message must be a text"),
        ({"is_output_trimmed": "yes"}, "is_output_trimmed must be true or false"),
        ({"run_mode": 3}, r"run_mode must be one of 0 \(sync\)"),
        ({"run_mode": True}, "run_mode must be"),
        ({"metadata": None}, "metadata must be an object, not null"),
        ({"workflow": "x"}, "unknown field workflow"),
        ({"create_time": 1}, "unknown field create_time"),
    ],
)
def test_a_wrong_change_is_refused(histories: ExecutionHistoryService, changes: Any, reason: str) -> None:
    """And nothing is written."""
    begun = create(histories, "e")
    with pytest.raises(UsageError, match=reason):
        update(histories, **changes)
    assert done(histories.get_execution_detail("w", "e")) == begun


@pytest.mark.parametrize("bad", ["../x", "a/b", "", ".", "a\0", "a\n", 7], ids=repr)
def test_what_is_no_id_is_refused(histories: ExecutionHistoryService, bad: Any) -> None:
    """Wherever it stands."""
    for work in (
        histories.create_execution_record(bad, {}),
        histories.create_execution_record("w", {}, execute_id=bad),
        histories.update_execution_record(bad, "e"),
        histories.update_execution_record("w", bad),
        histories.get_execution_detail("w", bad),
        histories.get_execution_history(bad),
        histories.delete_execution_record("w", bad),
        histories.clear_workflow_history(bad),
    ):
        with pytest.raises(UsageError, match="is no id"):
            done(work)
    assert done(histories.get_all_workflows()) == []


def test_a_wrong_beginning_is_refused(histories: ExecutionHistoryService) -> None:
    """Its parts have to be of their kinds."""
    for words, reason in [
        ({"parameters": [1]}, "input_parameters must be an object"),
        ({"parameters": {}, "bot_id": 7}, "bot_id must be a text"),
        ({"parameters": {}, "bot_id": "a\0"}, r"bot_id holds U\+0000"),
        ({"parameters": {}, "conversation_id": ""}, "conversation_id '' must have"),
        ({"parameters": {}, "run_mode": "sync"}, "run_mode must be"),
        ({"parameters": {}, "output": 1}, "unknown field output"),
    ]:
        with pytest.raises(UsageError, match=reason):
            done(histories.create_execution_record("w", **words))  # type: ignore[arg-type]  # wrong on purpose
    assert done(histories.get_all_workflows()) == []


def test_a_record_that_is_not_there_is_not_found(histories: ExecutionHistoryService) -> None:
    """Asking gives None, changing raises."""
    assert done(histories.get_execution_detail("w", "e")) is None
    with pytest.raises(RecordNotFoundError, match="the workflow w has no execution e"):
        update(histories, output=1)
    with pytest.raises(RecordNotFoundError):
        update(histories)


def test_a_loop_goes_on_while_many_are_recorded(histories: ExecutionHistoryService) -> None:
    """All of them at once, and each is kept."""

    async def many() -> int:
        await asyncio.gather(
            *(
                histories.create_execution_record("w", {"n": number}, execute_id=f"e{number}")
                for number in range(40)
            )
        )
        await asyncio.gather(
            *(histories.update_execution_record("w", f"e{number}", "success") for number in range(40))
        )
        page = await histories.get_execution_history("w", page_size=100)
        return sum(each["execute_status"] == "success" for each in page["histories"])

    assert done(many()) == 40
