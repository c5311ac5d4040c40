"""Parsing, held against what three real releases answered."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flowledger.dify.parsing import (
    creator,
    cursor_run,
    decode,
    is_self_contained,
    log_run,
    nodes,
    page_rows,
    refreshed_run,
    run_detail,
    run_status,
    run_with_creator,
)
from flowledger.domain.runs import AppKey, Creator, Detailed, Missing, Run, RunStatus, missing_reason
from flowledger.errors import SourceGarbledError
from flowledger.io.json_text import loads

RECORDINGS = Path(__file__).parents[2] / "data" / "recordings"
APP = AppKey("dify", "app")


def body(name: str) -> Any:
    """Give the body of a recorded response."""
    return json.loads((RECORDINGS / f"{name}.json").read_text())["response"]["body"]


def names(pattern: str) -> list[str]:
    """Give the recordings that match, by name without ending."""
    return sorted(str(path.relative_to(RECORDINGS).with_suffix("")) for path in RECORDINGS.glob(pattern))


@pytest.mark.parametrize("name", [n for p in ("v1_logs_*", "v1.*/v1_logs_*") for n in names(f"{p}.json")])
def test_every_recorded_log_row_is_read_and_kept_raw(name: str) -> None:
    """All releases, orphans and accounts included: ids, time and raw JSON are there."""
    for row in page_rows(body(name), name):
        run = log_run(APP, row)
        assert run.log_id == row["id"]
        assert run.listed_at == datetime.fromtimestamp(row["created_at"], UTC)
        assert loads(run.raw) == row
        assert run.gone == (row["workflow_run"] is None)


PAIRS = [
    (nodes_name, nodes_name.replace("node_executions", "run_detail"))
    for pattern in ("console_node_executions_*.json", "v1.*/console_node_executions_*.json")
    for nodes_name in names(pattern)
    if (RECORDINGS / f"{nodes_name.replace('node_executions', 'run_detail')}.json").exists()
]


@pytest.mark.parametrize(("nodes_name", "detail_name"), PAIRS)
def test_a_detail_rebuilt_from_nodes_equals_the_recorded_one(nodes_name: str, detail_name: str) -> None:
    """Where the rule says one request is enough, inputs and outputs are what the run detail says."""
    detail = body(detail_name)
    if detail["id"] is None:
        return
    run = cursor_run(APP, detail)
    raw = {"nodes": json.dumps(body(nodes_name)).encode()}
    rebuilt = decode(run, raw, "")
    assert not isinstance(rebuilt.nodes, Missing)
    if is_self_contained(run, rebuilt.nodes):
        assert rebuilt.inputs == detail["inputs"]
        assert (rebuilt.outputs or {}) == detail["outputs"]
    else:
        assert "succeeded" not in nodes_name or run.status.is_open


def test_a_chatflows_node_executions_tell_what_its_run_detail_does() -> None:
    """Its answer is the outputs, each node names the user; the start node has the conversation besides."""
    detail, nodes_body = body("console_chatflow_run_detail"), body("console_chatflow_node_executions")
    (row,) = [row for row in body("console_chatflow_workflow-runs")["data"] if row["id"] == detail["id"]]
    run = run_with_creator(cursor_run(APP, row), nodes_body["data"])
    rebuilt = decode(run, {"nodes": json.dumps(nodes_body).encode()}, "")
    assert not isinstance(rebuilt.nodes, Missing)
    assert is_self_contained(run, rebuilt.nodes)
    assert rebuilt.outputs == detail["outputs"]
    assert rebuilt.inputs
    assert rebuilt.inputs.items() >= detail["inputs"].items()
    assert run.creator == creator(detail)
    assert replace(refreshed_run(run, detail), raw=run.raw) == run


def test_two_answers_of_a_chatflow_are_read_from_its_detail() -> None:
    """How they are joined is the release's affair."""
    run = replace(_run(), status=RunStatus.SUCCESS)
    rows = [{"node_type": "start", "inputs": {}}, *({"node_type": "answer", "outputs": {}} for _ in range(2))]
    executions = nodes({"data": rows}, "")
    assert not is_self_contained(run, executions)
    assert is_self_contained(run, executions[:-1])


@pytest.mark.parametrize("name", [n for p in ("", "v1.*/") for n in names(f"{p}v1_run_detail_*.json")])
def test_every_recorded_run_detail_is_read(name: str) -> None:
    """Outputs as text or object, nulls, and the all-null answer to an unknown run."""
    answer = body(name)
    if "status" not in answer or "inputs" not in answer:
        with pytest.raises(SourceGarbledError):
            run_detail(answer, name)
        return
    detail = run_detail(answer, name)
    assert (detail is None) == (answer["id"] is None)
    if detail is None:
        return
    run = replace(_run(), run_id=answer["id"])
    read = decode(run, {"detail": json.dumps(answer).encode()}, "no console access")
    assert missing_reason(read) == "no console access"
    assert isinstance(read.inputs, dict)
    assert read.outputs is None or isinstance(read.outputs, dict)
    assert refreshed_run(run, detail).source_status == answer["status"]


def _run() -> Run:
    return Run(APP, "r", datetime(2026, 11, 21, tzinfo=UTC), RunStatus.RUNNING, "running")


def test_the_truncated_run_is_not_self_contained() -> None:
    """Node outputs cut by the server send us to the run detail, which is whole."""
    executions = nodes(body("console_node_executions_truncated"), "truncated")
    assert any(node.truncated for node in executions)
    run = replace(_run(), status=RunStatus.SUCCESS)
    ends = [node for node in executions if node.node_type == "end"]
    assert is_self_contained(run, executions) == (not any("outputs" in end.truncated for end in ends))


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    ("word", "ended", "status"),
    [
        ("succeeded", True, RunStatus.SUCCESS),
        ("partial-succeeded", True, RunStatus.PARTIAL),
        ("stopped", True, RunStatus.CANCELLED),
        ("paused", False, RunStatus.PAUSED),
        ("hibernating", False, RunStatus.RUNNING),
        ("exploded", True, RunStatus.FAILED),
        (None, True, RunStatus.FAILED),
    ],
)
def test_unknown_statuses_are_open_until_they_have_an_end(
    word: str | None, ended: bool, status: RunStatus
) -> None:
    """A word no release has said yet is neither lost nor a crash."""
    assert run_status(word, ended=ended) is status


@pytest.mark.fault(17)
def test_nodes_keep_whatever_a_newer_release_may_say() -> None:
    """Unknown types and statuses, null payloads, NaN and numbers as text are kept."""
    raw = b"""{"data": [{"id": "n", "node_type": "quantum", "status": "entangled", "title": null, "new": 1,
        "inputs": null, "outputs": {"x": NaN}, "elapsed_time": "1.25", "index": "7",
        "created_at": "1795308077",
        "execution_metadata": {"total_price": "0.0012345", "total_tokens": "12", "currency": "RMB"}}]}"""
    (node,) = nodes(loads(raw), "run r")
    assert (node.node_type, node.status, node.title, node.index) == ("quantum", "entangled", "", 7)
    assert (node.elapsed_s, node.total_price, node.currency) == (Decimal("1.25"), Decimal("0.0012345"), "RMB")
    assert node.started_at == datetime(2026, 11, 22, 0, 41, 17, tzinfo=UTC)
    assert json.dumps(node.outputs) == '{"x": NaN}'


def test_times_of_old_releases_are_rfc_822_text() -> None:
    """Run details before 1.2.0 write 'Sun, 22 Nov 2026 00:41:17 GMT'."""
    detail = {"status": "succeeded", "finished_at": "Sun, 22 Nov 2026 00:41:18 GMT", "elapsed_time": "0.5"}
    run = refreshed_run(_run(), detail)
    assert run.finished_at == datetime(2026, 11, 22, 0, 41, 18, tzinfo=UTC)
    assert (run.status, run.elapsed_s) == (RunStatus.SUCCESS, Decimal("0.5"))


@pytest.mark.fault(4)
@pytest.mark.parametrize(
    "answer", [None, [], {}, {"data": None}, {"data": [1]}, {"code": "unauthorized", "message": "no"}]
)
def test_an_answer_without_rows_is_never_an_empty_list(answer: object) -> None:
    """An error object with status 200 is an error."""
    with pytest.raises(SourceGarbledError, match="page 1"):
        page_rows(answer, "page 1")


@pytest.mark.parametrize("row", [{}, {"id": "x"}, {"created_at": 1}, {"id": "x", "created_at": "soon"}])
def test_a_log_row_without_id_or_time_is_an_error(row: dict[str, Any]) -> None:
    """It cannot be filed, so it must not be dropped in silence."""
    with pytest.raises(SourceGarbledError, match="no id or no time"):
        log_run(APP, row)


def test_who_started_a_run_is_an_account_or_an_end_user() -> None:
    """Reports show the session id of an end user and the name of an account."""
    (row,) = page_rows(body("v1_logs_bulk_created_by_account"), "")
    assert creator(row) == Creator(
        "account", row["created_by_account"]["id"], "Bench Admin", "admin@example.com"
    )
    assert creator({"created_by_role": "end_user"}) == Creator("end_user")
    assert creator({}) is None


def test_a_detail_keeps_its_raw_answers() -> None:
    """Nothing is lost to the mapping."""
    raw = {"nodes": b'{"data": []}'}
    assert decode(_run(), raw, "") == Detailed(None, None, (), raw)
