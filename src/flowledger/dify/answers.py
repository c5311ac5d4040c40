"""One HTTP answer of Dify and what its status means, or the failure that took its place."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowledger import errors
from flowledger.http.errors import Failure, FailureKind, classify
from flowledger.http.session import Headers
from flowledger.http.urls import host_of, path_of
from flowledger.io.json_text import loads

EXCERPT_CHARACTERS = 300
BODY_CHARACTERS = 2000
BUSY_STATUSES = frozenset({408, 425, 429})
SECRET_HEADERS = frozenset({"authorization", "cookie", "x-csrf-token"})
SHORTEST_SECRET = 6
"""Shorter strings are left in messages: replacing "1" or "en" would make them unreadable."""
"""Shorter strings are left in messages: replacing "1" or "en" would make them unreadable."""
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent to the server and must not show in a message, should the server echo it."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    strings: Collection[str] = field(default=(), repr=False)

    def secrets(self) -> tuple[str, ...]:
        """Return them, longest first: keys, cookies, the strings of a login, each also as JSON writes it."""
        texts = set(self.strings)
        for name, value in self.headers.items():
            if name.lower() in SECRET_HEADERS:
                for piece in value.split("; "):
                    texts |= {piece.rpartition(" ")[2], piece.partition("=")[2]}
        texts |= {json.dumps(text)[1:-1] for text in texts}
        # Longest first: a secret that contains another is replaced whole.
        return tuple(sorted((text for text in texts if len(text) >= SHORTEST_SECRET), key=len, reverse=True))


@dataclass(frozen=True)
class Answer:
    """One complete HTTP answer; ``headers`` ignore case, ``body`` is decompressed."""

    status: int
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    url: str
    sent: Sent = field(default_factory=Sent, repr=False)

    @property
    def document(self) -> Any:
        """The body as JSON, parsed once.

        :raises SourceGarbledError: when it is not JSON: a proxy's page, a cut text.
        """
        # cached_property of Python 3.11 would let all threads wait for one lock.
        cache = self.__dict__
        if "parsed" not in cache:
            cache["parsed"] = self._parse()
        return cache["parsed"]

    def _parse(self) -> Any:
        try:
            return loads(self.body)
        except (ValueError, RecursionError) as error:
            raise errors.SourceGarbledError(
                f"{self.place} answered {self.status} with {self._kind()} instead of JSON: "
                f"{excerpt(self)!r}; check whether a proxy or a login page answers in place of Dify"
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
            raise errors.SourceGarbledError(
                f"{self.place} answered {self.status} without the fields of its data "
                f"({', '.join(absent) or 'an error object'}): {excerpt(self)!r}"
            )

    def _kind(self) -> str:
        if not self.body:
            return "an empty body"
        return "HTML" if "html" in self.headers.get("Content-Type", "") else "a cut or foreign text"


def refusal(
    answer: Answer, method: str, *, retry_after_s: float | None = None
) -> errors.FlowledgerError | None:
    """Return the error that a status means; None for success."""
    status = answer.status
    if 200 <= status < 300:
        return None
    words = excerpt(answer)
    place = f"{method} {answer.place}"
    body = _redact(answer.body.decode(errors="replace"), answer.sent)[:BODY_CHARACTERS]
    if status == 401:
        text = f"{place}: the credentials were refused (401): {words}"
        return errors.AuthenticationError(text, status=status, body=body)
    if status in BUSY_STATUSES or status >= 500:
        text = f"{place}: the server cannot answer now ({status}): {words}"
        return errors.SourceBusyError(text, status=status, retry_after_s=retry_after_s)
    if status < 400:
        return errors.SourceGarbledError(f"{place}: an answer without data ({status}): {words}")
    return errors.SourceRefusedError(f"{place}: refused ({status}): {words}", status=status, body=body)


def excerpt(answer: Answer) -> str:
    """Return the server's own words on one line, at most 300 characters, without the secrets."""
    text = _redact(_words(answer.body), answer.sent)
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT_CHARACTERS else line[:EXCERPT_CHARACTERS] + "…"


def _words(body: bytes) -> str:
    start = body[: 20 * EXCERPT_CHARACTERS].decode(errors="replace")
    title = _TITLE.search(start)  # a page's markup says nothing; its title often names the proxy
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


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a request was sent to: the host, its proxy's host ("" for none), the limits in seconds.

    ``proxy_variable`` is the name of what sets the proxy.
    """

    host: str
    proxy: str = ""
    proxy_variable: str = "HTTPS_PROXY or HTTP_PROXY"
    connect_s: float = 10.0
    deadline_s: float = 60.0


PASSING = {
    FailureKind.UNKNOWN_NAME: "this name cannot be resolved; check DIFY_BASE_URL and the name server",
    FailureKind.CONNECT_TIMEOUT: "no connection within {connect_s:g} s; check network, firewall and port",
    FailureKind.CUT_SHORT: "the connection broke before the answer was complete",
    FailureKind.NOT_CONNECTED: "no connection ({reason}); check that Dify runs and that DIFY_BASE_URL names "
    "its address and port",
    FailureKind.TLS: "no secure connection ({error}); check whether the port speaks https",
    FailureKind.PROXY: "the proxy {proxy} refuses the connection{password}; check "
    "{proxy_variable}, or name the host in NO_PROXY",
    FailureKind.UNREACHABLE: "the connection failed ({error})",
}
"""Failures that another try may overcome, as ``SourceUnreachableError``."""

MISTAKEN_SETTINGS = {
    FailureKind.ADDRESS: "DIFY_BASE_URL: {host!r} is not an address that requests can be sent to",
    FailureKind.CERTIFICATE: "DIFY_CA_BUNDLE: the certificate of {host} is not trusted ({verdict}); "
    "name the file of the authority that signed it",
    FailureKind.PROXY_ADDRESS: "{proxy_variable}: not the address of a proxy that can be used",
    FailureKind.SOCKS: "{proxy_variable}: a SOCKS proxy is not supported (the package PySocks is not "
    "installed); name one that speaks HTTP, or the host in NO_PROXY",
}
"""Failures that stay until somebody changes a setting."""


def failure_of(error: BaseException, attempt: Attempt) -> errors.FlowledgerError:
    """Return our error for one of requests or urllib3, naming the host and what to do."""
    failure = classify(error)
    host, kind, name = attempt.host, failure.kind, type(failure.cause).__name__
    if kind is FailureKind.DEADLINE:
        return errors.DeadlineExceededError(
            f"{host}: no complete answer in time ({attempt.connect_s:g} s to connect, "
            f"{attempt.deadline_s:g} s in all); the server is overloaded or hangs (DIFY_REQUEST_DEADLINE_S)"
        )
    if kind is FailureKind.GARBLED:
        return errors.SourceGarbledError(f"{host}: the answer breaks the rules of HTTP ({name})")
    facts = {
        "connect_s": attempt.connect_s,
        "error": name,
        "host": host,
        "password": " and requires a password" if _requires_password(failure) else "",
        "proxy": attempt.proxy or "(unnamed)",
        "proxy_variable": attempt.proxy_variable,
        "reason": _refusal_of_connection(failure),
        "verdict": getattr(failure.cause, "verify_message", ""),
    }
    if kind in MISTAKEN_SETTINGS:
        return errors.SettingsError([MISTAKEN_SETTINGS[kind].format(**facts)])
    return errors.SourceUnreachableError(f"{host}: {PASSING[kind].format(**facts)}")


def _requires_password(failure: Failure) -> bool:
    return failure.kind is FailureKind.PROXY and "407" in str(failure.cause)


def _refusal_of_connection(failure: Failure) -> str:
    system = failure.cause.__cause__
    return (system.strerror if isinstance(system, OSError) else None) or "refused"
