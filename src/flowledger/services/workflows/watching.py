"""The monitor: how often and how long workflows run, where they fail, what runs now, what each step did."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows import analysis, definition
from flowledger.domain.workflows.analysis import NodeHistory
from flowledger.domain.workflows.steps import ErrorType, StepStatus
from flowledger.errors import UsageError
from flowledger.ports import Clock
from flowledger.services.workflows import rows
from flowledger.workflow_ports import Execution, ExecutionQuery, PastStep, RecentPast, WorkflowStore

ACTIVE = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED)
MINUTE = timedelta(minutes=1)
METRICS = ("stats", "performance", "errors", "custom")
MOST_ACTIVE = 200


def load_per_processor() -> float:
    """Return the system's load of the last minute for each processor; 1.0 is fully busy."""
    return round(os.getloadavg()[0] / (os.cpu_count() or 1), 3)


@dataclass(frozen=True, slots=True)
class Watching:
    """Reads what the ledger has of executions; times in answers are aware.

    ``stats`` counts all executions of a workflow; performance, errors and custom metrics are of its newest
    few hundred.
    """

    store: WorkflowStore
    clock: Clock
    load: Callable[[], float] = load_per_processor

    def stats(self, workflow_id: int | None = None) -> dict[str, Any]:
        """Return how many executions there are, their success rate in percent and mean time in seconds."""
        totals = self.store.totals(workflow_id)
        ended = sum(each.executions for each in totals if not each.status.is_open)
        succeeded = sum(each.executions for each in totals if each.status is RunStatus.SUCCESS)
        timed = sum(each.timed for each in totals)
        seconds = sum(each.seconds for each in totals)
        return {
            "total_executions": sum(each.executions for each in totals),
            "success_rate": round(100 * succeeded / ended, 2) if ended else 0.0,
            "avg_execution_time": round(seconds / timed, 3) if timed else 0.0,
            "by_status": {each.status.value: each.executions for each in totals},
        }

    def performance(self, workflow_id: int, past: RecentPast | None = None) -> dict[str, Any]:
        """Return the slowest node, what holds the workflow up, and the durations of each node."""
        history = histories(past or self.store.recent_past(workflow_id))
        names = self._names(workflow_id)
        nodes = [
            {
                "alias": alias,
                "name": names.get(alias, alias),
                "executions": each.executions,
                "failures": each.failures,
                "retries": each.retries,
                "median_s": round(median(each.durations_s), 3) if each.durations_s else None,
                "max_s": round(max(each.durations_s), 3) if each.durations_s else None,
            }
            for alias, each in history.items()
        ]
        nodes.sort(key=lambda node: node["median_s"] or 0.0, reverse=True)
        slowest = next((node for node in nodes if node["median_s"] is not None), None)
        found = self.analysis(workflow_id, history)
        return {
            "slowest_node": slowest["name"] if slowest else None,
            "bottlenecks": [{"node": node, "reason": reason} for node, reason in found.bottlenecks],
            "critical_path": list(found.critical_path),
            "estimated_duration": round(found.duration_s, 3),
            "nodes": nodes,
        }

    def analysis(
        self, workflow_id: int, history: Mapping[str, NodeHistory] | None = None
    ) -> analysis.Analysis:
        """Return the analysis of a workflow by what its nodes took; empty of one that cannot be read."""
        stored = self.store.workflow(workflow_id)
        if stored is None:
            return analysis.Analysis()
        if history is None:
            history = histories(self.store.recent_past(workflow_id))
        try:
            return analysis.analyse(definition.read(stored.document), history)
        except UsageError:
            return analysis.Analysis()

    def errors(self, workflow_id: int, past: RecentPast | None = None) -> list[dict[str, Any]]:
        """Return the failures by type: how many, the last one, and the steps; the most frequent first."""
        past = past or self.store.recent_past(workflow_id)
        failures: dict[str, list[tuple[datetime, str, str]]] = defaultdict(list)
        failed = set()
        for number, step in _last_tries(past.steps):
            if step.status is StepStatus.FAILED and step.completed_at is not None:
                failed.add(number)
                kind = step.error_type or "Error"
                failures[kind].append((step.completed_at, step.name, step.error or ""))
        for execution in past.ended:
            # Failed without a step that did: out of time, for example.
            if execution.status is RunStatus.FAILED and execution.id not in failed:
                failures[execution.error_type or ErrorType.VALIDATION].append(
                    (execution.completed_at, "", "")
                )
        found = []
        for kind, events in failures.items():
            at, _, message = max(events)
            found.append(
                {
                    "error_type": kind,
                    "count": len(events),
                    "last_occurrence": at,
                    "last_message": message,
                    "nodes": sorted({name for _, name, _ in events if name}),
                }
            )
        return sorted(found, key=lambda row: (-row["count"], row["error_type"]))

    def custom_metrics(self, workflow_id: int, past: RecentPast | None = None) -> dict[str, float]:
        """Return the means of the numbers that nodes gave with their answers, by name."""
        values: dict[str, list[float]] = defaultdict(list)
        for _, step in _last_tries((past or self.store.recent_past(workflow_id)).steps):
            for name, value in step.metrics.items():
                values[name].append(float(value))
        return {name: sum(each) / len(each) for name, each in sorted(values.items())}

    def metrics(self, workflow_id: int, kinds: Sequence[str] = METRICS) -> dict[str, Any]:
        """Return several of these at once."""
        found: dict[str, Any] = {}
        if "stats" in kinds:
            found["stats"] = self.stats(workflow_id)
        if set(kinds) - {"stats"}:
            past = self.store.recent_past(workflow_id)
            readers: Mapping[str, tuple[str, Callable[[int, RecentPast], Any]]] = {
                "performance": ("performance", self.performance),
                "errors": ("errors", self.errors),
                "custom": ("custom_metrics", self.custom_metrics),
            }
            found |= {
                name: read(workflow_id, past) for kind, (name, read) in readers.items() if kind in kinds
            }
        return found

    def active(self, query: ExecutionQuery | None = None) -> list[dict[str, Any]]:
        """Return what is waiting, running or paused, newest first, with its current node and elapsed time."""
        wanted = query or ExecutionQuery()
        wanted = ExecutionQuery(statuses=ACTIVE, workflow_id=wanted.workflow_id, among=wanted.among)
        executions = self.store.executions(wanted, limit=MOST_ACTIVE).executions
        now, names = self.clock(), self.step_names(executions)
        return [
            {
                "id": each.id,
                "execution_id": each.execution_id,
                "workflow_id": each.workflow_id,
                "workflow_name": each.workflow_name,
                "execution_name": each.name,
                "status": each.status.value,
                "progress": each.progress,
                "current_node": names.get(each.id),
                "started_at": each.started_at,
                "elapsed_time": round(
                    max((now - (each.started_at or each.created_at)).total_seconds(), 0), 3
                ),
            }
            for each in executions
        ]

    def real_time_metrics(self) -> dict[str, Any]:
        """Return how much is going on now."""
        moment = self.store.moment(self.clock() - MINUTE)
        counts = {status.value: moment.open.get(status, 0) for status in ACTIVE}
        return {
            "active_executions": sum(counts.values()),
            **counts,
            "executions_per_minute": moment.accepted,
            "system_load": self.load(),
        }

    def logs(self, execution: Execution) -> list[dict[str, Any]]:
        """Return a row for each try of each step, in the order they settled; what has not, last."""
        return [rows.log_row(execution, step) for step in self.store.steps(execution.id)]

    def step_names(self, executions: Iterable[Execution]) -> dict[int, str]:
        """Return the names of the nodes that executions are at, by the executions' numbers."""
        names: dict[int, str] = {}
        aliases: dict[tuple[int, int], dict[str, str]] = {}
        for each in executions:
            if each.current_step is None:
                continue
            place = (each.workflow_id, each.version)
            if place not in aliases:
                version = self.store.version(*place)
                nodes = version.document["nodes"] if version else ()
                aliases[place] = {node["alias"]: node["name"] for node in nodes}
            alias = each.current_step.rpartition("/")[2]
            names[each.id] = aliases[place].get(alias, each.current_step)
        return names

    def _names(self, workflow_id: int) -> Mapping[str, str]:
        stored = self.store.workflow(workflow_id)
        nodes = stored.document.get("nodes") if stored else None
        return {node["alias"]: node["name"] for node in nodes or ()}


def histories(past: RecentPast) -> dict[str, NodeHistory]:
    """Return what is known of each node, by alias: durations of its last successes, failures, passes."""
    durations: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    passes: dict[tuple[int, str, str], set[str]] = defaultdict(set)
    for number, step in _last_tries(past.steps):
        parts = step.key.split("/")
        for place in range(1, len(parts) - 1, 2):
            if parts[place].isdecimal():
                passes[number, "/".join(parts[:place]), parts[place - 1]].add(parts[place])
        if step.status not in (StepStatus.SUCCESS, StepStatus.FAILED):
            continue
        count = counts[step.alias]
        count[0] += 1
        count[1] += step.status is StepStatus.FAILED
        count[2] += step.try_no - 1
        if step.status is StepStatus.SUCCESS and (seconds := rows.seconds_of(step)) is not None:
            durations[step.alias].append(seconds)
    by_loop: dict[str, list[int]] = defaultdict(list)
    for (_, _, alias), numbers in passes.items():
        by_loop[alias].append(len(numbers))
    return {
        alias: NodeHistory(
            durations[alias][-analysis.LAST_SUCCESSES :], runs, failures, retries, by_loop.get(alias, ())
        )
        for alias, (runs, failures, retries) in counts.items()
    }


def _last_tries(steps: Sequence[PastStep]) -> Iterable[PastStep]:
    """Return the last try of each step that no later generation has replaced."""
    last = {(each.execution, each.step.key): each for each in steps if not each.step.superseded}
    return last.values()
