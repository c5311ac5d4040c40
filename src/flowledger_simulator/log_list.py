"""The log list that the service API and the console share: its parameters, filters and pages.

Parameters and the texts that refuse bad ones are those of each release (docs/dify-api.md "The log list").
"""

import json
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import ceil, floor

from flowledger_simulator.http_messages import (
    RefusedError,
    Request,
    Response,
    error_response,
    internal_error,
    json_response,
    old_parameter_error,
)
from flowledger_simulator.payloads import log_row
from flowledger_simulator.releases import Release
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

_YEAR = re.compile(r"\d{4}")
_MONTH = re.compile(r"\d{4}-\d{2}")
_MIDNIGHT = re.compile(r"(?P<date>.+[T ])24(?P<rest>(:?00){1,2}(\.0+)?)(?P<zone>Z|[+-].+)?")
_DIGITS = re.compile(r"\d+")
_DATED = re.compile(r"\d{4}-?\d{2}-?\d{2}.+")


def parse_instant(text: str) -> float:
    """Return the seconds since 1970 of an ISO 8601 text; without an offset it is UTC.

    :raises ValueError: with the server's message.
    """
    try:
        moment = _parse(text)
    except ValueError as error:
        raise ValueError(_explain(text)) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _parse(text: str) -> datetime:
    if _YEAR.fullmatch(text):
        return datetime.fromisoformat(f"{text}-01-01")
    if _MONTH.fullmatch(text):
        return datetime.fromisoformat(f"{text}-01")
    if midnight := _MIDNIGHT.fullmatch(text):
        same_day = f"{midnight['date']}00{midnight['rest']}{midnight['zone'] or ''}"
        return datetime.fromisoformat(same_day) + timedelta(days=1)
    return datetime.fromisoformat(text)


def _explain(text: str) -> str:
    if _DIGITS.fullmatch(text):
        return "ISO time too short"
    if _DATED.fullmatch(text):
        return "Unused components in ISO string"
    return f"invalid literal for int() with base 10: {text[:4].encode()!r}"


SERVICE_STATUSES = ("succeeded", "failed", "stopped")
CONSOLE_STATUSES = (*SERVICE_STATUSES, "running", "partial-succeeded", "paused", "scheduled")
CURSOR_STATUSES = ("running", *SERVICE_STATUSES, "partial-succeeded")

_WHOLE = re.compile(r"\s*([+-]?\d+)(\.0*)?\s*")


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks parameters of one endpoint; ``model`` is the name in the server's validation messages."""

    request: Request
    release: Release
    model: str

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Read a whole number of an interval, the default when it was not sent."""
        text = self.request.query.get(name)
        if text is None:
            return default
        match = _WHOLE.fullmatch(text)
        if not match or (match[2] and not self.release.validates_with_pydantic):
            raise self._refusal(name, text, _NOT_WHOLE, f"{text} is not a valid integer")
        number = int(match[1])
        span = f"Invalid argument: {number}. argument must be within the range {low} - {high}"
        if number < low:
            raise self._refusal(name, text, ("greater_than_equal", f"greater than or equal to {low}"), span)
        if number > high:
            raise self._refusal(name, text, ("less_than_equal", f"less than or equal to {high}"), span)
        return number

    def choice(self, name: str, words: Sequence[str]) -> str | None:
        """Read one of some words, exactly as spelt; None when it was not sent."""
        text = self.request.query.get(name)
        if text is None or text in words:
            return text
        allowed = ", ".join(repr(word) for word in words[:-1]) + f" or {words[-1]!r}"
        old = f"The value {text!r} is not a valid choice for {name!r}."
        raise self._refusal(name, text, ("literal_error", allowed), old)

    def instant(self, name: str, whole: Callable[[float], int]) -> int | None:
        """Read a bound in whole seconds since 1970; None when it was not sent or is empty."""
        text = self.request.query.get(name)
        if not text:
            return None
        try:
            return whole(parse_instant(text))
        except ValueError as error:
            raise RefusedError(error_response(400, "invalid_param", str(error))) from error

    def _refusal(self, name: str, text: str, rule: tuple[str, str], old: str) -> RefusedError:
        if not self.release.validates_with_pydantic:
            return RefusedError(old_parameter_error({name: old}))
        kind, expected = rule
        message = (
            f"1 validation error for {self.model}\n{name}\n"
            f"  Input should be {expected}{_INT_TAIL if rule is _NOT_WHOLE else ''}"
            f" [type={kind}, input_value={text!r}, input_type=str]\n"
            f"    For further information visit https://errors.pydantic.dev/{self.release.pydantic}/v/{kind}"
        )
        return RefusedError(error_response(400, "invalid_param", message))


_NOT_WHOLE = ("int_parsing", "a valid integer")
_INT_TAIL = ", unable to parse string as an integer"


@dataclass(frozen=True, slots=True)
class LogQuery:
    """The log list's parameters; bounds are whole seconds since 1970, both inclusive."""

    page: int
    limit: int
    after: int | None
    before: int | None
    status: str | None = None
    keyword: str = ""
    session_id: str = ""
    account: str = ""
    detailed: bool = False


def read_log_query(
    request: Request, release: Release, statuses: Sequence[str] = SERVICE_STATUSES
) -> LogQuery:
    """Read all parameters.

    :raises AnsweredError: with the 400 of the first bad one.
    """
    checker = Checker(request, release, "WorkflowLogQuery")
    status = checker.choice("status", statuses)
    page = checker.whole("page", 1, 1, 99_999)
    limit = checker.whole("limit", 20, 1, 100)
    return LogQuery(
        page=page,
        limit=limit,
        # Log times are whole seconds: a bound with a fraction moves inwards.
        before=checker.instant("created_at__before", floor),
        after=checker.instant("created_at__after", ceil),
        status=status,
        keyword=request.query.get("keyword", "")[:30],  # the server reads no more of it
        session_id=request.query.get("created_by_end_user_session_id", ""),
        account=request.query.get("created_by_account", ""),
        detailed=request.query.get("detail", "").lower() in {"true", "1", "yes", "on"},
    )


def cut_page(
    rows: Sequence[SimulatedRun], order: Order, page: int, limit: int, shuffler: random.Random
) -> list[SimulatedRun]:
    """Return one page, newest first; rows of the same second come in a new order for every call.

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
    rows: Sequence[SimulatedRun], matches: Callable[[SimulatedRun], bool], limit: int
) -> tuple[list[SimulatedRun], bool]:
    """Return the newest rows that match, newest first, and whether more follow; ``rows`` are oldest first."""
    newest = list(islice(filter(matches, reversed(rows)), limit + 1))
    return newest[:limit], len(newest) > limit


Test = Callable[[SimulatedRun], bool]


def list_logs(world: World, release: Release, app: SimulatedApp, query: LogQuery) -> Response:
    """Return one page; ``total`` counts all rows that fit, wherever they lie."""
    order = by_start if release.lists_at_start else by_end
    tests = _tests(world, release, query)
    # Chatflow runs get no log row on any release.
    if app.mode != "workflow":
        rows: list[SimulatedRun] = []
    else:
        rows = world.between(app.id, order, query.after, query.before)
    for test in tests:
        rows = list(filter(test, rows))
    page = cut_page(rows, order, query.page, query.limit, world.shuffler)
    return json_response(
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
        # The server joins the end user twice under one alias, which its database refuses.
        raise RefusedError(internal_error())
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
        raise RefusedError(error_response(400, "invalid_param", f"Account not found: {email}"))


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
    """Return a regular expression that does what the server's ILIKE does with the keyword."""
    if release.escapes_keyword:
        return re.escape(keyword)
    # These releases search for the keyword as it is stored, with \uXXXX escapes, and leave wildcards alone.
    stored = json.dumps(keyword)[1:-1]
    return re.escape(stored).replace("%", ".*").replace("_", ".")
