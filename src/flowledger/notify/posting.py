"""One POST to a robot or receiver: the only place that speaks HTTP, and what its answer means."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from flowledger.errors import ChannelBusyError, FlowledgerError, MessageRefusedError, SettingsError
from flowledger.http import errors as http_errors
from flowledger.http.errors import CONNECTION_ERRORS, FailureKind, classify
from flowledger.http.session import HttpOptions, HttpSession, encoded, proxy_variable

DEADLINE_S = 20.0
CONNECT_S = 10.0
MAX_BYTES = 64 * 2**10
"""Robots answer with a line; more than this is something else."""
JSON_TYPE = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered, by whom: ``place`` is all of the address that a message may show."""

    place: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def place_of(url: str) -> str:
    """Return scheme and host of an address; the rest holds its key, which no message may show."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else "an address without a host"


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    deadline_s: float | None = None,
    reads_body: bool = True,
) -> Reply:
    """Send one POST and read its whole answer, whatever its status; a redirection is not followed.

    Where only the status counts, the body is neither read nor waited for.

    :raises ChannelBusyError: when no complete answer came within the deadline (``DEADLINE_S``);
        MessageRefusedError: when the address is none.
    """
    limit_s = DEADLINE_S if deadline_s is None else deadline_s
    options = HttpOptions(limit_s, CONNECT_S, MAX_BYTES, pool_size=1)
    try:
        address = encoded(url)
        with HttpSession(address, options) as session:
            reply = session.send("POST", address, headers, body, reads_body=reads_body)
    except SettingsError as error:
        failure: FlowledgerError = ChannelBusyError(f"{place_of(url)}: {error}")
    except CONNECTION_ERRORS as error:
        failure = _failure_of(error, url, limit_s)
    else:
        if reply.is_cut:
            raise ChannelBusyError(f"{place_of(url)}: an answer of more than {MAX_BYTES:,} bytes was cut off")
        return Reply(place_of(url), reply.status, reply.headers, reply.body)
    raise failure  # outside of the handler, so that nothing with the address is chained to it


def _failure_of(error: BaseException, url: str, limit_s: float) -> FlowledgerError:
    """Return our error for one of requests or urllib3; of the address it shows scheme and host alone."""
    failure = classify(error)
    place = place_of(url)
    if failure.kind is FailureKind.ADDRESS:
        return MessageRefusedError(
            f"{place}: requests cannot be sent to this address; check the channel's webhook or url"
        )
    reason = REASONS.get(failure.kind, f"the connection failed ({type(error).__name__})")
    return ChannelBusyError(
        f"{place}: {reason.format(host=_host(url), limit=limit_s, proxy=proxy_variable(url))}"
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


_PROXY = "check {proxy}, or name the host in NO_PROXY"
REASONS = {
    FailureKind.PROXY: f"the proxy refuses the connection; {_PROXY}",
    FailureKind.PROXY_ADDRESS: f"the proxy's address cannot be used; {_PROXY}",
    FailureKind.SOCKS: f"a SOCKS proxy is not supported (PySocks is not installed); {_PROXY}",
    FailureKind.CERTIFICATE: "the certificate is not trusted; name its authority in REQUESTS_CA_BUNDLE",
    FailureKind.UNKNOWN_NAME: "the name {host!r} cannot be resolved; check the address and the name server",
    FailureKind.NOT_CONNECTED: "no connection; check the address, the network and the firewall",
    FailureKind.CONNECT_TIMEOUT: f"no connection within {CONNECT_S:g} s; check network and firewall",
    FailureKind.DEADLINE: "no complete answer within {limit:g} s",
    FailureKind.TLS: "no secure connection; check whether the port speaks https",
    FailureKind.CUT_SHORT: "the connection broke before the answer was complete",
    FailureKind.GARBLED: "the answer is not what it claims to be",
}
"""Failures that may pass, as ``ChannelBusyError``."""


_LATER = frozenset({302, 303, 307, 408, 425, 429})
"""Besides 5xx; a temporary redirection is often a log-in page between us and the receiver."""


def check_status(reply: Reply) -> None:
    """Raise unless the status is 2xx.

    :raises ChannelBusyError: when trying later may help, with the wait that was requested;
        MessageRefusedError: when it will not.
    """
    status = reply.status
    if 200 <= status < 300:
        return
    if status in _LATER or status >= 500:
        raise ChannelBusyError(f"{reply.place}: HTTP {status}", retry_after_s=retry_after_s(reply))
    what = (
        "redirects elsewhere, which is not followed" if 300 <= status < 400 else "does not accept the message"
    )
    raise MessageRefusedError(f"{reply.place}: HTTP {status}: it {what}; check the channel's address and key")


def retry_after_s(reply: Reply) -> float | None:
    """Return the seconds to wait that an answer asks for, as a number or a date; None where it does not."""
    return http_errors.retry_after_s(reply.headers.get("Retry-After"), now=datetime.now(UTC))


def json_object(reply: Reply) -> Mapping[str, Any]:
    """Return the JSON object of an answer; empty where it is anything else."""
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
