"""Reads the log list's parameters and refuses bad ones with the words of each release."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, floor

from flowledger_simulator.exchange import AnsweredError, Request, refuse, refuse_payload
from flowledger_simulator.releases import Release

_YEAR = re.compile(r"\d{4}")
_MONTH = re.compile(r"\d{4}-\d{2}")
_MIDNIGHT = re.compile(r"(?P<date>.+[T ])24(?P<rest>(:?00){1,2}(\.0+)?)(?P<zone>Z|[+-].+)?")
_DIGITS = re.compile(r"\d+")
_DATED = re.compile(r"\d{4}-?\d{2}-?\d{2}.+")


def parse_instant(text: str) -> float:
    """Give the seconds since 1970 of an ISO 8601 text; without an offset it is UTC.

    :raises ValueError: with the text the server gives for it.
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
    """Checks parameters of one endpoint; ``model`` is the name the server's validation texts show."""

    request: Request
    release: Release
    model: str

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Read a whole number of an interval, the default where it was not sent."""
        text = self.request.query.get(name)
        if text is None:
            return default
        found = _WHOLE.fullmatch(text)
        if not found or (found[2] and not self.release.validates_with_pydantic):
            raise self._refusal(name, text, _NOT_WHOLE, f"{text} is not a valid integer")
        number = int(found[1])
        span = f"Invalid argument: {number}. argument must be within the range {low} - {high}"
        if number < low:
            raise self._refusal(name, text, ("greater_than_equal", f"greater than or equal to {low}"), span)
        if number > high:
            raise self._refusal(name, text, ("less_than_equal", f"less than or equal to {high}"), span)
        return number

    def choice(self, name: str, words: Sequence[str]) -> str | None:
        """Read one of some words, exactly as spelt; None where it was not sent."""
        text = self.request.query.get(name)
        if text is None or text in words:
            return text
        known = ", ".join(repr(word) for word in words[:-1]) + f" or {words[-1]!r}"
        old = f"The value {text!r} is not a valid choice for {name!r}."
        raise self._refusal(name, text, ("literal_error", known), old)

    def instant(self, name: str, whole: Callable[[float], int]) -> int | None:
        """Read a bound in whole seconds since 1970; None where it was not sent or is empty."""
        text = self.request.query.get(name)
        if not text:
            return None
        try:
            return whole(parse_instant(text))
        except ValueError as error:
            raise AnsweredError(refuse(400, "invalid_param", str(error))) from error

    def _refusal(self, name: str, text: str, rule: tuple[str, str], old: str) -> AnsweredError:
        if not self.release.validates_with_pydantic:
            return AnsweredError(refuse_payload({name: old}))
        kind, wanted = rule
        message = (
            f"1 validation error for {self.model}\n{name}\n"
            f"  Input should be {wanted}{_INT_TAIL if rule is _NOT_WHOLE else ''}"
            f" [type={kind}, input_value={text!r}, input_type=str]\n"
            f"    For further information visit https://errors.pydantic.dev/{self.release.pydantic}/v/{kind}"
        )
        return AnsweredError(refuse(400, "invalid_param", message))


_NOT_WHOLE = ("int_parsing", "a valid integer")
_INT_TAIL = ", unable to parse string as an integer"


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What is wanted of the log list; bounds are whole seconds since 1970, both inclusive."""

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
        before=checker.instant("created_at__before", floor),
        after=checker.instant("created_at__after", ceil),
        status=status,
        keyword=request.query.get("keyword", "")[:30],
        session_id=request.query.get("created_by_end_user_session_id", ""),
        account=request.query.get("created_by_account", ""),
        detailed=request.query.get("detail", "").lower() in {"true", "1", "yes", "on"},
    )
