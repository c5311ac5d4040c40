"""``flowledger approvals``: what waits for people."""

from typing import Any

import click

from flowledger.cli.workflow import echo_json, open_workflows
from flowledger.domain.workflows.approvals import approvers_of, last_votes, required_approvals

HEADINGS = ("execution", "workflow", "step", "approvers", "votes", "since", "until", "message")


@click.group()
def approvals() -> None:
    """List what waits for people to approve."""


@approvals.command("list")
@click.option("--mine", is_flag=True, help="Only where the user of this machine is an approver.")
@click.option("--workflow", "word", metavar="WORKFLOW", help="Only of this one: its number or name.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def list_approvals(mine: bool, word: str | None, as_json: bool) -> None:
    """List the approvals that executions wait for, oldest first; flowledger execution approve decides."""
    with open_workflows() as opened:
        waits = opened.services.approving.waiting(
            approver=opened.user if mine else None,
            workflow_id=opened.workflow(word).id if word else None,
        )
        rows: list[dict[str, Any]] = []
        for wait in waits:
            execution = opened.execution(wait.execution_id)
            votes = last_votes(opened.store.votes(wait.id)).values()
            rows.append(
                {
                    "id": wait.id,
                    "execution": execution.id,
                    "execution_id": wait.execution_id,
                    "workflow": execution.workflow_name,
                    "step": wait.key,
                    "approvers": list(approvers_of(wait.facts)),
                    "required_approvals": required_approvals(wait.facts),
                    "approved_by": [vote.voter for vote in votes if vote.approved],
                    "rejected_by": [vote.voter for vote in votes if not vote.approved],
                    "since": opened.local_time(wait.since),
                    "until": opened.local_time(wait.due_at),
                    "message": wait.facts.get("message") or "",
                }
            )
    if as_json:
        echo_json(rows)
        return
    if not rows:
        click.echo("nothing waits for approval", err=True)
        return
    from flowledger.cli.terminal import cell, show_table  # rich costs a tenth of a second, JSON needs none

    show_table(
        HEADINGS,
        (
            tuple(
                cell(str(each))
                for each in (
                    *(row["execution"], row["workflow"], row["step"], ", ".join(row["approvers"])),
                    f"{len(row['approved_by'])} of {row['required_approvals']}",
                    *(row["since"], row["until"], row["message"]),
                )
            )
            for row in rows
        ),
    )
