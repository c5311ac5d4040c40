"""One HTTP answer, and what its status means."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from urllib3 import HTTPHeaderDict

from flowledger.errors import (
    AuthenticationError,
    FlowledgerError,
    SourceBusyError,
    SourceGarbledError,
    SourceRefusedError,
)
from flowledger.http.urls import host_of, path_of
from flowledger.io.json_text import loads

SAID_CHARACTERS = 300
BODY_CHARACTERS = 2000
BUSY_STATUSES = frozenset({408, 425, 429})
SECRET_HEADERS = frozenset({"authorization", "cookie", "x-csrf-token"})
SHORTEST_SECRET = 6
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Sent:
    """What was said to the server and must not come back in a message, should it echo that."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    strings: Collection[str] = field(default=(), repr=False)

    def secrets(self) -> tuple[str, ...]:
        """Collect them, longest first: keys, cookies, the strings of a login, each also as JSON writes it."""
        found = set(self.strings)
        for name, value in self.headers.items():
            if name.lower() in SECRET_HEADERS:
                for piece in value.split("; "):
                    found |= {piece.rpartition(" ")[2], piece.partition("=")[2]}
        found |= {json.dumps(text)[1:-1] for text in found}
        return tuple(sorted((text for text in found if len(text) >= SHORTEST_SECRET), key=len, reverse=True))


@dataclass(frozen=True)
class Answer:
    """One complete HTTP answer; ``headers`` ignore case, ``body`` is decompressed."""

    status: int
    headers: HTTPHeaderDict = field(repr=False)
    body: bytes = field(repr=False)
    url: str
    sent: Sent = field(default_factory=Sent, repr=False)

    @property
    def document(self) -> Any:
        """The body as JSON, parsed once.

        :raises SourceGarbledError: when it is not JSON: a proxy's page, a cut text.
        """
        # cached_property of Python 3.11 would let all threads wait for one lock.
        held = self.__dict__
        if "parsed" not in held:
            held["parsed"] = self._parse()
        return held["parsed"]

    def _parse(self) -> Any:
        try:
            return loads(self.body)
        except (ValueError, RecursionError) as error:
            raise SourceGarbledError(
                f"{self.place} answered {self.status} with {self._kind()} instead of JSON: {said(self)!r}; "
                "see whether a proxy or a login page stands before Dify"
            ) from error

    @property
    def place(self) -> str:
        """Host and path, for messages."""
        return f"{host_of(self.url)}{path_of(self.url)}"

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies it sets, by name, whatever their domain or Secure flag; deleted ones left out."""
        pairs = (line.partition(";")[0].partition("=") for line in self.headers.getlist("Set-Cookie"))
        return {name.strip(): value.strip() for name, _, value in pairs if value.strip()}

    def require(self, fields: Collection[str]) -> None:
        """Check that the body is JSON data with these fields.

        :raises SourceGarbledError: otherwise; an error object is never taken for data.
        """
        document = self.document
        if not fields and not _is_error_object(document):
            return
        absent = [name for name in fields if not isinstance(document, dict) or name not in document]
        if absent or not fields:
            raise SourceGarbledError(
                f"{self.place} answered {self.status} without the fields of its data "
                f"({', '.join(absent) or 'an error object'}): {said(self)!r}"
            )

    def _kind(self) -> str:
        if not self.body:
            return "an empty body"
        return "HTML" if "html" in self.headers.get("Content-Type", "") else "a cut or foreign text"


def refusal(answer: Answer, method: str, *, retry_after_s: float | None = None) -> FlowledgerError | None:
    """Decide what a status means; None for success."""
    status = answer.status
    if 200 <= status < 300:
        return None
    words = said(answer)
    place = f"{method} {answer.place}"
    body = _redact(answer.body.decode(errors="replace"), answer.sent)[:BODY_CHARACTERS]
    if status == 401:
        text = f"{place}: the credentials were refused (401): {words}"
        return AuthenticationError(text, status=status, body=body)
    if status in BUSY_STATUSES or status >= 500:
        text = f"{place}: the server cannot answer now ({status}): {words}"
        return SourceBusyError(text, status=status, retry_after_s=retry_after_s)
    if status < 400:
        return SourceGarbledError(f"{place}: an answer without data ({status}): {words}")
    return SourceRefusedError(f"{place}: refused ({status}): {words}", status=status, body=body)


def said(answer: Answer) -> str:
    """Give the server's own words on one line, at most 300 characters, without the secrets."""
    text = _redact(_words(answer.body), answer.sent)
    line = " ".join(text.split())
    return line if len(line) <= SAID_CHARACTERS else line[:SAID_CHARACTERS] + "…"


def _words(body: bytes) -> str:
    start = body[: 20 * SAID_CHARACTERS].decode(errors="replace")
    title = _TITLE.search(start)
    if title:
        return f"page {title.group(1)}"
    try:
        document = loads(body)
    except (ValueError, RecursionError):
        return start
    if not isinstance(document, dict):
        return start
    words = [str(document[key]) for key in ("code", "message") if document.get(key)]
    return ": ".join(words) or start


def _redact(text: str, sent: Sent) -> str:
    for secret in sent.secrets():
        text = text.replace(secret, "***")
    return text


def _is_error_object(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    status = document.get("status")
    return isinstance(status, int) and status >= 400 and "message" in document and "code" in document
