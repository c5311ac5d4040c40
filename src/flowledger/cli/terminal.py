"""What a terminal shows: a live line for each stage on standard error, tables, and the summary of a run."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from flowledger.domain.phrases import result_cost
from flowledger.domain.texts import show_controls
from flowledger.services.run_result import RunResult

_PIPED_WIDTH = 250
"""A pipe has no width of its own: rich would take 80 columns and cut the ids that scripts look for."""


@dataclass(slots=True)
class TerminalProgress:
    """A spinner and a count for each stage."""

    bars: Progress
    titles: Mapping[str, str] = field(default_factory=dict)
    current: TaskID | None = None

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of so many steps."""
        if self.current is not None:
            self.bars.stop_task(self.current)
        self.current = self.bars.add_task(self.titles.get(name, name), total=total)

    def advance(self, steps: int = 1) -> None:
        """So many steps further."""
        if self.current is not None:
            self.bars.advance(self.current, steps)

    def note(self, text: str) -> None:
        """Write a note above the bars."""
        self.bars.console.print(text, highlight=False, markup=False)


@contextmanager
def live_progress(titles: Mapping[str, str]) -> Iterator[TerminalProgress]:
    """Show bars until the context ends; ``titles`` are what people read for the names of stages."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield TerminalProgress(bars, titles)


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of texts as a table."""
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    table = Table(*headings)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def cell(text: str, longest: int = 80) -> str:
    """Return a text on one line, cut where it is longer."""
    line = show_controls(text).replace("\n", "␊").replace("\r", "␍").replace("\t", "␉")
    return line if len(line) <= longest else line[: longest - 1] + "…"


def show_summary(result: RunResult) -> None:
    """Print what was collected and where the reports are."""
    console = Console()
    table = Table(show_header=False, title=f"{result.app}: {result.period}", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in summary_rows(result):
        table.add_row(name, value)
    # Names and notes of people may hold brackets, which rich would read as markup.
    console.print(table, highlight=False, markup=False)
    console.print("Reports:")
    for path in result.report_paths:
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def summary_rows(result: RunResult) -> list[tuple[str, str]]:
    """Return the rows of the table, names first."""
    certificate = result.certificate
    proof = "yes" if certificate.certified else "NO"
    expected = "no total" if certificate.expected is None else str(certificate.expected)
    rows = [
        ("window", f"{result.window.after} to {result.window.before}"),
        ("runs", f"{result.logs_count} ({_pairs(result.by_status) or 'none'})"),
        ("certified", f"{proof}: {certificate.reason}"),
        ("source counts, seen", f"{expected}, {certificate.distinct}"),
        ("detailed, missing", f"{result.detailed}, {result.missing}"),
    ]
    if result.completeness:
        rows.append(("complete", result.completeness))
    if certificate.retained:
        rows.append(("kept, gone at the source", str(certificate.retained)))
    rows += [("missing because", f"{reason} ({n})") for reason, n in result.missing_reasons.items()]
    rows += [
        ("open, of which stuck", f"{result.open}, {result.stuck}"),
        ("users", str(result.users)),
        ("tokens", str(result.total_tokens)),
        ("cost", result_cost(result.cost, result.cost_known_runs, result.logs_count, "en")),
        ("requests, seconds", f"{result.requests}, {result.duration}"),
    ]
    return rows + [("note", note) for note in result.notes]


def _pairs(counts: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
