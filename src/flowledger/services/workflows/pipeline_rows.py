"""Pipelines, steps, executions and approvals as JSON objects, in the words of the pipelines' clients."""

from collections.abc import Mapping, Sequence
from typing import Any

from flowledger.domain.workflows import approvals
from flowledger.domain.workflows.approvals import Vote
from flowledger.domain.workflows.definition import Document, Node, WorkflowStatus
from flowledger.domain.workflows.steps import StepStatus
from flowledger.services.workflows import pipelines
from flowledger.services.workflows.pipelines import Grouped
from flowledger.services.workflows.recovering import live_steps, max_retries
from flowledger.services.workflows.rows import Row, seconds_of
from flowledger.workflow_ports import Execution, Step, StoredWorkflow, Wait

PENDING, APPROVED, REJECTED, TIMED_OUT, CANCELLED = "pending", "approved", "rejected", "timeout", "cancelled"
APPROVAL_STATUSES = (PENDING, APPROVED, REJECTED, TIMED_OUT, CANCELLED)


def pipeline_row(stored: StoredWorkflow) -> Row:
    """Return a pipeline without its steps."""
    document = stored.document
    return {
        "id": stored.id,
        "name": document["name"],
        "description": document.get("description") or "",
        "version": document.get("version") or "1.0",
        "status": stored.status.value,
        "is_active": stored.status is WorkflowStatus.ACTIVE,
        "config": document.get("config") or {},
        "tags": list(document.get("tags") or ()),
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }


def step_rows(
    stored: StoredWorkflow, newest: Sequence[Step] = (), waits: Sequence[Wait] = ()
) -> Sequence[Row]:
    """Return the steps of a pipeline; ``newest`` and ``waits`` are those of its newest execution."""
    document = stored.document
    leading: dict[int, list[int]] = {}
    for each in document.get("connections") or ():
        leading.setdefault(each["to_node_id"], []).append(each["from_node_id"])
    statuses = {step.alias: step.status.value for step in live_steps(newest)}
    approvals_by_alias = {wait.alias: wait for wait in waits}
    return [
        {
            **_step_row(stored.id, document, node),
            "order": order,
            "dependencies": sorted(set(leading.get(node["id"], ()))),
            "status": statuses.get(node["alias"]),
            **_approval_of_run(approvals_by_alias.get(node["alias"])),
        }
        for order, node in enumerate(document.get("nodes") or (), 1)
    ]


def _step_row(workflow_id: int, document: Document, node: Mapping[str, Any]) -> Row:
    group = pipelines.group_of(document, node["id"])
    config = node.get("config") or {}
    return {
        "id": node["id"],
        "pipeline": workflow_id,
        "name": node["name"],
        "alias": node["alias"],
        "description": node.get("description") or "",
        "step_type": node["node_type"],
        "parallel_group": None if group is None else pipelines.group_key(group),
        "conditions": node.get("conditions"),
        "approval_required": pipelines.needs_approval(node),
        "approval_users": list(pipelines.approval_of(node).get("approvers") or ()),
        "retry_policy": node.get("retry_policy") or {},
        "notification_config": node.get("notification_config") or {},
        "timeout_seconds": node.get("timeout") or config.get("timeout") or config.get("timeout_seconds"),
    }


def _approval_of_run(wait: Wait | None) -> Row:
    if wait is None:
        return {"approval_status": None, "approved_by": None, "approved_at": None}
    status = approval_status(wait)
    by = (wait.resolution or {}).get("by") if status in (APPROVED, REJECTED, TIMED_OUT) else None
    return {"approval_status": status, "approved_by": by, "approved_at": wait.resolved_at}


def group_row(grouped: Grouped) -> Row:
    """Return a parallel group."""
    group = grouped.group
    return {
        "id": pipelines.group_key(group),
        "name": group["name"],
        "description": group.get("description") or "",
        "pipeline": grouped.workflow.id,
        "sync_policy": group.get("sync_policy") or "wait_all",
        "timeout_seconds": group.get("timeout_seconds"),
        "steps": list(group.get("steps") or ()),
    }


# -------------------------------------------------------------------- executions


def run_step_rows(steps: Sequence[Step], nodes: Sequence[Node], config: Mapping[str, Any]) -> list[Row]:
    """Return where each step of an execution is: its newest try, and those that are still to come."""
    by_alias = {node.alias: node for node in nodes}
    live = live_steps(steps)
    rows = [
        {
            "id": step.node_id,
            "step_key": step.key,
            "name": step.name,
            "status": step.status.value,
            "started_at": step.started_at,
            "completed_at": step.completed_at,
            "duration_seconds": _seconds(step),
            "retry_count": max(step.try_no - 1, 0),
            "max_retries": max_retries(by_alias.get(step.alias), config, step.key),
            "error_message": step.error,
        }
        for step in live
    ]
    begun = {step.alias for step in live}
    return rows + [
        {
            "id": node.id,
            "step_key": node.alias,
            "name": node.name,
            "status": StepStatus.PENDING.value,
            "started_at": None,
            "completed_at": None,
            "duration_seconds": None,
            "retry_count": 0,
            "max_retries": max_retries(node, config),
            "error_message": None,
        }
        for node in nodes
        if node.alias not in begun
    ]


def execution_row(execution: Execution, steps: Sequence[Step], waits: Sequence[Wait]) -> Row:
    """Return an execution with what its steps gave, where it stopped, and whom it waits for."""
    live = live_steps(steps)
    failed = [step.node_id for step in live if step.status is StepStatus.FAILED]
    done = [step for step in live if step.status is StepStatus.SUCCESS]
    current = next((step for step in reversed(live) if step.key == execution.current_step), None)
    return {
        "id": execution.id,
        "execution_id": execution.execution_id,
        "pipeline": execution.workflow_id,
        "pipeline_name": execution.workflow_name,
        "status": execution.status.value,
        "progress": execution.progress,
        "attempt": execution.attempt,
        "trigger": execution.trigger,
        "requested_by": execution.requested_by,
        "trigger_data": execution.input,
        "context_variables": dict(execution.variables),
        "step_results": {step.alias: step.output for step in done},
        "current_step": current.node_id if current else None,
        "failed_steps": failed,
        "pending_approvals": [wait.id for wait in waits if wait.resolved_at is None],
        "recovery_point": failed[0] if failed else None,
        "error_message": execution.error,
        "omitted": list(execution.omitted),
        "created_at": execution.created_at,
        "started_at": execution.started_at,
        "completed_at": execution.completed_at,
    }


def history_row(execution: Execution, step: Step, config: Mapping[str, Any], node: Node | None) -> Row:
    """Return one try of one step."""
    return {
        "id": step.id,
        "workflow_execution": execution.id,
        "execution_id": execution.execution_id,
        "step": step.node_id,
        "step_key": step.key,
        "step_name": step.name,
        "status": step.status.value,
        "try_no": step.try_no,
        "generation": step.generation,
        "retry_count": max(step.try_no - 1, 0),
        "max_retries": max_retries(node, config, step.key),
        "logs": "" if step.error is None else f"{step.error_type}: {step.error}",
        "error_message": step.error,
        "output_data": step.output,
        "duration_seconds": _seconds(step),
        "started_at": step.started_at,
        "completed_at": step.completed_at,
    }


def _seconds(step: Step) -> float | None:
    seconds = seconds_of(step)
    return None if seconds is None else round(seconds, 6)


# -------------------------------------------------------------------- approvals


def approval_status(wait: Wait) -> str:
    """Return how an approval stands, in one word."""
    if wait.resolved_at is None:
        return PENDING
    resolution = wait.resolution or {}
    if resolution.get("cancelled"):
        return CANCELLED
    if resolution.get("approved"):
        return APPROVED
    return TIMED_OUT if resolution.get("timed_out") else REJECTED


def approval_row(wait: Wait, execution: Execution, votes: Sequence[Vote], node: Node | None) -> Row:
    """Return an approval that was asked for, with its votes."""
    facts, resolution = wait.facts, wait.resolution or {}
    return {
        "id": wait.id,
        "pipeline": execution.workflow_id,
        "pipeline_name": execution.workflow_name,
        "step": None if node is None else node.id,
        "step_key": wait.key,
        "step_name": wait.alias if node is None else node.name,
        "execution_id": execution.execution_id,
        "requester_username": execution.requested_by,
        "approvers": list(approvals.approvers_of(facts)),
        "required_approvals": approvals.required_approvals(facts),
        "status": approval_status(wait),
        "approval_message": str(facts.get("message") or ""),
        "timeout_hours": facts.get("timeout_hours"),
        "auto_approve_on_timeout": facts.get("auto_approve_on_timeout") is True,
        "votes": [
            {
                "voter": vote.voter,
                "approved": vote.approved,
                "comment": vote.comment,
                "at": vote.at,
                "counts": counted is vote,
            }
            for vote in votes
            for counted in (approvals.last_votes(votes)[vote.voter],)
        ],
        "approved_by": resolution.get("by"),
        "comment": resolution.get("comment") or "",
        "created_at": wait.since,
        "due_at": wait.due_at,
        "resolved_at": wait.resolved_at,
    }
