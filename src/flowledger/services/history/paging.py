"""The history as one stream, a page in memory at a time."""

from collections.abc import Iterator, Sequence

from flowledger.domain.history import Place, RunQuery
from flowledger.domain.runs import Entry
from flowledger.ports import RunHistory

PAGE = 2000
"""Runs read at once without details."""
DETAILED_PAGE = 32
"""Runs read at once with details, each of which may be megabytes."""


def pages_of(history: RunHistory, query: RunQuery, *, with_details: bool) -> Iterator[Sequence[Entry]]:
    """Stream runs newest first, page by page; what is written meanwhile may or may not be among them."""
    place: Place | None = None
    limit = DETAILED_PAGE if with_details else PAGE
    while True:
        page = history.history(query, after=place, limit=limit, with_details=with_details)
        if page.entries:
            yield page.entries
        place = page.following
        if place is None:
            return


def runs_of(history: RunHistory, query: RunQuery, *, with_details: bool = False) -> Iterator[Entry]:
    """Stream runs newest first."""
    for page in pages_of(history, query, with_details=with_details):
        yield from page


def count_of(history: RunHistory, query: RunQuery) -> int:
    """Count the runs of a query."""
    return sum(len(page) for page in pages_of(history, query, with_details=False))
