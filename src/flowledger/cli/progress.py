"""Progress for people: a live line on a terminal, plain lines elsewhere; always on standard error."""

from collections.abc import Iterator, Mapping
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

from flowledger.ports import Progress as ProgressPort

STAGES: Mapping[str, str] = {
    "collect": "collecting runs",
    "enrich": "reading details",
    "report": "writing reports",
}
PLAIN_STEP = 500
"""How many steps lie between two plain lines."""


@dataclass(slots=True)
class TerminalProgress:
    """A spinner and a count for each stage."""

    bars: Progress
    current: TaskID | None = None

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of so many steps."""
        if self.current is not None:
            self.bars.stop_task(self.current)
        self.current = self.bars.add_task(STAGES.get(name, name), total=total)

    def advance(self, steps: int = 1) -> None:
        """So many steps further."""
        if self.current is not None:
            self.bars.advance(self.current, steps)

    def note(self, text: str) -> None:
        """Say something worth knowing above the bars."""
        self.bars.console.print(text, highlight=False, markup=False)


@dataclass(slots=True)
class LineProgress:
    """A line at the begin of a stage and after every ``PLAIN_STEP`` steps, for logs and pipes."""

    console: Console
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
        """Say something worth knowing."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def shown_progress() -> Iterator[ProgressPort]:
    """Show progress the way standard error can."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield LineProgress(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        yield TerminalProgress(bars)
