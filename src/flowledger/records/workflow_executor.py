"""``WorkflowExecutor``: executes workflows in this process, and tells plugins of it."""

import asyncio
import copy
import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from loguru import logger

from flowledger.bootstrap.workflows import open_engine, worker_name
from flowledger.domain.runs import Json
from flowledger.domain.workflows.steps import StepStatus
from flowledger.errors import RecordConflictError
from flowledger.ports import Ledger
from flowledger.records.workflow_access import Row, open_access
from flowledger.services.workflows import rows
from flowledger.services.workflows.running import LocalRun
from flowledger.services.workflows.worker import Worker
from flowledger.workflow_ports import Claim, Execution, Progressed, Step

PLUGIN_S = 10.0
"""How long a plugin may take for one call."""


class WorkflowPlugin:
    """Is told what happens in executions; what it raises is logged once, and changes nothing."""

    async def before_execution(self, workflow_id: int, input_data: Any) -> None:
        """An execution is about to be ordered."""

    async def after_execution(self, execution_id: int, result: Row) -> None:
        """An execution has ended; ``result`` is as ``execute_workflow`` returns it."""

    async def on_node_execution(self, node_id: int, context: Row) -> None:
        """A try of a node has ended.

        ``context`` has the fields of ``get_execution_logs``: step_name, status, input_data, output_data …
        """


class WorkflowExecutor:
    """Executes workflows in this process, without a server and without a worker beside.

    With ``debug`` each step is logged with its input and output, in which secrets are masked.  ``config``,
    ``ledger`` and errors are those of ``WorkflowOrchestrator``.
    """

    def __init__(
        self, debug: bool = False, config: Mapping[str, Any] | None = None, *, ledger: Ledger | None = None
    ) -> None:
        self.debug = debug
        self.plugins: list[WorkflowPlugin] = []
        self._access = open_access(config, ledger)
        self._ordering = self._access.services.ordering

    def register_plugin(self, plugin: WorkflowPlugin) -> None:
        """Register a plugin: it hears of every execution from now on."""
        self.plugins.append(plugin)

    async def execute_workflow(
        self,
        workflow_id: int,
        input_data: Json = None,
        execution_name: str | None = None,
        step_by_step: bool = False,
        timeout: float | None = None,
    ) -> Row:
        """Execute a workflow and return the execution as it ended, or where only a person can let it go on.

        With ``step_by_step`` it is paused after each node; ``step`` lets one more run.  A call that is
        cancelled cancels the execution.
        """
        watch = _Watch(self.plugins, debug=self.debug)
        await watch.call("before_execution", workflow_id, input_data)
        config = {
            "debug": self.debug,
            "step_by_step": step_by_step,
            **({} if timeout is None else {"timeout": timeout}),
        }
        execution = await asyncio.to_thread(
            lambda: self._ordering.execute(
                workflow_id,
                name=execution_name,
                input_data=input_data,
                config=config,
                by=self._access.user,
                trigger="python",
            )
        )
        return await self._run(execution, watch)

    async def step(self, execution_id: int | str) -> Row:
        """Let one more node run of an execution that is paused step by step."""
        execution = await asyncio.to_thread(self._ordering.step, execution_id, self._access.user)
        return await self._run(execution, _Watch(self.plugins, debug=self.debug))

    async def resume(self, execution_id: int | str) -> Row:
        """Let an execution go on that failed, was interrupted, cancelled or paused."""
        execution = await asyncio.to_thread(self._ordering.resume, execution_id, self._access.user)
        return await self._run(execution, _Watch(self.plugins, debug=self.debug))

    async def _run(self, execution: Execution, watch: "_Watch") -> Row:
        watch.execution_id = execution.execution_id
        settings, ledger = self._access.settings, self._access.ledger
        async with open_engine(settings, ledger, observers=(watch,)) as engine:
            running = asyncio.create_task(LocalRun(Worker(engine, worker_name())).run(execution))
            try:
                execution = await asyncio.shield(running)
            except asyncio.CancelledError:
                # It may have ended meanwhile.
                with suppress(RecordConflictError):
                    await asyncio.to_thread(self._ordering.cancel, execution.id, self._access.user)
                await running
                raise
        result = Row(rows.execution_row(execution))
        if not execution.status.is_open:
            await watch.call("after_execution", execution.id, result)
        return result


class _Watch:
    """An observer that tells plugins of one execution; ``execution_id`` is known when it is ordered."""

    def __init__(self, plugins: list[WorkflowPlugin], *, debug: bool) -> None:
        self.execution_id = ""
        self._plugins = list(plugins)
        self._debug = debug
        self._failed: set[int] = set()

    async def call(self, hook: str, *arguments: Any) -> None:
        """Call a hook of each plugin with copies, which it may change as it likes."""
        for plugin in self._plugins:
            try:
                async with asyncio.timeout(PLUGIN_S):
                    done = getattr(plugin, hook)(*copy.deepcopy(arguments))
                    if inspect.isawaitable(done):
                        await done
            except Exception as error:  # noqa: BLE001  a plugin is anybody's and decides nothing
                if id(plugin) not in self._failed:
                    self._failed.add(id(plugin))
                    logger.warning("the plugin {} failed in {}: {!r}", type(plugin).__name__, hook, error)

    async def began(self, claim: Claim) -> None:
        """Do nothing: ``before_execution`` has been called."""

    async def progressed(self, execution: Execution, progressed: Progressed) -> None:
        """Report each try that has ended."""
        if execution.execution_id != self.execution_id:
            return  # a sub-workflow's
        for step in progressed.steps:
            if step.status.is_settled and step.status is not StepStatus.SKIPPED:
                await self._step(execution, step)

    async def ended(self, execution: Execution) -> None:
        """Do nothing: ``after_execution`` is called once it has ended for good."""

    async def _step(self, execution: Execution, step: Step) -> None:
        row = Row(rows.log_row(execution, step))
        if self._debug:
            logger.info(
                "execution {}, step {}: {}, input {}, output {}{}",
                *(execution.id, step.key, step.status, row.input_data, row.output_data),
                f", error {step.error}" if step.error else "",
            )
        await self.call("on_node_execution", step.node_id, row)
