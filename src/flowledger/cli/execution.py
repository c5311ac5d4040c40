"""``flowledger execution``: what was executed, what runs, and what people want of it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import click

from flowledger import bootstrap
from flowledger.cli import execution_people
from flowledger.cli.execution_events import EventLines, exit_status, follow, show_end
from flowledger.cli.workflow import OpenWorkflows, echo_json, open_workflows
from flowledger.cli.workflow_run import Runner, input_of
from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.steps import StepStatus
from flowledger.errors import UsageError
from flowledger.services.workflows.recovering import Wish
from flowledger.services.workflows.rows import execution_row, log_row
from flowledger.workflow_ports import Execution, ExecutionQuery

HEADINGS = ("id", "workflow", "execution", "status", "progress", "step", "started", "seconds", "error")
STATUSES = [status.value for status in RunStatus]


@click.group()
def execution() -> None:
    """List and follow executions; cancel, pause and resume them; recover what failed, approve what waits."""


for _command in execution_people.COMMANDS:
    execution.add_command(_command)


@execution.command("list")
@click.option("--workflow", "word", metavar="WORKFLOW", help="Only of this one: its number or name.")
@click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="May be repeated.")
@click.option("--name", help="Only executions of this name.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def list_executions(
    word: str | None, statuses: tuple[str, ...], name: str | None, limit: int, as_json: bool
) -> None:
    """List executions, newest first."""
    with open_workflows() as opened:
        query = ExecutionQuery(
            workflow_id=opened.workflow(word).id if word else None,
            statuses=tuple(map(RunStatus, statuses)),
            name=name,
        )
        executions = opened.store.executions(query, limit=limit).executions
        if as_json:
            echo_json([execution_row(each) for each in executions])
        elif not executions:
            click.echo("no executions match", err=True)
        else:
            from flowledger.cli.terminal import show_table  # rich costs a tenth of a second, JSON needs none

            show_table(HEADINGS, (_cells(opened, each) for each in executions))


def _cells(opened: OpenWorkflows, each: Execution) -> tuple[str, ...]:
    from flowledger.cli.terminal import cell

    texts = (
        *(each.id, each.workflow_name, each.name, each.status, f"{each.progress} %"),
        *("" if each.completed_at else each.current_step or "", opened.local_time(each.started_at)),
        *(_seconds(each.started_at, each.completed_at), each.error or ""),
    )
    return tuple(cell(str(text)) for text in texts)


def _seconds(started: datetime | None, ended: datetime | None) -> str:
    return "" if started is None or ended is None else f"{(ended - started) / timedelta(seconds=1):.2f}"


@execution.command()
@click.argument("word", metavar="EXECUTION")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def show(word: str, as_json: bool) -> None:
    """Show EXECUTION, by its number or id, with every try of its steps."""
    with open_workflows() as opened:
        found = opened.execution(word)
        logs = [log_row(found, step) for step in opened.store.steps(found.id)]
        waits = opened.store.waits(found.id, open_only=True)
    if as_json:
        echo_json({**execution_row(found), "logs": logs})
        return
    from flowledger.cli.terminal import cell

    for name, value in execution_row(found).items():
        if value is not None:
            click.echo(f"{name:18} {cell(str(value), 2000)}")
    for wait in waits:
        due = f", until {opened.local_time(wait.due_at)}" if wait.due_at else ""
        click.echo(cell(f"waits for           {wait.key}: {wait.kind}{due}", 200))
    for row in logs:
        click.echo(cell(_step_line(row), 200))


def _step_line(row: dict[str, Any]) -> str:
    seconds = "" if row["execution_time"] is None else f"{row['execution_time']:.2f} s"
    tries = f" (try {row['try_no']})" if row["try_no"] > 1 else ""
    replaced = " (replaced)" if row["superseded"] else ""
    error = row["error_message"] if row["status"] == StepStatus.FAILED else ""
    return f"  {row['step_key']:30} {row['status']:10} {seconds:>9} {tries}{replaced} {error}".rstrip()


@execution.command()
@click.argument("word", metavar="EXECUTION")
@click.option("--json", "as_json", is_flag=True, help="An object on each line.")
def tail(word: str, as_json: bool) -> int:
    """Show the events of EXECUTION, by its number or id, from its beginning to its end.

    Ends with it: status 0 for success, 1 for failed, cancelled or interrupted, 3 for partial.
    """
    with open_workflows() as opened:
        lines = EventLines(opened, as_json=as_json, everything=True)
        ended, _ = asyncio.run(follow(opened, opened.execution(word), lines, _has_ended))
    return exit_status(ended)


def _has_ended(each: Execution) -> bool:
    return not each.status.is_open


@execution.command()
@click.argument("word", metavar="EXECUTION")
def cancel(word: str) -> None:
    """End EXECUTION, by its number or id: what runs is cancelled, within seconds."""
    with open_workflows() as opened:
        _show_state(opened.ordering.cancel(opened.execution(word).id, opened.user), "cancel")


@execution.command()
@click.argument("word", metavar="EXECUTION")
def pause(word: str) -> None:
    """Let nothing new start in EXECUTION, by its number or id, until it is resumed; what runs may end."""
    with open_workflows() as opened:
        _show_state(opened.ordering.pause(opened.execution(word).id, opened.user), "pause")


@execution.command()
@click.argument("word", metavar="EXECUTION")
@click.option("--from", "step", metavar="STEP", help="Again from this step on: its key, alias or number.")
@click.option("--skip-failed", is_flag=True, help="Go on as if what failed had given --output.")
@click.option("--output", metavar="JSON|@FILE", help="The output of what is skipped.")
@click.option("--force", is_flag=True, help="Though it has succeeded.")
@click.option("--retries-anew", is_flag=True, help="Give what failed all its retries again.")
@click.option("--direct", is_flag=True, help="In this process, without a worker, and show its steps.")
def resume(
    word: str,
    step: str | None,
    skip_failed: bool,
    output: str | None,
    force: bool,
    retries_anew: bool,
    direct: bool,
) -> int:
    """Let EXECUTION, by its number or id, go on where it stopped; a worker takes it.

    With --direct it ends with the status that workflow run has.
    """
    if step is not None and skip_failed:
        raise click.UsageError("take --from or --skip-failed, not both")
    if output is not None and not skip_failed:
        raise UsageError("--output is that of skipped steps: add --skip-failed")
    strategy = "restart_from" if step is not None else "skip_and_continue" if skip_failed else "continue"
    wish = Wish(
        strategy,
        step=step,
        output=None if output is None else input_of(output),
        force=force,
        force_retry=retries_anew,
    )
    with open_workflows() as opened:
        number = opened.execution(word).id
        # Where no worker runs, nobody else has noticed that the one that had it has died.
        opened.store.interrupt_lost(opened.ordering.clock())
        resumed = opened.services.recovering.resume(number, wish, opened.user)
        if not direct:
            _show_state(resumed, "resume")
            return 0
        with bootstrap.kept_logs(opened.settings):
            _, past = asyncio.run(follow(opened, resumed, None, lambda _: True))
            ended = Runner(opened, EventLines(opened)).run(resumed, direct=True, after=past)
    show_end(ended)
    return exit_status(ended)


@execution.command("step")
@click.argument("word", metavar="EXECUTION")
def one_step(word: str) -> None:
    """Let one more node of EXECUTION run, which was started with --step; a worker runs it."""
    with open_workflows() as opened:
        _show_state(opened.ordering.step(opened.execution(word).id, opened.user), "step")


def _show_state(each: Execution, asked: str) -> None:
    is_done = each.asked is None or each.status is not RunStatus.RUNNING
    what = f"{each.status}" if is_done else f"{each.status}; its worker was asked to {asked}"
    click.echo(f"execution {each.id} ({each.execution_id}): {what}")
