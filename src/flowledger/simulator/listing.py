"""Cuts pages out of lists the way the server does, faults included (contract.md §0.1)."""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import islice

from flowledger.simulator.world import Order, SimulatedRun


def cut_page(
    rows: Sequence[SimulatedRun], order: Order, page: int, limit: int, shuffler: random.Random
) -> list[SimulatedRun]:
    """Give one page, newest first; rows of the same second come in a new order for every call.

    ``rows`` are oldest first.  That is why page numbers lose rows: each page sees another order.
    """
    newest = len(rows) - (page - 1) * limit
    if newest <= 0:
        return []
    oldest = max(0, newest - limit)
    low = bisect_left(rows, order(rows[oldest]), key=order)
    high = bisect_right(rows, order(rows[newest - 1]), key=order)
    tied = [(order(row), shuffler.random(), row) for row in rows[low:high]]
    tied.sort(key=lambda entry: (-entry[0], entry[1]))
    return [row for _, _, row in tied[high - newest : high - oldest]]


def cut_newest(
    rows: Sequence[SimulatedRun], wanted: Callable[[SimulatedRun], bool], limit: int
) -> tuple[list[SimulatedRun], bool]:
    """Give the newest wanted rows, newest first, and whether more follow; ``rows`` are oldest first."""
    found = list(islice(filter(wanted, reversed(rows)), limit + 1))
    return found[:limit], len(found) > limit
