"""What was proved about a window."""

from dataclasses import dataclass
from datetime import datetime

from flowledger.domain.runs import AppKey
from flowledger.domain.windows import Window


@dataclass(frozen=True, slots=True)
class Scope:
    """What a collection or a report is about: an app, a window, and what the source was asked to filter by.

    ``query`` is the source-side filter in canonical text (``domain.filters``), empty for everything.
    A ledger selects an unfiltered scope by time, a filtered one by the rows saved under it.
    """

    app: AppKey
    window: Window
    query: str = ""

    def __str__(self) -> str:
        return f"{self.app} {self.window}" + (f" [{self.query}]" if self.query else "")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was proved about a scope, and when.

    ``expected`` is the source's own total (None where it gives none), ``distinct`` the different log rows
    seen, ``retained`` the runs that the ledger keeps although the source no longer lists them.
    ``reason`` says how it was proved, or why it could not be.
    """

    scope: Scope
    certified: bool
    reason: str
    expected: int | None
    distinct: int
    at: datetime
    retained: int = 0
