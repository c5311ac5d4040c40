"""``flowledger history list|show|tail``: runs for people and for pipes."""

import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import click

from flowledger.cli.history import OpenHistory, filters, open_history, run_filter_of
from flowledger.cli.terminal import cell, show_table
from flowledger.domain.run_mapping import entry_row, run_row
from flowledger.domain.runs import Run, missing_reason
from flowledger.domain.windows import zone
from flowledger.io.json_text import dumps_strict
from flowledger.services.history.filters import key_of
from flowledger.services.history.paging import Follower, follow, runs_of
from flowledger.services.history.transfer import Depth, rows_of, writer_of

FORMATS = ("table", "json", "jsonl", "csv")
HEADINGS = ("time", "app", "run", "status", "seconds", "tokens", "started by", "error")


@click.command("list")
@filters
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most so many."
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def list_runs(limit: int, form: str, **options: Any) -> None:
    """List runs, newest first."""
    with open_history() as history:
        entries = islice(runs_of(history.ledger, history.query(run_filter_of(options))), limit)
        if form == "table":
            _show_table(history, [entry.run for entry in entries])
        else:
            write = writer_of(form, Depth.ROW, raw_values=history.settings.csv_raw_values)
            write(rows_of(entries, Depth.ROW), sys.stdout.buffer)
            sys.stdout.buffer.flush()


@click.command()
@click.argument("key")
@click.option("--app", metavar="APP", help="The app that has it: name or id in the settings, or source:id.")
@click.option("--nodes/--no-nodes", default=True, help="With the node executions.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def show(key: str, app: str | None, nodes: bool, as_json: bool) -> None:
    """Show one run whole; KEY is its id, or source:app:run."""
    with open_history() as history:
        run_key = key_of(history.ledger, key, history.sources, history.apps.key(app) if app else None)
        entry = history.ledger.entry(run_key)
        if entry is None:
            raise click.ClickException(f"the run {run_key} was deleted just now")
        row = entry_row(entry)
    if not nodes:
        del row["nodes"]
    if as_json:
        click.echo(dumps_strict(row, indented=True).decode())
        return
    _show_run(row, missing_reason(entry.detail))


@click.command()
@filters
@click.option(
    "-n", "--lines", "count", type=click.IntRange(0, 1000), default=10, show_default=True, metavar="N"
)
@click.option(
    "-f", "--follow", "follows", is_flag=True, help="Go on with new and changed runs, until Ctrl-C."
)
@click.option("--every", type=click.FloatRange(0.05, 3600), default=2.0, show_default=True, metavar="SECONDS")
@click.option("--json", "as_json", is_flag=True, help="An object on each line.")
def tail(count: int, follows: bool, every: float, as_json: bool, **options: Any) -> None:
    """Show the newest runs, newest last; --follow then shows new and changed ones as they come."""
    with open_history() as history:
        follower = Follower(history.ledger, history.query(run_filter_of(options)))
        _print((entry.run for entry in follower.begin(count)), history, as_json)
        if not follows:
            return
        try:
            for entries in follow(follower, lambda: time.sleep(every)):
                _print((entry.run for entry in entries), history, as_json)
        except KeyboardInterrupt:
            return  # the only way to end it


def _print(runs: Iterable[Run], history: OpenHistory, as_json: bool) -> None:
    names = _names(history)
    for run in runs:
        if as_json:
            click.echo(dumps_strict(run_row(run)).decode())
        else:
            cells = _cells(run, names, history.settings.timezone)
            click.echo("  ".join(cells).rstrip())


def _show_table(history: OpenHistory, runs: Sequence[Run]) -> None:
    if not runs:
        click.echo("no runs match", err=True)
        return
    names = _names(history)
    show_table(HEADINGS, (_cells(run, names, history.settings.timezone) for run in runs))


def _cells(run: Run, names: dict[Any, str], tz: str) -> tuple[str, ...]:
    creator = run.creator
    return tuple(
        cell(text)
        for text in (
            f"{run.listed_at.astimezone(zone(tz)):%Y-%m-%d %H:%M:%S}",
            names.get(run.app, str(run.app)),
            run.run_id,
            run.status.value,
            f"{run.elapsed_s:.2f}" if run.elapsed_s is not None else "",
            str(run.total_tokens) if run.total_tokens is not None else "",
            (creator.name or creator.session_id or creator.id or "") if creator else "",
            run.error or "",
        )
    )


def _names(history: OpenHistory) -> dict[Any, str]:
    return {app.key: app.name for app in history.settings.apps}


def _show_run(row: dict[str, Any], missing: str | None) -> None:
    nodes = row.pop("nodes", None)
    for name, value in row.items():
        if value is not None and name != "missing":
            click.echo(f"{name:20} {_value(value)}")
    if missing:
        click.echo(f"{'missing':20} {_value(missing)}")
    for node in nodes or ():
        seconds = f"{node['elapsed_s']:.2f} s" if node["elapsed_s"] is not None else ""
        words = f"{node['node_type']:16} {node['status']:10} {seconds:>10}  {node['title']}"
        click.echo(cell(f"  {node['position']:3} {words}", 200))


def _value(value: Any) -> str:
    if isinstance(value, str | int | float | datetime):
        return cell(str(value), 2000)
    return dumps_strict(value).decode()
