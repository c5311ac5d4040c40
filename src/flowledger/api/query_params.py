"""What callers may ask by: the words of the query, typed and bounded, and cursors between pages."""

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

LONGEST = 2000
_SIZE = 16
_PURPOSE = b"flowledger-1"


def write_cursor(place: Place | None, question: Mapping[str, Any]) -> str | None:
    """Write where a page of an answer to a question ended; None where nothing follows."""
    if place is None:
        return None
    text = orjson.dumps([place.at.isoformat(), place.tie])
    return urlsafe_b64encode(_seal(text, question) + text).decode().rstrip("=")


def read_cursor(cursor: str | None, question: Mapping[str, Any]) -> Place | None:
    """Read a cursor back; None asks for the first page.

    :raises HTTPException: 400, for one that this API did not write for the same question.
    """
    if cursor is None:
        return None
    try:
        whole = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        seal, text = whole[:_SIZE], whole[_SIZE:]
        if seal == _seal(text, question) and write_back(whole) == cursor:
            at, tie = orjson.loads(text)
            return Place(datetime.fromisoformat(at).astimezone(UTC), tie)
    except (Error, ValueError):
        pass
    raise HTTPException(
        400, "this cursor was not given for these filters and this key: begin without one, and change nothing"
    )


def write_back(whole: bytes) -> str:
    """Give the one spelling of a cursor."""
    return urlsafe_b64encode(whole).decode().rstrip("=")


def _seal(text: bytes, question: Mapping[str, Any]) -> bytes:
    asked = orjson.dumps(question, default=str, option=orjson.OPT_SORT_KEYS)
    return blake2b(asked + b"\0" + text, digest_size=_SIZE, person=_PURPOSE).digest()


FIRST_YEAR, LAST_YEAR = 1970, 9998
PLAIN = r"^[^\x00-\x1f\x7f]+$"
SOME_APP = "dify:5ac73990-ee17-4aba-993c-a473e2fa2a90"


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
RecordId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$", examples=["wf-nightly"])]
Seconds = Annotated[
    Decimal, Field(ge=0, le=1_000_000_000, decimal_places=6, description="Seconds, inclusive.")
]


class Asked(BaseModel):
    """Words of a query; one that is not known is refused, since a filter that does nothing shows too much."""

    model_config = ConfigDict(extra="forbid")


class Paged(Asked):
    """Which page of a list."""

    limit: int = Field(default=50, ge=1, le=100, description="At most so many.")
    cursor: str | None = Field(
        default=None, min_length=1, max_length=LONGEST, description="`next_cursor` of the page before."
    )

    def question(self, caller: Caller, **more: Any) -> dict[str, Any]:
        """Give what a cursor of this list belongs to: everything asked for and the reach of the key."""
        apps = None if caller.apps is None else sorted(map(str, caller.apps))
        asked = self.model_dump(mode="json", exclude={"limit", "cursor"}, exclude_none=True)
        return {"list": type(self).__name__, **asked, "reach": apps, **more}


class InTime(Asked):
    """Which stretch of time."""

    since: Instant | None = Field(default=None, description="From here on, included; with an offset.")
    before: Instant | None = Field(default=None, description="Up to here, excluded; with an offset.")


class RunWords(InTime):
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
        """Give the question to the ledger."""
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


class SomeApps(Asked):
    """Which apps, and of which sources."""

    source: list[Word] = Field(default=[], max_length=10, examples=[["dify"]])
    app: list[Word] = Field(
        default=[],
        max_length=50,
        description="As `source:id`; several mean any of them.",
        examples=[[SOME_APP]],
    )

    def apps(self, caller: Caller) -> tuple[AppKey, ...] | None:
        """Give the apps that are meant and within reach; None for all.

        :raises HTTPException: 422, for one that is not written ``source:id``.
        """
        return caller.among(tuple(map(app_key, self.app)) if self.app else None)


def app_key(text: str) -> AppKey:
    """Read an app as ``source:id``.

    :raises HTTPException: 422, when it is not written so.
    """
    source, colon, app_id = text.partition(":")
    if not (source and colon and app_id):
        raise HTTPException(422, f"app {text[:60]!r} must be source:id, such as {SOME_APP}")
    return AppKey(source, app_id)
