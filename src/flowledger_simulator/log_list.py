"""The log list that the service API and the console share, and pages cut out of lists as the server does."""

import json
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import islice

from flowledger_simulator.exchange import AnsweredError, Response, answer, break_down, refuse
from flowledger_simulator.log_query import LogQuery
from flowledger_simulator.releases import Release
from flowledger_simulator.rows import log_row
from flowledger_simulator.world import (
    Account,
    EndUser,
    Order,
    SimulatedApp,
    SimulatedRun,
    World,
    by_end,
    by_start,
)


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


Test = Callable[[SimulatedRun], bool]


def list_logs(world: World, release: Release, app: SimulatedApp, query: LogQuery) -> Response:
    """Give one page; ``total`` counts all rows that fit, wherever they lie."""
    order = by_start if release.lists_at_start else by_end
    tests = _tests(world, release, query)
    if app.mode != "workflow":
        rows: list[SimulatedRun] = []
    else:
        rows = world.between(app.id, order, query.after, query.before)
    for test in tests:
        rows = list(filter(test, rows))
    page = cut_page(rows, order, query.page, query.limit, world.shuffler)
    return answer(
        {
            "page": query.page,
            "limit": query.limit,
            "total": len(rows),
            "has_more": len(rows) > query.page * query.limit,
            "data": [log_row(run, release, order, detailed=query.detailed) for run in page],
        }
    )


def _tests(world: World, release: Release, query: LogQuery) -> list[Test]:
    if query.session_id and query.keyword:
        raise AnsweredError(break_down())
    tests: list[Test] = []
    if query.status:
        tests.append(lambda run: not run.gone and run.status == query.status)
    if query.session_id:
        tests.append(
            lambda run: isinstance(run.author, EndUser) and run.author.session_id == query.session_id
        )
    if query.account:
        _check_account(world, release, query.account)
        tests.append(lambda run: isinstance(run.author, Account) and run.author.email == query.account)
    if query.keyword:
        tests.append(_mentions(release, query.keyword))
    return tests


def _check_account(world: World, release: Release, email: str) -> None:
    if release.refuses_unknown_account and email not in {account.email for account in world.accounts}:
        raise AnsweredError(refuse(400, "invalid_param", f"Account not found: {email}"))


def _mentions(release: Release, keyword: str) -> Test:
    pattern = re.compile(_pattern(release, keyword), re.IGNORECASE | re.DOTALL)

    def mentions(run: SimulatedRun) -> bool:
        if run.gone:
            return False
        if run.id == keyword or (isinstance(run.author, EndUser) and pattern.search(run.author.session_id)):
            return True
        stored = (run.content.inputs(run), run.content.outputs(run))
        return any(pattern.search(json.dumps(value)) for value in stored if value is not None)

    return mentions


def _pattern(release: Release, keyword: str) -> str:
    """Give a regular expression that does what the server's ILIKE does with the keyword."""
    if release.escapes_keyword:
        return re.escape(keyword)
    stored = json.dumps(keyword)[1:-1]
    return re.escape(stored).replace("%", ".*").replace("_", ".")
