"""Progress on a terminal: a live line for each stage, on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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

from flowledger.cli.progress import STAGES


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


@contextmanager
def live_progress() -> Iterator[TerminalProgress]:
    """Show bars until the context ends."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield TerminalProgress(bars)
