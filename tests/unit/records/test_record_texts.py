"""Logs as values and as text."""

import json
from typing import Any

import pytest

from flowledger.records import LogFormatter, WorkflowExecutionLog, WorkflowOperationLog

EXECUTION: dict[str, Any] = {
    "execution_id": "e",
    "workflow_id": "w",
    "status": "已完成",
    "start_time": "2026-11-22T08:30:00+00:00",
    "end_time": None,
    "context": {"a": 1},
    "messages": ["one", "two\n\x1b[31m"],
}
OPERATION: dict[str, Any] = {
    "operation_id": "o",
    "operation_type": "CREATE",
    "workflow_id": "w",
    "timestamp": "2026-11-22T08:30:00+00:00",
    "user": "ann",
    "data": {"name": "新"},
}


@pytest.mark.usefixtures("ticking")
def test_models_have_the_old_fields_and_aware_times() -> None:
    """What is left out is the present and empty."""
    made = WorkflowExecutionLog("e", "w", "running")
    assert made.to_dict() == {
        "execution_id": "e",
        "workflow_id": "w",
        "status": "running",
        "start_time": "2026-11-22T08:30:01+00:00",
        "end_time": None,
        "context": {},
        "messages": [],
    }
    assert WorkflowOperationLog("o", "CREATE", "w").to_dict() == {
        "operation_id": "o",
        "operation_type": "CREATE",
        "workflow_id": "w",
        "timestamp": "2026-11-22T08:30:02+00:00",
        "user": None,
        "data": {},
    }


def test_models_come_back_from_their_objects() -> None:
    """What else an object holds is left out."""
    assert WorkflowExecutionLog.from_dict({**EXECUTION, "more": 1}).to_dict() == EXECUTION
    assert WorkflowOperationLog.from_dict({**OPERATION, "more": 1}).to_dict() == OPERATION


def test_a_line_stays_a_line() -> None:
    """It shows the last message, or the data; nothing in it moves a cursor."""
    formatter = LogFormatter()
    assert formatter.line(EXECUTION) == r"2026-11-22T08:30:00+00:00 已完成 w e - two\n\x1b[31m"
    assert formatter.line({**EXECUTION, "messages": []}) == "2026-11-22T08:30:00+00:00 已完成 w e -"
    assert formatter.line(OPERATION) == '2026-11-22T08:30:00+00:00 CREATE w o ann {"name": "新"}'


def test_json_is_the_log() -> None:
    """On one line, or on several."""
    assert json.loads(LogFormatter().json(EXECUTION)) == EXECUTION
    assert LogFormatter().json({"a": "é"}, indent=1) == '{\n "a": "é"\n}'


def test_a_table_has_its_names_above() -> None:
    """Columns are as wide as what is in them."""
    lines = LogFormatter().table([OPERATION, {**OPERATION, "user": None}]).splitlines()
    assert [line.split() for line in lines] == [
        ["timestamp", "operation_type", "workflow_id", "operation_id", "user"],
        ["2026-11-22T08:30:00+00:00", "CREATE", "w", "o", "ann"],
        ["2026-11-22T08:30:00+00:00", "CREATE", "w", "o", "-"],
    ]
    assert len({line.index("o", 40) for line in lines[1:]}) == 1
    assert LogFormatter().table([]) == ""
