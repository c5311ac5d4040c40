"""``WorkflowMonitor``: numbers and records of executions, from Python."""

import asyncio
from collections.abc import Mapping
from typing import Any

from flowledger.ports import Ledger
from flowledger.records.workflow_access import Row, open_access
from flowledger.services.workflows import rows


class WorkflowMonitor:
    """Reads what the ledger has of executions; ``config``, ``ledger`` and errors as ``WorkflowOrchestrator``.

    An execution is named by its number or its ``execution_id``.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, *, ledger: Ledger | None = None) -> None:
        self._services = open_access(config, ledger).services

    async def get_execution_stats(self, workflow_id: int | None = None) -> Row:
        """Return total_executions, success_rate (percent), avg_execution_time (s) and by_status."""
        return Row(await asyncio.to_thread(self._services.watching.stats, workflow_id))

    async def get_performance_analysis(self, workflow_id: int) -> Row:
        """Return slowest_node, bottlenecks, critical_path, estimated_duration (s) and nodes."""
        return Row(await asyncio.to_thread(self._services.watching.performance, workflow_id))

    async def get_error_analysis(self, workflow_id: int) -> list[Row]:
        """Return failures by error_type: count, last_occurrence, last_message, nodes."""
        return _rows(await asyncio.to_thread(self._services.watching.errors, workflow_id))

    async def get_active_executions(self) -> list[Row]:
        """Return what is waiting, running or paused, with current_node and elapsed_time (s)."""
        return _rows(await asyncio.to_thread(self._services.watching.active))

    async def get_real_time_metrics(self) -> Row:
        """Return active_executions, executions_per_minute and system_load."""
        return Row(await asyncio.to_thread(self._services.watching.real_time_metrics))

    async def get_execution_logs(self, execution_id: int | str) -> list[Row]:
        """Return every try of every step in the order they ended: step_name, status, input_data …

        :raises RecordNotFoundError: when there is no such execution.
        """
        return await asyncio.to_thread(self._logs, execution_id)

    async def get_execution_details(self, execution_id: int | str) -> Row:
        """Return an execution with its ``logs`` and ``events``.

        :raises RecordNotFoundError: when there is no such execution.
        """
        return await asyncio.to_thread(self._details, execution_id)

    def _logs(self, execution_id: int | str) -> list[Row]:
        return _rows(self._services.watching.logs(self._services.ordering.get(execution_id)))

    def _details(self, execution_id: int | str) -> Row:
        execution = self._services.ordering.get(execution_id)
        names = self._services.watching.step_names([execution])
        events: list[Row] = []
        while page := self._services.store.events(execution.id, after=len(events)):
            events += [Row(rows.event_row(event)) for event in page]
        row = rows.execution_row(execution, names.get(execution.id))
        return Row({**row, "logs": self._logs(execution.id), "events": events})


def _rows(values: list[dict[str, Any]]) -> list[Row]:
    return [Row(value) for value in values]
