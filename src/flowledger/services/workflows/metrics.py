"""Figures of a pipeline: its shape, and how it and its steps have done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowledger.domain.workflows.analysis import Analysis, NodeHistory
from flowledger.services.workflows.watching import Watching, histories
from flowledger.workflow_ports import ExecutionQuery

RECENT = 20
_RISKS: Mapping[str, str] = {
    "share": "takes over 25 % of the critical path",
    "spread": "takes more than 3 times as long now and then (P95/P50)",
    "failures": "fails in over 10 % of its runs",
}


@dataclass(frozen=True, slots=True)
class PipelineMetrics:
    """Reads the figures from the records of executions."""

    watching: Watching

    def analysis(self, workflow_id: int) -> dict[str, Any]:
        """Return how steps depend on each other, what decides the duration, what could run in parallel."""
        found = self.watching.analysis(workflow_id)
        return {
            "dependencies": [
                {"from_step": first, "to_step": second, "type": kind}
                for first, second, kind in found.dependencies
            ],
            "cycles": [list(cycle) for cycle in found.cycles],
            "critical_path": list(found.critical_path),
            "parallelization_suggestions": [
                {
                    "group": f"group_{number}",
                    "steps": list(each.steps),
                    "estimated_time_saved": round(each.saved_s, 3),
                }
                for number, each in enumerate(found.suggestions, 1)
            ],
            "estimated_duration": round(found.duration_s, 3),
            "people_duration": round(found.people_s, 3),
            "steps": [
                {
                    "step": each.name,
                    "duration_seconds": round(each.duration_s, 3),
                    "is_estimate": each.is_estimate,
                    "slack_seconds": round(each.slack_s, 3),
                }
                for each in found.times
            ],
            "bottlenecks": [{"step": name, "reason": reason} for name, reason in found.bottlenecks],
        }

    def metrics(self, workflow_id: int) -> dict[str, Any]:
        """Return figures of a pipeline; rates are percent, durations seconds."""
        history = histories(self.watching.store.recent_past(workflow_id))
        found = self.watching.analysis(workflow_id, history)
        counts = found.counts
        return {
            "total_steps": counts.get("total", 0),
            "parallel_steps": counts.get("parallel", 0),
            "conditional_steps": counts.get("conditional", 0),
            "approval_steps": counts.get("approval", 0),
            "estimated_duration": round(found.duration_s, 3),
            "complexity_score": found.complexity_score,
            "critical_path": list(found.critical_path),
            "risk_factors": _risks(found),
            "performance_metrics": _performance(history),
            "historical_data": self._past(workflow_id),
        }

    def _past(self, workflow_id: int) -> dict[str, Any]:
        stats = self.watching.stats(workflow_id)
        newest = self.watching.store.executions(ExecutionQuery(workflow_id=workflow_id), limit=RECENT)
        return {
            "total_executions": stats["total_executions"],
            "success_rate": stats["success_rate"],
            "avg_execution_time": stats["avg_execution_time"],
            "recent_executions": [
                {
                    "id": each.id,
                    "execution_id": each.execution_id,
                    "status": each.status.value,
                    "started_at": each.started_at,
                    "duration_seconds": round((each.completed_at - each.started_at).total_seconds(), 3)
                    if each.completed_at and each.started_at
                    else None,
                }
                for each in newest.executions
            ],
        }


def _risks(found: Analysis) -> list[str]:
    risks = [f"{name}: {_RISKS[reason]}" for name, reason in found.bottlenecks]
    return risks + [f"{' → '.join(cycle)}: goes round in a circle" for cycle in found.cycles]


def _performance(history: Mapping[str, NodeHistory]) -> dict[str, float]:
    durations = [seconds for each in history.values() for seconds in each.durations_s]
    runs = sum(each.executions for each in history.values())
    failures = sum(each.failures for each in history.values())
    retries = sum(each.retries for each in history.values())
    return {
        "avg_step_duration": round(sum(durations) / len(durations), 3) if durations else 0.0,
        "failure_rate": round(100 * failures / runs, 2) if runs else 0.0,
        "success_rate": round(100 * (runs - failures) / runs, 2) if runs else 0.0,
        "retry_rate": round(100 * retries / runs, 2) if runs else 0.0,
    }
