"""Query parameters, typed and bounded, and the cursors between pages."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any

import orjson
from fastapi import HTTPException, Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from flowledger.domain.access_keys import Caller
from flowledger.domain.history import Place, RunQuery
from flowledger.domain.runs import AppKey, RunStatus

MAX_CURSOR = 2000
_DIGEST_SIZE = 16
_PURPOSE = b"flowledger-1"


def write_cursor(place: Place | None, scope: Mapping[str, Any]) -> str | None:
    """Return a cursor to where a page ended, valid for the same scope only; None where nothing follows."""
    if place is None:
        return None
    text = orjson.dumps([place.at.isoformat(), place.tie])
    return _encoded(_digest(text, scope) + text)


def read_cursor(cursor: str | None, scope: Mapping[str, Any]) -> Place | None:
    """Return where a page begins; None for the first one.

    :raises HTTPException: 400, for a cursor that this API did not write for the same scope.
    """
    if cursor is None:
        return None
    try:
        whole = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        digest, text = whole[:_DIGEST_SIZE], whole[_DIGEST_SIZE:]
        # Python's decoder skips characters that are not base64: only the spelling that was written counts.
        if digest == _digest(text, scope) and _encoded(whole) == cursor:
            at, tie = orjson.loads(text)
            return Place(datetime.fromisoformat(at).astimezone(UTC), tie)
    except (Error, ValueError):
        pass  # answered below, like any other cursor that is not ours
    raise HTTPException(
        400, "this cursor was not given for these filters and this key: begin without one, and change nothing"
    )


def _encoded(whole: bytes) -> str:
    return urlsafe_b64encode(whole).decode().rstrip("=")


def _digest(text: bytes, scope: Mapping[str, Any]) -> bytes:
    """Return what ties a cursor to its filters and key; no secret: a forged one reaches no other apps."""
    filters = orjson.dumps(scope, default=str, option=orjson.OPT_SORT_KEYS)
    return blake2b(filters + b"\0" + text, digest_size=_DIGEST_SIZE, person=_PURPOSE).digest()


FIRST_YEAR, LAST_YEAR = 1970, 9998
"""A year short of what ``datetime`` can hold, so that any zone and any span can still be added."""
PLAIN = r"^[^\x00-\x1f\x7f]+$"
RECORD_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
EXAMPLE_APP = "dify:5ac73990-ee17-4aba-993c-a473e2fa2a90"


def _utc(instant: datetime) -> datetime:
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise ValueError(f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    return instant.astimezone(UTC)


Instant = Annotated[
    AwareDatetime, AfterValidator(_utc), Field(description="ISO 8601 with an offset; + in it is written %2B.")
]
Word = Annotated[str, Field(min_length=1, max_length=255, pattern=PLAIN)]
Source = Annotated[str, Path(min_length=1, max_length=32, pattern=r"^[a-z][a-z0-9_-]*$", examples=["dify"])]
Id = Annotated[str, Path(min_length=1, max_length=255, pattern=PLAIN)]
RecordId = Annotated[str, Path(pattern=RECORD_ID, examples=["wf-nightly"])]
Seconds = Annotated[
    Decimal, Field(ge=0, le=1_000_000_000, decimal_places=6, description="Seconds, inclusive.")
]


class QueryParams(BaseModel):
    """Parameters of a query; unknown ones are refused, since a filter that does nothing shows too much."""

    model_config = ConfigDict(extra="forbid")


class PageParams(QueryParams):
    """Which page of a list."""

    limit: int = Field(default=50, ge=1, le=100, description="At most so many.")
    cursor: str | None = Field(
        default=None, min_length=1, max_length=MAX_CURSOR, description="`next_cursor` of the page before."
    )

    def cursor_scope(self, caller: Caller, **more: Any) -> dict[str, Any]:
        """Return what a cursor of this list is valid for: the list, its filters, and the apps of the key."""
        apps = None if caller.apps is None else sorted(map(str, caller.apps))
        filters = self.model_dump(mode="json", exclude={"limit", "cursor"}, exclude_none=True)
        return {"list": type(self).__name__, **filters, "reach": apps, **more}


class TimeParams(QueryParams):
    """Between which times."""

    since: Instant | None = Field(default=None, description="From here on, included; with an offset.")
    before: Instant | None = Field(default=None, description="Up to here, excluded; with an offset.")


class RunParams(TimeParams):
    """Which runs."""

    workflow: list[Word] = Field(default=[], max_length=50, description="Ids of apps, in any source.")
    status: list[RunStatus] = Field(default=[], max_length=8, description="Words of the ledger.")
    user: str = Field(
        default="", max_length=255, pattern=r"^[^\x00]*$",
        description="Exactly the id, name, e-mail or session id of who started the run.",
    )  # fmt: skip
    min_duration: Seconds | None = None
    max_duration: Seconds | None = None
    text: str = Field(
        default="", max_length=200, pattern=r"^[^\x00]*$",
        description="In run id, error, the starter's name or session id; A to Z in either case.",
    )  # fmt: skip

    def query(self, **more: Any) -> RunQuery:
        """Return the query to the ledger."""
        return RunQuery(
            workflows=tuple(self.workflow),
            statuses=tuple(self.status),
            listed_from=self.since,
            listed_before=self.before,
            user=self.user,
            at_least_s=self.min_duration,
            at_most_s=self.max_duration,
            text=self.text,
            **more,
        )


class AppParams(QueryParams):
    """Which apps, and of which sources."""

    source: list[Word] = Field(default=[], max_length=10, examples=[["dify"]])
    app: list[Word] = Field(
        default=[],
        max_length=50,
        description="As `source:id`; several mean any of them.",
        examples=[[EXAMPLE_APP]],
    )

    def apps_for(self, caller: Caller) -> tuple[AppKey, ...] | None:
        """Return the requested apps that the caller may see; None for all.

        :raises HTTPException: 422, for one that is not written ``source:id``.
        """
        return caller.within_reach(tuple(map(app_key, self.app)) if self.app else None)


def app_key(text: str) -> AppKey:
    """Return the app that is written ``source:id``.

    :raises HTTPException: 422, when it is not written so.
    """
    source, colon, app_id = text.partition(":")
    if not (source and colon and app_id):
        raise HTTPException(422, f"app {text[:60]!r} must be source:id, such as {EXAMPLE_APP}")
    return AppKey(source, app_id)
