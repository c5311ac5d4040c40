"""Executions of workflows and Prefect: the flow that carries one out anywhere, and the worker's own side."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from prefect import flow, get_run_logger, runtime
from prefect.exceptions import Abort
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import Field

from flowledger import bootstrap
from flowledger.bootstrap import workers, workflows
from flowledger.flows import registration, reporter
from flowledger.flows.logs import forwarded_to
from flowledger.ledger import workflow_store
from flowledger.ports import Ledger
from flowledger.services.workflows.ordering import RESUMABLE
from flowledger.services.workflows.reporting import ReportQueue
from flowledger.services.workflows.running import LocalRun
from flowledger.settings import Settings
from flowledger.workflow_ports import Execution


async def report(settings: Settings, ledger: Ledger, queue: ReportQueue, stop: asyncio.Event) -> None:
    """Report what is queued to Prefect, and do what people want there, until ``stop`` is set."""
    with temporary_settings({PREFECT_API_URL: str(settings.prefect_api_url)}):
        await _reporter(settings, ledger, queue).run(stop)


def _reporter(settings: Settings, ledger: Ledger, queue: ReportQueue) -> reporter.Reporter:
    store = workflow_store(ledger)
    orders = workflows.ordering(settings, store)
    return reporter.Reporter(store, orders, queue, registration.infrastructure_of(settings))


@flow(name="workflow-execution", log_prints=False)
def execute(
    workflow: Annotated[str | None, Field(title="Workflow", description="Name or number")] = None,
    input: Annotated[
        dict[str, Any] | None,
        Field(title="Input", description="JSON object; {} where the workflow needs none"),
    ] = None,
    execution: Annotated[
        str | None, Field(title="Execution", description="Id of one that shall go on; else a new one starts")
    ] = None,
) -> None:
    """Carry out one execution of a workflow in this process, or wait until the worker that has it is done.

    The ledger says how it is, and so does the state of this run: the process itself sets none.

    :raises Abort: Prefect's signal that this process has nothing more to do, as the run's state is set.
    """
    log = get_run_logger()
    settings = bootstrap.load_settings(need_app=False)
    parameters = {"workflow": workflow, "input": input}
    with forwarded_to(log), bootstrap.opened_ledger(settings) as ledger:
        store = workflow_store(ledger)
        orders = workflows.ordering(settings, store)
        run_id = UUID(runtime.flow_run.id)
        found = store.execution(execution or run_id.hex)
        if found is None:
            found = reporter.ordered(store, orders, run_id, parameters, str(runtime.flow_run.name))
        elif found.status in RESUMABLE:
            found = orders.resume(found.id, reporter.BY)
        asyncio.run(_carry_out(settings, ledger, found))
    raise Abort("the state of the execution is the run's")


async def _carry_out(settings: Settings, ledger: Ledger, execution: Execution) -> None:
    queue = ReportQueue()
    stop = asyncio.Event()
    telling = _reporter(settings, ledger, queue)
    async with workers.opened_worker(settings, ledger, observers=[queue]) as worker:
        reporting = asyncio.create_task(telling.run(stop))
        try:
            await LocalRun(worker).run(execution)
        finally:
            stop.set()
            await reporting
    # Whatever Prefect has set when it started this process, the end shows.
    await telling.run_once(execution.id)
