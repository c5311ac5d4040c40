"""Progress for people, always on standard error: plain lines, or what a terminal can show."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from flowledger.ports import Progress

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
        """Say something worth knowing."""
        click.echo(text, err=True)


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Show progress the way standard error can."""
    if not sys.stderr.isatty():
        yield LineProgress()
        return
    from flowledger.cli.terminal import live_progress  # rich costs a tenth of a second, and a pipe shows none

    with live_progress() as progress:
        yield progress
