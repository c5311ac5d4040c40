"""``flowledger workflow run``: one execution, here or by a worker, with its steps as they end."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from flowledger import bootstrap
from flowledger.bootstrap import workflows
from flowledger.cli.execution_events import EventLines, exit_status, follow, show_end
from flowledger.cli.worker import stopped_by_signals
from flowledger.cli.workflow import OpenWorkflows, echo_json, is_file, open_workflows
from flowledger.cli.workflow_files import applied, read
from flowledger.domain.runs import RunStatus
from flowledger.errors import RecordConflictError, UsageError
from flowledger.io.yaml_text import DocumentError, read_document
from flowledger.services.workflows import files
from flowledger.services.workflows.rows import execution_row
from flowledger.services.workflows.running import LocalRun, is_at_rest
from flowledger.services.workflows.worker import Worker
from flowledger.workflow_ports import Execution

EXIT_INTERRUPTED = 130
NO_WORKER_S = 5.0
"""After so long without a worker, a hint is shown."""


@click.command()
@click.argument("word", metavar="WORKFLOW")
@click.option("--direct", is_flag=True, help="In this process, without a server and without a worker.")
@click.option("--step", "by_step", is_flag=True, help="Pause after each node.")
@click.option(
    "--input", "input_", metavar="JSON|@FILE", help="The input, as JSON or YAML; @- is standard input."
)
@click.option("--name", help="The execution's name; default: the workflow's.")
@click.option("--timeout", type=click.FloatRange(0.1, 31_536_000), metavar="SECONDS", help="For all of it.")
@click.option("--no-wait", is_flag=True, help="Order it and end at once; a worker executes it.")
@click.option("--json", "as_json", is_flag=True, help="Print the execution alone on standard output.")
def run(
    word: str,
    direct: bool,
    by_step: bool,
    input_: str | None,
    name: str | None,
    timeout: float | None,
    no_wait: bool,
    as_json: bool,
) -> int:
    """Execute WORKFLOW, by its number, its name or a file, and show its steps as they end.

    Ends with status 0 for success, 1 for failed, cancelled or interrupted, 3 for partial or paused.  A file
    is applied first.  Without --direct a worker executes it: flowledger worker, or flowledger serve --worker.
    """
    if no_wait and (direct or by_step):
        raise click.UsageError("--no-wait is for executions by a worker, without --step")
    input_data = input_of(input_)
    config = {
        **({"timeout": timeout} if timeout else {}),
        **({"step_by_step": True} if by_step else {}),
    }
    with open_workflows() as opened, bootstrap.kept_logs(opened.settings) if direct else nullcontext():
        workflow_id = _applied(opened, word) if is_file(word) else opened.workflow(word).id
        execution = opened.ordering.execute(
            workflow_id, name=name, input_data=input_data, config=config, by=opened.user, trigger="cli"
        )
        click.echo(f"execution {execution.id} ({execution.execution_id})", err=True)
        if not no_wait:
            runner = Runner(opened, None if as_json else EventLines(opened))
            execution = runner.run(execution, direct=direct, by_step=by_step)
        if as_json:
            echo_json(execution_row(execution))
        elif not no_wait:
            show_end(execution)
    return 0 if no_wait else exit_status(execution)


def _applied(opened: OpenWorkflows, word: str) -> int:
    forms = read(word)
    if len(forms) != 1:
        raise UsageError(f"{word}: holds {len(forms)} workflows: apply it, then run one by its name")
    (file,) = forms
    file.refuse(opened.authoring.check_import(file.form)["faults"])
    row = applied(opened, file)
    click.echo(f"workflow {row['id']} {row['name']}, version {row['published_version']}", err=True)
    return int(row["id"])


def input_of(text: str | None) -> Any:
    """Return the input that the words of an option give.

    :raises UsageError: when it cannot be read.
    """
    if text is None:
        return {}
    name = "--input"
    if text.startswith("@"):
        name = text[1:]
        try:
            with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as stream:
                text = files.text_from(stream, name)
        except OSError as error:
            raise UsageError(f"--input: {name} cannot be read ({error.strerror})") from None
    try:
        value = read_document(text).value
    except DocumentError as error:
        raise UsageError(f"{name}: {error}") from None
    return {} if value is None else value


@dataclass(frozen=True, slots=True)
class Runner:
    """Carries one execution to its rest, step by step where wanted."""

    opened: OpenWorkflows
    lines: EventLines | None

    def run(self, execution: Execution, *, direct: bool, by_step: bool = False, after: int = 0) -> Execution:
        """Return the execution at rest; events after a cursor are shown."""
        once, asks = self._direct if direct else self._by_worker, by_step
        while True:
            execution, after = asyncio.run(once(execution, after))
            if not by_step or execution.status is not RunStatus.PAUSED:
                return execution
            if asks:
                answer = self._next()
                if answer == "q":
                    return execution
                asks = answer != "c"
            # Somebody else may have let it go on.
            with suppress(RecordConflictError):
                execution = self.opened.ordering.step(execution.id, self.opened.user)

    def _next(self) -> str:
        try:
            answer: str = click.prompt(
                "next step: Enter, all: c, stop here: q", default="", show_default=False, err=True
            )
        except click.Abort:
            return "q"
        return answer.strip().lower()[:1]

    async def _direct(self, execution: Execution, after: int) -> tuple[Execution, int]:
        opened = self.opened
        with stopped_by_signals() as stop:
            async with workflows.open_engine(opened.settings, opened.ledger) as engine:
                local = LocalRun(Worker(engine, workflows.worker_name()))
                running = asyncio.create_task(local.run(execution))
                showing = asyncio.create_task(self._show(execution, after, lambda _: running.done()))
                stopping = asyncio.create_task(stop.wait())
                await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    await asyncio.to_thread(self._cancel, execution)
                stopping.cancel()
                try:
                    execution = await running
                finally:
                    _, after = await showing
        if stop.is_set():
            show_end(execution)
            raise click.exceptions.Exit(EXIT_INTERRUPTED)
        return execution, after

    def _cancel(self, execution: Execution) -> None:
        # It may have ended meanwhile.
        with suppress(RecordConflictError):
            self.opened.ordering.cancel(execution.id, self.opened.user)

    async def _by_worker(self, execution: Execution, after: int) -> tuple[Execution, int]:
        hint = asyncio.create_task(self._hint(execution))
        try:
            return await self._show(execution, after, is_at_rest)
        except asyncio.CancelledError:
            click.echo(f"it goes on: flowledger execution tail {execution.id} shows it", err=True)
            raise
        finally:
            hint.cancel()

    async def _hint(self, execution: Execution) -> None:
        await asyncio.sleep(NO_WORKER_S)
        current = await asyncio.to_thread(self.opened.store.execution, execution.id)
        if current is not None and current.status is RunStatus.PENDING:
            click.echo("no worker has taken it yet: start one (flowledger worker), or use --direct", err=True)

    async def _show(
        self, execution: Execution, after: int, is_over: Callable[[Execution], bool]
    ) -> tuple[Execution, int]:
        return await follow(self.opened, execution, self.lines, is_over, after=after)
