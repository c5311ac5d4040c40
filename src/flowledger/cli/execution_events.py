"""Events of an execution as lines for people, and following them until it is at rest."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import click

from flowledger.cli.workflow import OpenWorkflows
from flowledger.domain.runs import RunStatus
from flowledger.domain.texts import clip, one_line, show_controls
from flowledger.domain.workflows.steps import EventType
from flowledger.io.json_text import dumps_strict
from flowledger.services.workflows.rows import event_row
from flowledger.workflow_ports import Event, Execution

LOOK_S = 0.1
EXIT_FAILED = 1
EXIT_INCOMPLETE = 3
"""Partial, or paused: neither a success nor a failure."""
_STATUSES: Mapping[RunStatus, int] = {
    RunStatus.SUCCESS: 0,
    RunStatus.PARTIAL: EXIT_INCOMPLETE,
    RunStatus.PAUSED: EXIT_INCOMPLETE,
    RunStatus.PENDING: EXIT_INCOMPLETE,
    RunStatus.RUNNING: EXIT_INCOMPLETE,
}
_QUIET = (EventType.STEP_STARTED, EventType.PROGRESS, EventType.EXECUTION_CREATED, EventType.TIMER_SET)


def exit_status(execution: Execution) -> int:
    """Return the exit status that tells how an execution is."""
    return _STATUSES.get(execution.status, EXIT_FAILED)


@dataclass(slots=True)
class EventLines:
    """Prints events: all as JSON, or as lines, without those that only say that something begins."""

    opened: OpenWorkflows
    as_json: bool = False
    everything: bool = False
    _started: dict[str, datetime] = field(default_factory=dict)

    def show(self, event: Event) -> None:
        """Print one event."""
        if self.as_json:
            click.echo(dumps_strict(event_row(event)).decode())
            return
        if event.event is EventType.STEP_STARTED:
            self._started[event.key] = event.at
        if self.everything or event.event not in _QUIET:
            click.echo(self._line(event))

    def _line(self, event: Event) -> str:
        subject = event.key or "execution"
        word = event.event.value.removeprefix("STEP_").removeprefix("EXECUTION_").lower().replace("_", " ")
        began = self._started.pop(event.key, None) if event.event.value.startswith("STEP_") else None
        seconds = "" if began is None else f"{max((event.at - began).total_seconds(), 0):.2f} s"
        time = self.opened.local_time(event.at, "%H:%M:%S")
        facts = clip(one_line(_facts(event.facts)), 300)
        return f"{time}  {one_line(subject):30}  {word:12} {seconds:>9}  {facts}".rstrip()


def _facts(facts: Mapping[str, Any]) -> str:
    if error := facts.get("error"):
        kind = facts.get("error_type")
        return f"{kind}: {error}" if kind else str(error)
    shown = {name: value for name, value in facts.items() if value not in (None, "", [], {})}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


async def follow(
    opened: OpenWorkflows,
    execution: Execution,
    lines: EventLines | None,
    is_over: Callable[[Execution], bool],
    *,
    after: int = 0,
) -> tuple[Execution, int]:
    """Show events, if wanted, until it is over; return the execution then, and the last event's cursor."""
    read = opened.store.events
    while True:
        current = await asyncio.to_thread(opened.store.execution, execution.id)
        # Asked before its events are read: by then all are stored of what is over.
        ends = current is None or is_over(current)
        events = await asyncio.to_thread(read, execution.id, after=after)
        for event in events:
            if lines is not None:
                lines.show(event)
            after = event.cursor
        if ends and not events:
            return current or execution, after
        if not events:
            await asyncio.sleep(LOOK_S)


def show_end(execution: Execution) -> None:
    """Print how an execution ended, or where it rests."""
    click.echo(f"execution {execution.id} ({execution.execution_id}): {execution.status}")
    if execution.error:
        click.echo(show_controls(f"error: {execution.error_type or 'Error'}: {execution.error}"))
    if execution.output is not None:
        click.echo(f"output: {dumps_strict(execution.output, indented=True).decode()}")
