"""What people decide of executions: ``flowledger execution recovery | retry | skip | approve | reject``."""

from collections.abc import Mapping
from typing import Any

import click

from flowledger.cli.workflow import echo_json, open_workflows
from flowledger.cli.workflow_run import input_of
from flowledger.workflow_ports import Execution


@click.command()
@click.argument("word", metavar="EXECUTION")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def recovery(word: str, as_json: bool) -> None:
    """Show what failed in EXECUTION, by its number or id, and from where it can go on."""
    with open_workflows() as opened:
        found = opened.execution(word)
        info = opened.services.recovering.info(found.id)
    if as_json:
        echo_json(info)
        return
    from flowledger.cli.terminal import cell  # rich costs a tenth of a second, JSON needs none

    progress = info["execution_progress"]
    can = "can be resumed" if info["can_recover"] else "cannot be resumed"
    click.echo(f"execution {found.id} ({found.execution_id}): {found.status}, {can}")
    click.echo(f"steps: {', '.join(f'{each} {name}' for name, each in _counts(progress).items())}")
    for step in info["failed_steps"]:
        retries = f"{step['retry_count']} of {step['max_retries']} retries"
        click.echo(cell(f"failed: {step['id']} {step['name']}: {step['error']} ({retries})", 500))
    if info["last_successful_step"]:
        click.echo(cell(f"last success: {info['last_successful_step']}", 200))
    for point in info["recovery_points"]:
        mark = " (recommended)" if point["recommended"] else ""
        click.echo(cell(f"resume --from {point['step_id']}: {point['step_name']}{mark}", 200))


def _counts(progress: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name.removesuffix("_steps"): value for name, value in progress.items()}


@click.command()
@click.argument("word", metavar="EXECUTION")
@click.argument("step")
@click.option("--max-retries", type=click.IntRange(0, 100), metavar="N", help="In place of the step's own.")
@click.option("--delay", type=click.FloatRange(0, 86_400), metavar="SECONDS", help="Before each of them.")
def retry(word: str, step: str, max_retries: int | None, delay: float | None) -> None:
    """Try the failed STEP of EXECUTION again, with what follows it; a worker takes it."""
    policy = {"max_retries": max_retries, "retry_delay_seconds": delay}
    given = {name: value for name, value in policy.items() if value is not None}
    with open_workflows() as opened:
        number = opened.execution(word).id
        _echo(opened.services.recovering.retry(number, step, opened.user, given))


@click.command()
@click.argument("word", metavar="EXECUTION")
@click.argument("step")
@click.option("--output", metavar="JSON|@FILE", help="What the step is to have given; nothing by default.")
def skip(word: str, step: str, output: str | None) -> None:
    """Let EXECUTION go on as if its failed STEP had succeeded; a worker takes it."""
    given = None if output is None else input_of(output)
    with open_workflows() as opened:
        _echo(opened.services.recovering.skip(opened.execution(word).id, step, opened.user, given))


@click.command()
@click.argument("word", metavar="EXECUTION")
@click.argument("step")
@click.option("--comment", default="", help="Why.")
def approve(word: str, step: str, comment: str) -> None:
    """Approve STEP of EXECUTION, as the user of this machine, who has to be an approver."""
    _vote(word, step, comment, approved=True)


@click.command()
@click.argument("word", metavar="EXECUTION")
@click.argument("step")
@click.option("--comment", default="", help="Why.")
def reject(word: str, step: str, comment: str) -> None:
    """Reject STEP of EXECUTION, as the user of this machine, who has to be an approver."""
    _vote(word, step, comment, approved=False)


def _vote(word: str, step: str, comment: str, *, approved: bool) -> None:
    with open_workflows() as opened:
        found = opened.execution(word)
        wait = opened.services.approving.vote(
            found.id, step, approved=approved, by=opened.user, comment=comment
        )
        opened.record("VOTE", found.workflow_id, step=wait.key, approved=approved)
    what = "approved" if approved else "rejected"
    state = "waits for others" if wait.resolved_at is None else "is resolved"
    click.echo(f"{wait.key}: {what} by {opened.user}; the approval {state}")


def _echo(resumed: Execution) -> None:
    click.echo(f"execution {resumed.id} ({resumed.execution_id}): {resumed.status}")


COMMANDS = (recovery, retry, skip, approve, reject)
