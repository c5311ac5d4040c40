"""Executes one execution in this process, to its end: without a server, and without a worker beside."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.steps import WaitKind
from flowledger.services.workflows.worker import Worker
from flowledger.workflow_ports import Execution, WorkflowStore

LOOK_S = 0.2
"""How often it looks whether something has become due, or somebody else's worker is done."""


@dataclass(frozen=True, slots=True)
class LocalRun:
    """Drives an execution and its sub-workflows until they have ended or only a person can let them go on.

    Other workers on the same ledger may take one of them first; then it waits for them.
    """

    worker: Worker

    async def run(self, execution: Execution) -> Execution:
        """Return the execution at rest: ended, or paused for a person."""
        while True:
            if self._is_due(execution):
                await self.worker.run_one(execution.id)
            elif self._is_lost(execution):
                await self.worker.sweep()
            execution = await asyncio.to_thread(self._current, execution)
            if is_at_rest(execution) and await self._wait_for_children(execution):
                return execution
            if not self._is_due(execution):
                await asyncio.sleep(LOOK_S)

    async def _wait_for_children(self, execution: Execution) -> bool:
        """Run the sub-workflows that an execution waits for; return whether a person is all it waits for."""
        children = await asyncio.to_thread(children_of, self._store, execution)
        at_rest = await asyncio.gather(*(self.run(child) for child in children if child is not None))
        return len(at_rest) == len(children) and all(child.status.is_open for child in at_rest)

    def _is_due(self, execution: Execution) -> bool:
        return execution.wake_at is not None and execution.wake_at <= self.worker.engine.clock()

    def _is_lost(self, execution: Execution) -> bool:
        return execution.lease_until is not None and execution.lease_until < self.worker.engine.clock()

    def _current(self, execution: Execution) -> Execution:
        return self._store.execution(execution.id) or execution

    @property
    def _store(self) -> WorkflowStore:
        return self.worker.engine.store


def is_at_rest(execution: Execution) -> bool:
    """Return whether nothing happens any more unless a person wants it."""
    if not execution.status.is_open:
        return True
    return execution.status is RunStatus.PAUSED and execution.wake_at is None


def children_of(store: WorkflowStore, execution: Execution) -> Sequence[Execution | None]:
    """Return the execution of each sub-workflow that is waited for; None of one that is not there yet."""
    if not execution.status.is_open:
        return ()
    waits = store.waits(execution.id, open_only=True, kind=WaitKind.CHILD)
    return [store.execution(f"{execution.execution_id}.{wait.key}.{wait.generation}") for wait in waits]
