"""Progress in Prefect's run log: a line at the begin of a stage and now and then within it."""

from dataclasses import dataclass

from flowledger.flows.logs import RunLog

STEP = 1000
"""How many steps lie between two lines; a run log is read by people."""


@dataclass(slots=True)
class LogProgress:
    """Writes stages and notes to a logger."""

    logger: RunLog
    name: str = ""
    steps: int = 0

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of so many steps."""
        self.name, self.steps = name, 0
        self.logger.info("%s%s", name, "" if total is None else f": {total} runs")

    def advance(self, steps: int = 1) -> None:
        """So many steps further."""
        before, self.steps = self.steps, self.steps + steps
        if before // STEP != self.steps // STEP:
            self.logger.info("%s: %d so far", self.name, self.steps)

    def note(self, text: str) -> None:
        """Say something worth knowing."""
        self.logger.info("%s", text)
