"""Rows as the service API lists them, with detail and node executions added under the old script's keys."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowledger.domain.runs import Creator, Detail, Detailed, Entry, Missing, NodeExecution, Run
from flowledger.reports.catalogue import Texts

Row = dict[str, Any]
"""A log row of the service API, perhaps with ``workflow_run_detail`` and ``node_executions``, or ``…_error``
saying why one is missing (docs/dify-api.md "The log list", "Run detail", "Node executions")."""

Parse = Callable[[bytes], Any]


def joined_row(
    log: Mapping[str, Any],
    *,
    detail: Mapping[str, Any] | None = None,
    detail_error: str | None = None,
    nodes: list[Any] | None = None,
    nodes_error: str | None = None,
) -> Row:
    """Return a run's log row with detail and nodes; None is left out, an empty list of nodes is not."""
    row = dict(log)
    if detail:
        row["workflow_run_detail"] = dict(detail)
    elif detail_error:
        row["workflow_run_detail_error"] = detail_error
    if nodes is not None:
        row["node_executions"] = nodes
    elif nodes_error:
        row["node_executions_error"] = nodes_error
    return row


def typed_row(entry: Entry, *, with_details: bool = True, with_nodes: bool = True) -> Row:
    """Return a row from the ledger's own values, whatever the source."""
    detail, nodes = entry.detail, _nodes(entry.detail)
    return joined_row(
        _log(entry.run),
        detail=_detail(entry.run, detail) if with_details and isinstance(detail, Detailed) else None,
        detail_error=detail.reason if with_details and isinstance(detail, Missing) else None,
        nodes=[_node(node) for node in nodes] if with_nodes and not isinstance(nodes, Missing) else None,
        nodes_error=nodes.reason if with_nodes and isinstance(nodes, Missing) else None,
    )


def raw_row(entry: Entry, parse: Parse, *, with_details: bool = True, with_nodes: bool = True) -> Row:
    """Return a row from the stored answers of the source, where there are any, else as ``typed_row``."""
    answers = entry.detail.raw if isinstance(entry.detail, Detailed) else {}
    restored = with_nodes and "nodes" in answers
    row = typed_row(entry, with_details=with_details, with_nodes=with_nodes and not restored)
    if "workflow_run_detail" in row and "detail" in answers:
        row["workflow_run_detail"] = parse(answers["detail"])
    if restored:
        row["node_executions"] = parse(answers["nodes"])["data"]
    raw_log = parse(entry.run.raw) if entry.run.raw else None
    return {**_as_listed(entry.run, raw_log), **_added(row)} if isinstance(raw_log, dict) else row


def _as_listed(run: Run, raw: Row) -> Row:
    """Return the row of the log list, with the run's present values where its status has changed since."""
    if "workflow_run" not in raw:
        return {**_log(run), "source_row": raw}
    listed = raw["workflow_run"]
    if isinstance(listed, dict) and not run.gone and listed.get("status") != run.source_status:
        return {**raw, "workflow_run": {**listed, **_workflow_run(run)}}
    return raw


def _added(row: Row) -> Row:
    return {key: row[key] for key in row if key.startswith(("workflow_run_detail", "node_executions"))}


def _nodes(detail: Detail) -> list[NodeExecution] | Missing:
    if isinstance(detail, Missing):
        return detail
    return detail.nodes if isinstance(detail.nodes, Missing) else list(detail.nodes)


def _log(run: Run) -> Row:
    return {
        "id": run.log_id or run.run_id,
        "workflow_run": None if run.gone else _workflow_run(run),
        "created_from": run.created_from,
        "created_by_role": run.creator.role if run.creator else None,
        "created_by_account": _account(run.creator),
        "created_by_end_user": _end_user(run.creator),
        "created_at": _epoch(run.listed_at),
    }


def _workflow_run(run: Run) -> Row:
    return {
        "id": run.run_id,
        "version": run.workflow_version,
        "status": run.source_status,
        "error": run.error,
        "elapsed_time": _float(run.elapsed_s),
        "total_tokens": run.total_tokens,
        "total_steps": run.total_steps,
        "created_at": _epoch(run.started_at),
        "finished_at": _epoch(run.finished_at),
        "exceptions_count": run.exceptions_count,
    }


def _detail(run: Run, detail: Detailed) -> Row:
    return {
        "id": run.run_id,
        "status": run.source_status,
        "inputs": detail.inputs,
        "outputs": detail.outputs,
        "error": run.error,
        "total_steps": run.total_steps,
        "total_tokens": run.total_tokens,
        "created_at": _epoch(run.started_at or run.listed_at),
        "finished_at": _epoch(run.finished_at),
        "elapsed_time": _float(run.elapsed_s),
        "exceptions_count": run.exceptions_count,
    }


def _node(node: NodeExecution) -> Row:
    return {
        "id": node.execution_id,
        "index": node.index,
        "node_id": node.node_id,
        "node_type": node.node_type,
        "title": node.title,
        "inputs": node.inputs,
        "process_data": node.process_data,
        "outputs": node.outputs,
        "status": node.status,
        "error": node.error,
        "elapsed_time": _float(node.elapsed_s),
        "execution_metadata": node.metadata,
        "created_at": _epoch(node.started_at),
        "finished_at": _epoch(node.finished_at),
        **{f"{name}_truncated": True for name in node.truncated},
    }


def _account(creator: Creator | None) -> Row | None:
    if creator is None or creator.session_id or creator.role == "end_user":
        return None
    if not (creator.id or creator.name or creator.email):
        return None
    return {"id": creator.id, "name": creator.name, "email": creator.email or creator.name}


def _end_user(creator: Creator | None) -> Row | None:
    if creator is None or not (creator.session_id or creator.role == "end_user"):
        return None
    return {"id": creator.id, "session_id": creator.session_id or creator.name}


def _epoch(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def _float(number: object) -> float | None:
    return None if number is None else float(str(number))


DEFAULT_LIMIT = 20


@dataclass(frozen=True, slots=True)
class Paging:
    """The old script's summary: the source's total, the page, and how many records are on it.

    ``page`` and ``limit`` keep their defaults where everything was fetched.
    """

    total: int
    records: int
    page: int = 1
    limit: int = DEFAULT_LIMIT
    has_more: bool = False

    def items(self, texts: Texts) -> Sequence[tuple[str, str]]:
        """Return catalogue keys and values in their order."""
        return (
            ("total", str(self.total)),
            ("page", str(self.page)),
            ("limit", str(self.limit)),
            ("shown", str(self.records)),
            ("has_more", texts["yes" if self.has_more else "no"]),
        )
