"""API_CALL: one request to an API, inline or from the registry of APIs.

``config`` has ``method, url, headers, query, body, parameters, timeout``, or ``api_id`` for an entry of the
registry whose fields these complete.  ``parameters`` fill ``{names}`` of the address; what is left is the
query of a GET, HEAD or DELETE, and else the body.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from flowledger.domain.json_values import bounded
from flowledger.domain.runs import Json
from flowledger.domain.texts import mend
from flowledger.domain.workflows import templates
from flowledger.domain.workflows.steps import ErrorType
from flowledger.errors import UsageError
from flowledger.http.async_calls import AsyncCaller, CallError, CallReply
from flowledger.http.errors import retry_after_s
from flowledger.io.json_text import dumps_strict, loads
from flowledger.nodes.options import ANYTHING, OBJECT, TEXT, Schema, handled
from flowledger.workflow_ports import NodeAnswer, NodeCall, StoredApi

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
TIMEOUT_S = 30.0
LONGEST_TIMEOUT_S = 3_600.0
EXCERPT = 200
"""Characters of the body in the error of a refused call."""
_IN_QUERY = ("GET", "HEAD", "DELETE")
_PLACE = re.compile(r"\{(\w+)\}")
_JSON = re.compile(r"^application/([\w.+-]+\+)?json\b|^text/json\b", re.IGNORECASE)
_FORM = "application/x-www-form-urlencoded"

Apis = Callable[[int], StoredApi | None]


class InvalidCallError(UsageError):
    """A call's config cannot be sent."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    timeout_s: float


def no_apis(_: int) -> StoredApi | None:
    """Return None: a registry without entries."""
    return None


@dataclass(frozen=True)
class ApiCallNode:
    """Calls an API; a status of 400 and more fails the step."""

    config_schema: ClassVar[Schema] = handled(
        api_id={"type": "integer"},
        method=TEXT,
        url=TEXT,
        headers=OBJECT,
        query=OBJECT,
        body=ANYTHING,
        parameters=OBJECT,
    )
    caller: AsyncCaller = field(default_factory=AsyncCaller)
    apis: Apis = no_apis

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Send the request; every failure is an answer with its error type."""
        try:
            request = request_of(self._whole(call.config), call.idempotency_key)
        except InvalidCallError as error:
            return NodeAnswer(error=str(error), error_type=ErrorType.VALIDATION)
        deadline_s = min(request.timeout_s, call.deadline_s or request.timeout_s)
        began = monotonic()
        try:
            reply = await self.caller.send(
                request.method, request.url, request.headers, request.body, deadline_s=deadline_s
            )
        except CallError as error:
            return NodeAnswer(error=str(error), error_type=error.kind, seconds=monotonic() - began)
        return answer_of(reply, monotonic() - began, datetime.now(UTC))

    def _whole(self, config: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return a config with the fields of the entry whose ``api_id`` was computed, if there is one.

        :raises InvalidCallError: when that entry has expressions: nobody renders them any more.
        """
        whole = complete(config, self.apis)
        api = None if whole is config else self.apis(int(str(config["api_id"])))
        if api is not None and templates.compile_template(dict(api.fields)).roots:
            raise InvalidCallError(f"the API {api.id} has expressions: write its api_id as a number")
        return whole


def complete(config: Mapping[str, Json], apis: Apis) -> Mapping[str, Json]:
    """Return a config with the fields of its registry entry, where it has an ``api_id``.

    Done before templates are rendered, those of the entry (``{{secrets.NAME}}``) are rendered as well.

    :raises InvalidCallError: when there is no such entry, or it is disabled.
    """
    api_id = config.get("api_id")
    if api_id is None:
        return config
    api = apis(api_id) if isinstance(api_id, int) else None
    if api is None:
        raise InvalidCallError(f"there is no API {api_id!r:.40}")
    fields = api.fields
    if fields.get("enabled") is False:
        raise InvalidCallError(f"the API {api_id} is disabled")
    base, path = str(fields.get("base_url") or fields.get("system") or ""), str(fields.get("path") or "")
    url = path if "://" in path else f"{base.rstrip('/')}/{path.lstrip('/')}"
    merged: dict[str, Json] = {
        "method": fields.get("method") or "GET",
        "url": url,
        "timeout": fields.get("timeout"),
    }
    for name in ("headers", "parameters"):
        merged[name] = {**_object(fields, name), **_object(config, name)}
    merged["headers"] = {**_credentials(_object(fields, "auth")), **_object(merged, "headers")}
    own = {
        name: value for name, value in config.items() if name not in ("api_id", *merged) and value is not None
    }
    if config.get("timeout") is not None:
        own["timeout"] = config["timeout"]
    return {**merged, **own}


def _credentials(auth: Mapping[str, Json]) -> dict[str, Json]:
    kind = str(auth.get("type") or "none").lower()
    if kind == "none":
        return {}
    if kind == "bearer":
        return {"Authorization": f"Bearer {auth.get('token', '')}"}
    if kind == "header":
        return {str(auth.get("name") or "X-API-Key"): auth.get("value")}
    raise InvalidCallError(f"unknown auth type {kind[:40]!r} of the API: one of none, bearer, header")


def request_of(config: Mapping[str, Json], idempotency_key: str) -> Request:
    """Return the request that a rendered config describes.

    :raises InvalidCallError: naming the field that cannot be sent.
    """
    method = str(config.get("method") or "GET").upper()
    if method not in METHODS:
        raise InvalidCallError(f"method must be one of {', '.join(METHODS)}")
    parameters = dict(_object(config, "parameters"))
    url = config.get("url")
    if not isinstance(url, str) or not url.strip():
        raise InvalidCallError("url must be a text")
    url = _PLACE.sub(lambda place: _filled(place, parameters), url.strip())
    query = dict(_object(config, "query"))
    body = config.get("body")
    if method in _IN_QUERY:
        query = {**parameters, **query}
    elif body is None and parameters:
        body = parameters
    headers = _headers(_object(config, "headers"))
    if method != "GET":
        headers.setdefault("idempotency-key", quote(mend(idempotency_key), safe=":/+=, "))
    return Request(
        method, _with_query(url, query), headers, _body(body, headers), _timeout(config.get("timeout"))
    )


def _filled(place: re.Match[str], parameters: dict[str, Json]) -> str:
    if place[1] not in parameters:
        return place[0]
    return quote(_text(parameters.pop(place[1])), safe="")


def _with_query(url: str, query: Mapping[str, Json]) -> str:
    pairs = [
        (name, _text(each))
        for name, value in query.items()
        for each in (value if isinstance(value, list | tuple) else [value])
        if each is not None
    ]
    if not pairs:
        return url
    address, mark, fragment = url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{urlencode(pairs)}{mark}{fragment}"


def _headers(headers: Mapping[str, Json]) -> dict[str, str]:
    result = {}
    for name, value in headers.items():
        text = _text(value)
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise InvalidCallError(f"no name of a header: {name[:40]!r}")
        if not (text.isascii() and (text.isprintable() or not text)):
            raise InvalidCallError(f"the header {name} holds a line break or a character outside ASCII")
        if value is not None:
            result[name.lower()] = text
    return result


def _body(body: Json, headers: dict[str, str]) -> bytes | None:
    if body is None:
        return None
    if isinstance(body, str):
        headers.setdefault("content-type", "text/plain; charset=utf-8")
        return mend(body).encode()
    if isinstance(body, Mapping) and headers.get("content-type", "").startswith(_FORM):
        return urlencode([(name, _text(value)) for name, value in body.items() if value is not None]).encode()
    headers.setdefault("content-type", "application/json")
    return dumps_strict(body)


def _text(value: Json) -> str:
    if value is None or isinstance(value, str):
        return mend(value or "")
    return dumps_strict(value).decode()


def _timeout(value: Json) -> float:
    if value is None:
        return TIMEOUT_S
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_TIMEOUT_S:
        raise InvalidCallError(f"timeout must be a number of seconds up to {LONGEST_TIMEOUT_S:g}")
    return float(value)


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value):
        raise InvalidCallError(f"{name} must be an object")
    return value


def answer_of(reply: CallReply, seconds: float, now: datetime) -> NodeAnswer:
    """Return what a call gives its step; ``now`` is what a date in Retry-After counts from."""
    text = mend(reply.body.decode(_encoding(reply), "replace"))
    is_error = reply.status >= 400
    try:
        body = _parsed(reply, text)
    except ValueError as error:
        if not is_error:
            message = f"HTTP {reply.status}: the body is not the JSON that it claims to be ({error})"
            return NodeAnswer(
                error=message[:500], error_type="InvalidJSON", http_status=reply.status, seconds=seconds
            )
        body = text
    response: dict[str, Json] = {"status": reply.status, "headers": dict(reply.headers), "body": body}
    if not is_error:
        return NodeAnswer(body, response, http_status=reply.status, seconds=seconds)
    return NodeAnswer(
        body,
        response,
        error=f"HTTP {reply.status}: {text[:EXCERPT]}",
        error_type=ErrorType.HTTP,
        http_status=reply.status,
        retry_after_s=retry_after_s(reply.headers.get("retry-after"), now=now),
        seconds=seconds,
    )


def _encoding(reply: CallReply) -> str:
    try:
        "".encode(reply.encoding)
    except LookupError:
        return "utf-8"
    return reply.encoding


def _parsed(reply: CallReply, text: str) -> Json:
    kind = reply.headers.get("content-type", "")
    if not reply.body.strip():
        return None
    if _JSON.match(kind):
        return _json(text)
    if kind:
        return text
    try:
        return _json(text)
    except ValueError:
        return text


def _json(text: str) -> Json:
    value: Json = bounded(loads(text))
    return value
