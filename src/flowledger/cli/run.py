"""``flowledger run``: one report on one app, through Prefect or directly, with progress on standard error."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import click

from flowledger import bootstrap
from flowledger.domain.windows import PERIODS
from flowledger.ports import Progress
from flowledger.services.report_requests import RunOrder, parameters_of
from flowledger.services.run_result import RunResult

EXIT_INCOMPLETE = 3
"""Neither a failure nor a success: the report is there, but lacks a proof or details."""


@click.command()
@click.option("--app", help="Name or id of an app in the settings; needed only where there are several.")
@click.option("--period", metavar="PERIOD", help=f"One of {', '.join(PERIODS)}. Default: yesterday.")
@click.option("--after", metavar="ISO", help="First second, ISO 8601; without offset in the time zone.")
@click.option("--before", metavar="ISO", help="Last second, inclusive; a bare date means its end.")
@click.option("--timezone", metavar="ZONE", help="IANA name; default: the app's own.")
@click.option(
    "--format",
    "formats",
    metavar="NAMES",
    help="csv, markdown, json, data (raw JSON lines); several with commas.",
)
@click.option("--output-dir", metavar="DIR", help="Where reports go; default: OUTPUT_BASE_DIR.")
@click.option(
    "--status", metavar="WORD", help="succeeded, failed, stopped, partial-succeeded, running or paused."
)
@click.option("--keyword", metavar="TEXT", help="Only runs with this text in inputs, outputs or session id.")
@click.option("--no-details", is_flag=True, help="Do not read inputs, outputs and node executions.")
@click.option("--no-node-executions", is_flag=True, help="Read inputs and outputs only.")
@click.option("--save-data", is_flag=True, help="Keep the raw data beside the reports as well.")
@click.option("--direct", is_flag=True, help="Without Prefect.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object alone on standard output.")
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with status 3 when the window is not certified or details are missing.",
)
def run(
    direct: bool, as_json: bool, strict: bool, no_details: bool, no_node_executions: bool, **words: Any
) -> int:
    """Collect, keep and report the runs of one app and period."""
    order = RunOrder(with_details=not no_details, with_node_executions=not no_node_executions, **words)
    result = execute(order, direct=direct)
    if as_json:
        click.echo(json.dumps(result.to_json(), ensure_ascii=False))
    else:
        from flowledger.cli.terminal import show_summary  # rich costs a tenth of a second, JSON needs none

        show_summary(result)
    return EXIT_INCOMPLETE if strict and not result.is_whole else 0


def execute(order: RunOrder, *, direct: bool) -> RunResult:
    """Run an order and return its result."""
    # Wrong words are refused here, at once: Prefect alone takes seconds to import.
    bootstrap.check_run(order, datetime.now(UTC))
    return run_directly(order) if direct else run_on_prefect(order)


def run_directly(order: RunOrder, instant: datetime | None = None) -> RunResult:
    """Run all stages in this process, without Prefect; the period is seen from an instant, now by default."""
    instant, run_id = instant or datetime.now(UTC), uuid4().hex[:8]
    with progress_on_stderr() as progress:
        return bootstrap.run_directly(order, instant, run_id=run_id, progress=progress)


def run_on_prefect(order: RunOrder) -> RunResult:
    """Run the flow, on the server the settings name or on an ephemeral one."""
    from flowledger.flows import environment  # Prefect reads its settings when it is imported

    settings = bootstrap.load_settings()
    home = bootstrap.prefect_home(settings)
    environment.prepare(os.environ, api_url=settings.prefect_api_url, home=home)
    from flowledger.flows.fetch_workflow_logs import fetch_workflow_logs_flow

    return RunResult.from_json(fetch_workflow_logs_flow(**parameters_of(order)))


STAGES: Mapping[str, str] = {
    "collect": "collecting runs",
    "enrich": "reading details",
    "report": "writing reports",
}
PLAIN_STEP = 500
"""How many steps lie between two plain lines."""


@dataclass(slots=True)
class LineProgress:
    """A line at the begin of a stage and after every ``PLAIN_STEP`` steps, for logs and pipes."""

    name: str = ""
    steps: int = 0
    total: int | None = field(default=None)

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of so many steps."""
        self.name, self.steps, self.total = STAGES.get(name, name), 0, total
        self.note(self.name + (f" ({total})" if total is not None else ""))

    def advance(self, steps: int = 1) -> None:
        """So many steps further."""
        before, self.steps = self.steps, self.steps + steps
        if before // PLAIN_STEP != self.steps // PLAIN_STEP:
            self.note(f"{self.name}: {self.steps}" + (f" of {self.total}" if self.total else ""))

    def note(self, text: str) -> None:
        """Write a note."""
        click.echo(text, err=True)


@contextmanager
def progress_on_stderr() -> Iterator[Progress]:
    """Show progress the way standard error can."""
    if not sys.stderr.isatty():
        yield LineProgress()
        return
    from flowledger.cli.terminal import live_progress  # rich costs a tenth of a second, and a pipe shows none

    with live_progress(STAGES) as progress:
        yield progress
