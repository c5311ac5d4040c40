"""Schemas of what the API answers, and the functions that fill them: rows are plain values, for speed."""

from datetime import date, datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from flowledger.domain.certificates import Certificate
from flowledger.domain.costs import cost_json
from flowledger.domain.history import AppSummary
from flowledger.domain.operations import Operation
from flowledger.domain.run_mapping import node_values, run_values
from flowledger.domain.runs import STATUS_ORDER, AppKey, Detailed, Entry, Missing, Run, RunStatus
from flowledger.domain.statistics import RunTotals, Statistics
from flowledger.domain.texts import clip

MAX_ERROR = 2000
"""Characters of an error in a list; a single run has all of it."""

Item = TypeVar("Item")
_WHEN = "2026-11-21T08:15:00+00:00"


class Page(BaseModel, Generic[Item]):
    """One page of a list; ``next_cursor`` asks for the next one, null at the end."""

    items: list[Item]
    next_cursor: str | None = Field(examples=["0h3q7Y…"])


class CreatorShape(BaseModel):
    """Who started a run."""

    role: str = Field(examples=["end_user"])
    id: str | None
    name: str | None
    email: str | None
    session_id: str | None


class RunShape(BaseModel):
    """A run as an item of a list.  Times are UTC; `elapsed_s` is in seconds."""

    source: str = Field(examples=["dify"])
    app_id: str = Field(examples=["5ac73990-ee17-4aba-993c-a473e2fa2a90"])
    run_id: str = Field(examples=["f2c1a6de-3f0e-4c1a-9a64-3f5b2e8d7c10"])
    status: RunStatus
    source_status: str = Field(description="The source's own word.", examples=["succeeded"])
    listed_at: datetime = Field(examples=[_WHEN], description="Where the source's list files it.")
    started_at: datetime | None
    finished_at: datetime | None
    elapsed_s: float | None = Field(examples=[3.21])
    total_tokens: int | None
    total_steps: int | None
    exceptions_count: int | None
    workflow_version: str | None
    created_from: str | None
    creator: CreatorShape | None
    error: str | None
    log_id: str | None
    gone: bool = Field(description="The source lists it, but has deleted the run.")


class RunDetailShape(RunShape):
    """A run with inputs and outputs; `missing` says why something of it is not there."""

    inputs: dict[str, Any] | None
    outputs: dict[str, Any] | None
    node_count: int | None = Field(description="Node executions in the ledger; null where it has none.")
    missing: str | None = Field(examples=["the source no longer knows the run"])


class NodeShape(BaseModel):
    """One try of one node; `total_price` is exact, in `currency`."""

    position: int
    execution_id: str
    node_id: str
    node_type: str = Field(examples=["llm"])
    title: str
    status: str
    index: int | None
    error: str | None
    elapsed_s: float | None
    total_tokens: int | None
    total_price: str | None = Field(examples=["0.0041700"])
    currency: str | None = Field(examples=["USD"])
    started_at: datetime | None
    finished_at: datetime | None
    inputs: Any
    process_data: Any
    outputs: Any
    metadata: Any
    truncated: list[str]


class NodesShape(BaseModel):
    """The node executions of a run, in the order of the source; `missing` says why there are none."""

    items: list[NodeShape]
    missing: str | None


class AppShape(BaseModel):
    """What the ledger has of one app; `name` where it is in the settings."""

    source: str = Field(examples=["dify"])
    app_id: str
    name: str | None
    runs: int
    by_status: dict[str, int] = Field(examples=[{"success": 1190, "failed": 12}])
    first_at: datetime | None = Field(examples=[_WHEN])
    last_at: datetime | None


class WindowShape(BaseModel):
    """A certificate: what was proved about one window of an app; both ends belong to it."""

    source: str = Field(examples=["dify"])
    app_id: str
    after: datetime = Field(examples=["2026-11-20T16:00:00+00:00"])
    before: datetime = Field(examples=["2026-11-21T15:59:59+00:00"])
    query: str = Field(description="The filter that the source applied; empty for none.")
    certified: bool
    reason: str
    expected: int | None = Field(description="The source's own total; null where it gives none.")
    distinct: int
    retained: int
    at: datetime


class OperationShape(BaseModel):
    """An act by a person or a program."""

    operation_id: str
    operation_type: str = Field(examples=["REPORT"])
    workflow_id: str | None = Field(description="The id of the app it is about.")
    source: str | None
    timestamp: datetime
    user: str
    subject: str | None
    data: dict[str, Any]


class FreeShape(BaseModel):
    """A JSON object in the words of the program that recorded it."""

    model_config = ConfigDict(extra="allow")


def run_row(run: Run) -> dict[str, Any]:
    """Return a run as an item of a list (``RunShape``)."""
    values, creator = run_values(run), run.creator
    # By hand: dataclasses.asdict copies every value deeply, which lists of runs would pay for 100 times.
    values["creator"] = (
        {name: getattr(creator, name) for name in CreatorShape.model_fields} if creator else None
    )
    values["error"] = clip(run.error, MAX_ERROR) if run.error else run.error
    return {name: values[name] for name in RunShape.model_fields}


def run_detail_row(entry: Entry) -> dict[str, Any]:
    """Return a run with its inputs and outputs (``RunDetailShape``)."""
    run, detail = entry.run, entry.detail
    row = {**run_row(run), "error": run.error}
    if isinstance(detail, Missing):
        return {**row, "inputs": None, "outputs": None, "node_count": None, "missing": detail.reason}
    nodes = detail.nodes
    return {
        **row,
        "inputs": detail.inputs,
        "outputs": detail.outputs,
        "node_count": None if isinstance(nodes, Missing) else len(nodes),
        "missing": nodes.reason if isinstance(nodes, Missing) else None,
    }


def nodes_of(entry: Entry) -> dict[str, Any]:
    """Return a run's node executions (``NodesShape``)."""
    nodes = entry.detail.nodes if isinstance(entry.detail, Detailed) else entry.detail
    if isinstance(nodes, Missing):
        return {"items": [], "missing": nodes.reason}
    return {"items": [node_values(node) for node in nodes], "missing": None}


def app_row(app: AppKey, name: str | None, summary: AppSummary | None) -> dict[str, Any]:
    """Return an app with its counts (``AppShape``); without a summary it has no runs."""
    counts = summary.by_status if summary else {}
    return {
        "source": app.source,
        "app_id": app.app_id,
        "name": name,
        "runs": summary.runs if summary else 0,
        "by_status": {status.value: counts[status] for status in STATUS_ORDER if counts.get(status)},
        "first_at": summary.first_at if summary else None,
        "last_at": summary.last_at if summary else None,
    }


def window_row(certificate: Certificate) -> dict[str, Any]:
    """Return a certificate (``WindowShape``)."""
    scope = certificate.scope
    return {
        "source": scope.app.source,
        "app_id": scope.app.app_id,
        "after": scope.window.after_at,
        "before": scope.window.before_at,
        "query": scope.query,
        "certified": certificate.certified,
        "reason": certificate.reason,
        "expected": certificate.expected,
        "distinct": certificate.distinct,
        "retained": certificate.retained,
        "at": certificate.at,
    }


def operation_row(operation: Operation) -> dict[str, Any]:
    """Return an operation (``OperationShape``)."""
    return {
        "operation_id": operation.operation_id,
        "operation_type": operation.operation_type,
        "workflow_id": operation.app.app_id if operation.app else None,
        "source": operation.app.source if operation.app else None,
        "timestamp": operation.at,
        "user": operation.user,
        "subject": operation.subject,
        "data": operation.data,
    }


class TallyShape(BaseModel):
    """Counts of runs; `cost` is exact, by currency, and null where none is known.

    It is all there is where `cost_known_runs` is `runs`, else at least so much.
    """

    runs: int
    by_status: dict[str, int] = Field(examples=[{"success": 1190, "failed": 12}])
    total_tokens: int
    cost: dict[str, str] | None = Field(examples=[{"USD": "1.2345000"}])
    cost_known_runs: int


class DayShape(TallyShape):
    """One day of the zone."""

    day: date


class StatsShape(TallyShape):
    """Runs listed from `since` (included) to `before` (excluded); durations in seconds, within 0.5 %."""

    since: datetime
    before: datetime
    timezone: str
    duration_p50_s: float | None
    duration_p95_s: float | None
    duration_max_s: float | None
    days: list[DayShape]


def stats_row(statistics: Statistics) -> dict[str, Any]:
    """Return statistics (``StatsShape``), but for the span and zone, which the request decides."""
    return {
        **_totals_row(statistics.total),
        "duration_p50_s": statistics.duration_p50_s,
        "duration_p95_s": statistics.duration_p95_s,
        "duration_max_s": statistics.duration_max_s,
        "days": [
            {"day": day.isoformat(), **_totals_row(totals)} for day, totals in statistics.by_day.items()
        ],
    }


def _totals_row(totals: RunTotals) -> dict[str, Any]:
    return {
        "runs": totals.runs,
        "by_status": {
            status.value: totals.by_status[status] for status in STATUS_ORDER if totals.by_status[status]
        },
        "total_tokens": totals.total_tokens,
        "cost": cost_json(dict(sorted(totals.cost.items())), totals.costed, totals.runs),
        "cost_known_runs": totals.costed,
    }
