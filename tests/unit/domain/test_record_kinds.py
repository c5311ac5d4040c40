"""Records of other programs as runs."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.record_kinds import KINDS, instant_of, raw_of, record_of, status_from_word, status_of
from flowledger.domain.runs import AppKey, Level, RunStatus, level_of

LOGGED: dict[str, Any] = {
    "execution_id": "e",
    "workflow_id": "w",
    "status": "Timed Out",
    "start_time": "2026-11-22T08:30:00+08:00",
    "end_time": "2026-11-22T08:31:30.250+08:00",
    "context": {"q": 1},
    "messages": [],
    "task_results": {"a": 2},
    "user": "ann",
    "error": {"code": 1},
    "usage": {"total_tokens": 12},
}
COZE: dict[str, Any] = {
    "execute_id": "e",
    "workflow_id": "w",
    "create_time": 1761901941289,
    "update_time": 1761901942000,
    "execute_status": "success",
    "input_parameters": {"q": 1},
    "output": "text",
    "conversation_id": "talk",
    "connector_uid": "u-1",
    "usage": {"tokens": "100"},
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_a_logged_execution_is_a_run() -> None:
    """Its own word stays; times are UTC."""
    run, detail = KINDS["log"].run_and_detail(LOGGED)
    assert (run.app, run.run_id, run.source_status) == (AppKey("log", "w"), "e", "Timed Out")
    assert (run.status, run.error, run.total_tokens) == (RunStatus.FAILED, '{"code": 1}', 12)
    assert (run.started_at, run.elapsed_s) == (datetime(2026, 11, 22, 0, 30, tzinfo=UTC), Decimal("90.25"))
    assert run.creator is not None
    assert run.creator.name == "ann"
    assert (detail.inputs, detail.outputs, level_of(detail)) == ({"q": 1}, {"a": 2}, Level.RUN)
    assert record_of(run) == LOGGED


def test_a_coze_execution_is_a_run() -> None:
    """An output that is no object is put in one; the end is the last change."""
    run, detail = KINDS["coze"].run_and_detail(COZE)
    assert (run.app, run.run_id, run.status) == (AppKey("coze", "w"), "e", RunStatus.SUCCESS)
    assert (run.elapsed_s, run.total_tokens) == (Decimal("0.711"), 100)
    assert run.creator is not None
    assert (run.creator.name, run.creator.session_id) == ("u-1", "talk")
    assert (detail.inputs, detail.outputs) == ({"q": 1}, {"value": "text"})
    running, _ = KINDS["coze"].run_and_detail({**COZE, "execute_status": "running"})
    assert (running.finished_at, running.elapsed_s, running.status.is_open) == (None, None, True)


@given(st.dictionaries(st.text(), values))
def test_any_record_can_be_kept_and_comes_back(record: dict[str, Any]) -> None:
    """Whatever is in its fields; what cannot be read is left out of the run, never of the record."""
    for source, kind in KINDS.items():
        whole = {**record, kind.run_field: "e", "workflow_id": "w"}
        run, _ = kind.run_and_detail(whole)
        assert (run.app.source, raw_of(record_of(run))) == (source, raw_of(whole))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: values
            for names in (LOGGED, COZE)
            for name in names
            if name not in ("execution_id", "execute_id", "workflow_id")
        },
    )
)
def test_fields_of_other_kinds_do_no_harm(record: dict[str, Any]) -> None:
    """What was imported may hold anything where a time or a number should be."""
    for kind in KINDS.values():
        run, _ = kind.run_and_detail({**record, kind.run_field: "e", "workflow_id": "w"})
        assert run.listed_at.tzinfo is UTC
        assert run.elapsed_s is None or run.elapsed_s >= 0


@pytest.mark.parametrize("tokens", [10**400, "1e999999999", -(10**30), True, "many", float("inf")])
def test_an_absurd_number_of_tokens_is_none(tokens: Any) -> None:
    """It is not worked out, which could take for ever; the record keeps what it can."""
    run, _ = KINDS["log"].run_and_detail({**LOGGED, "usage": {"total_tokens": tokens}})
    assert run.total_tokens is None


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("completed", RunStatus.SUCCESS),
        (" In Progress ", RunStatus.RUNNING),
        ("已完成", RunStatus.SUCCESS),
        ("失败", RunStatus.FAILED),
        ("partial-succeeded", RunStatus.PARTIAL),
        ("interrupt", RunStatus.INTERRUPTED),
        ("cancelled", RunStatus.CANCELLED),
    ],
)
def test_words_are_understood(word: str, status: RunStatus) -> None:
    """In either case, with spaces, in English and Chinese."""
    assert status_from_word(word) == status_of(word, ended=False) == status


def test_of_an_unknown_word_only_the_end_is_known() -> None:
    """It is neither a success nor a failure."""
    assert status_from_word("odd") is None
    assert (status_of("odd", ended=False), status_of("odd", ended=True)) == (
        RunStatus.RUNNING,
        RunStatus.PARTIAL,
    )


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2026-11-22T08:30:00+08:00", datetime(2026, 11, 22, 0, 30, tzinfo=UTC)),
        ("2026-11-22T08:30:00", datetime(2026, 11, 22, 8, 30, tzinfo=UTC)),
        (1761901941289, datetime(2025, 10, 31, 9, 12, 21, 289000, tzinfo=UTC)),
        (-1, datetime(1970, 1, 1, tzinfo=UTC) - timedelta(milliseconds=1)),
        (float("nan"), None),
        (10**30, None),
        (True, None),
        ("soon", None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
        ([], None),
    ],
)
def test_instants_are_read(value: Any, instant: datetime | None) -> None:
    """ISO 8601 and milliseconds; everything else is none."""
    assert instant_of(value) == instant
