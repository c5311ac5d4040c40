"""Runs, details and a decoder for the ledger's tests; the source's bodies are plain JSON."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.record_kinds import COZE, LOG, coze_detail, logged_detail
from flowledger.domain.runs import AppKey, Creator, Detailed, Missing, NodeExecution, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.domain.workflows import execution_runs
from flowledger.domain.workflows.execution_runs import LOCAL

APP = AppKey("sample", "app-1")
OTHER_APP = AppKey("sample", "app-2")
START = datetime(2026, 11, 1, tzinfo=UTC)
AT = datetime(2026, 11, 22, 8, 30, 0, 123456, tzinfo=UTC)
WINDOW = Window.between(START, START + timedelta(days=1) - timedelta(seconds=1))
SCOPE = Scope(APP, WINDOW)
FAILED = Scope(APP, WINDOW, "status=failed")
SECOND = timedelta(seconds=1)


def decode(run: Run, raws: Mapping[str, bytes], why_no_nodes: str) -> Detailed:
    """Rebuild what ``detailed`` makes."""
    body = json.loads(raws["body"])
    nodes: Sequence[NodeExecution] | Missing = Missing(why_no_nodes)
    if not why_no_nodes:
        nodes = tuple(node(position, **each) for position, each in enumerate(body["nodes"]))
    return Detailed(body["inputs"], body["outputs"], nodes, raws)


DECODERS = {"sample": decode, LOG: logged_detail, COZE: coze_detail, LOCAL: execution_runs.decode}


def run(number: int = 0, *, at_s: int | None = None, **changes: Any) -> Run:
    """Make a final run with every field filled, listed ``number`` (or ``at_s``) seconds after START."""
    listed_at = START + (number if at_s is None else at_s) * SECOND
    values: dict[str, Any] = {
        "app": APP,
        "run_id": f"run-{number:06d}",
        "listed_at": listed_at,
        "status": RunStatus.SUCCESS,
        "source_status": "succeeded",
        "log_id": f"log-{number:06d}",
        "workflow_version": "2026-11-22 00:41:00.163542",
        "created_from": "service-api",
        "creator": Creator("end_user", "user-id", "小王", None, "session-1"),
        "error": None,
        "elapsed_s": Decimal("1.230"),
        "total_tokens": 333,
        "total_steps": 6,
        "exceptions_count": 0,
        "started_at": listed_at,
        "finished_at": listed_at + timedelta(microseconds=500001),
        "raw": json.dumps({"number": number}).encode(),
    }
    return Run(**{**values, **changes})


def open_run(number: int = 0, **changes: Any) -> Run:
    """Make a run that has not ended."""
    still = {"status": RunStatus.RUNNING, "source_status": "running", "finished_at": None}
    return run(number, **{**still, **changes})


def gone_run(number: int = 0, **changes: Any) -> Run:
    """Make the row of a run that the source has deleted: it has an id of its own and nothing else."""
    listed_at = START + number * SECOND
    return Run(
        APP,
        f"log:log-{number:06d}",
        listed_at,
        RunStatus.INTERRUPTED,
        "",
        log_id=f"log-{number:06d}",
        gone=True,
    )


def node(position: int, **changes: Any) -> NodeExecution:
    """Make a node execution with a price."""
    changes["total_price"] = Decimal(changes.get("total_price", "0.0041700"))
    return NodeExecution(
        position, f"execution-{position}", f"node-{position}", "llm", "回答", "succeeded", **changes
    )


def detailed(*, nodes: int | Missing = 2, **outputs: Any) -> Detailed:
    """Make a detail that ``decode`` gives back equal."""
    rows = [{"index": each + 1, "currency": "USD"} for each in range(nodes if isinstance(nodes, int) else 0)]
    body: dict[str, Any] = {"inputs": {"query": "你好"}, "outputs": outputs or None, "nodes": rows}
    made: Sequence[NodeExecution] | Missing = (
        nodes if isinstance(nodes, Missing) else tuple(node(place, **row) for place, row in enumerate(rows))
    )
    return Detailed(body["inputs"], outputs or None, made, {"body": json.dumps(body).encode()})


def certificate(scope: Scope = SCOPE, *, at: datetime = AT, **changes: Any) -> Certificate:
    """Make a certificate of two rows."""
    values: dict[str, Any] = {
        "certified": True,
        "reason": "equal",
        "expected": 2,
        "distinct": 2,
        "retained": 1,
    }
    return Certificate(scope, at=at, **{**values, **changes})
