"""Which part of all records a report shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from flowledger.reports.texts import Texts

DEFAULT_LIMIT = 20


@dataclass(frozen=True, slots=True)
class Paging:
    """The old script's summary: the source's total, the page asked for, and how many records are shown.

    ``page`` and ``limit`` keep their defaults where everything was fetched.
    """

    total: int
    shown: int
    page: int = 1
    limit: int = DEFAULT_LIMIT
    has_more: bool = False

    def items(self, texts: Texts) -> Sequence[tuple[str, str]]:
        """Give catalogue keys and values in their order."""
        return (
            ("total", str(self.total)),
            ("page", str(self.page)),
            ("limit", str(self.limit)),
            ("shown", str(self.shown)),
            ("has_more", texts["yes" if self.has_more else "no"]),
        )
