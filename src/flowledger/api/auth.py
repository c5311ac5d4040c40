"""Who sends a request, and what that allows: middleware before all operations, and the roles they require."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from loguru import logger
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowledger.api.backend import ApiOptions, Backend
from flowledger.api.body_limit import OPEN_PAGES
from flowledger.api.problems import problem
from flowledger.domain.access_keys import EVERYBODY, AccessKey, Caller, Role
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.errors import LedgerError
from flowledger.ports import Ledger
from flowledger.services.api_keys import KeyRing, LockOut, Pace, Refusal, RefusalLog, client_network

OPEN_PATHS = frozenset({"/health"})
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="flowledger"'}


class _Refused(Exception):  # not an error of the program, so that it is no FlowledgerError
    """A request that the middleware answers itself."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


@dataclass(slots=True)
class AuthMiddleware:
    """ASGI middleware: finds the caller, limits wrong keys and request rates, audits refusals.

    Its state needs no lock, since only the event loop's thread uses it; the ledger is read in another one.
    """

    app: ASGIApp
    backend: Backend
    options: ApiOptions
    book: RefusalLog
    ring: KeyRing = field(default_factory=KeyRing)
    lock_out: LockOut = field(init=False)
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self.lock_out = LockOut(most=self.options.wrong_keys, lasting=self.options.lock_out)
        self.pace = Pace(self.options.per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with ``scope["caller"]``, or answer it with a problem."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        now = self.backend.clock()
        address = client_network(scope["client"][0] if scope.get("client") else "")
        if scope["path"].startswith(OPEN_PAGES):
            await self._serve_page(scope, receive, send, address)
            return
        try:
            headers = Headers(scope=scope)
            caller = await self._caller(headers, _secret(headers), address, now)
            self._check_rate(caller.key_id or address, now)
        except _Refused as refusal:
            reason = f"{refusal.status}: {refusal.detail}"
            await self._record(Refusal(address, reason, _request_line(scope)), now)
            answer = problem(scope["path"], refusal.status, refusal.detail, headers=refusal.headers)
            await answer(scope, receive, send)
            return
        scope["caller"] = caller
        await self.app(scope, receive, self._recording_send(send, scope, caller, address))

    async def _serve_page(self, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        """Pass a request for a page on, with a function that finds the caller of the key in its form."""

        async def authenticate(secret: str) -> Caller:
            try:
                return await self._caller(Headers(scope=scope), secret, address, self.backend.clock())
            except _Refused as refusal:
                reason = f"{refusal.status}: {refusal.detail}"
                refused = Refusal(address, reason, f"{scope['method']} {OPEN_PAGES}…")
                await self._record(refused, self.backend.clock())
                raise HTTPException(refusal.status, refusal.detail, refusal.headers) from None

        try:
            self._check_rate(address, self.backend.clock())
        except _Refused as refusal:
            answer = problem(OPEN_PAGES, refusal.status, refusal.detail, headers=refusal.headers)
            await answer(scope, receive, send)
            return
        scope["authenticate"] = authenticate
        await self.app(scope, receive, send)

    async def _caller(self, headers: Headers, secret: str, address: str, now: datetime) -> Caller:
        if not self.options.require_keys:
            return _local(headers, self.options.cors_origins)
        wait = self.lock_out.wait(address, now)
        if wait is not None:
            raise _Refused(429, "too many wrong keys from this address: wait", _retry_after(wait))
        if not secret:
            raise _Refused(401, "a key is needed: Authorization: Bearer …, or X-API-Key", CHALLENGE)
        if self.ring.is_stale(now):
            self.ring.load(await run_in_threadpool(self._keys), now)
        key = self.ring.find(secret, now)
        if key is None:
            self.lock_out.note_wrong(address, now)
            raise _Refused(401, "this key opens nothing: it is unknown, revoked or expired", CHALLENGE)
        return key.caller()

    def _keys(self) -> Sequence[AccessKey]:
        try:
            return self.backend.ledger.access_keys()
        except LedgerError as error:
            logger.error("the keys of the API cannot be read: {}", error)
            raise _Refused(
                503, "the ledger cannot be used for now: the program's log says why", {"Retry-After": "5"}
            ) from error

    def _check_rate(self, name: str, now: datetime) -> None:
        wait = self.pace.wait(name, now)
        if wait is not None:
            detail = f"more than {self.options.per_minute} requests a minute: wait"
            raise _Refused(429, detail, _retry_after(wait))

    def _recording_send(self, send: Send, scope: Scope, caller: Caller, address: str) -> Send:
        """Return a ``send`` that records the refusals of the operations themselves as well."""

        async def recording(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 403:
                reason = "403: beyond the key's role or apps"
                refused = Refusal(address, reason, _request_line(scope), caller.name)
                await self._record(refused, self.backend.clock())
            await send(message)

        return recording

    async def _record(self, refused: Refusal, now: datetime) -> None:
        await record_refusals(self.backend.ledger, self.book.note(refused, now))


async def record_refusals(ledger: Ledger, refusals: Sequence[Operation]) -> None:
    """Append refusals to the audit log."""
    for operation in refusals:
        try:
            await run_in_threadpool(ledger.record, operation)
        except LedgerError as error:
            # The caller stays refused, whether or not that can be recorded.
            logger.error("a refusal could not be recorded: {}: {}", operation.data, error)


def _secret(headers: Headers) -> str:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()


def _local(headers: Headers, origins: Sequence[str]) -> Caller:
    """Return the caller of an API without keys.

    Only by the names of loopback: a web page elsewhere could point a name of its own here (DNS rebinding).
    And only from pages of this machine or those that may ask: a page elsewhere could send a form here.
    """
    if _name_of(headers.get("host", "")) not in LOCAL_HOSTS:
        raise _Refused(403, "without keys, only localhost and 127.0.0.1 lead here")
    origin = headers.get("origin")
    if origin is not None and origin not in origins:
        _, _, host = origin.partition("://")
        if _name_of(host) not in LOCAL_HOSTS:
            raise _Refused(403, "without keys, pages of other places may not ask: see API_CORS_ORIGINS")
    return EVERYBODY


def _name_of(host: str) -> str:
    """Return a host without its port."""
    host = host.strip().lower()
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _retry_after(wait: timedelta) -> dict[str, str]:
    return {"Retry-After": str(max(1, ceil(wait.total_seconds())))}


def _request_line(scope: Scope) -> str:
    return f"{scope['method']} {scope['path']}"


def caller_of(request: Request) -> Caller:
    """Return the caller, whom the middleware has authenticated."""
    caller: Caller = request.scope["caller"]
    return caller


def requires(role: Role) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that yields the caller, or refuses (403) one whose role is below this."""

    async def allowed(request: Request) -> Caller:
        caller = caller_of(request)
        if caller.role < role:
            raise HTTPException(
                403, f"this takes the role {role.name.lower()}: the key has {caller.role.name.lower()}"
            )
        return caller

    return allowed


Viewer = Annotated[Caller, Depends(requires(Role.VIEWER))]
Operator = Annotated[Caller, Depends(requires(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(requires(Role.ADMIN))]


def must_reach(caller: Caller, app: AppKey | None) -> None:
    """Refuse what is outside of the caller's apps as if it did not exist: a 403 would tell that it does.

    :raises HTTPException: 404.
    """
    if not caller.reaches(app):
        raise HTTPException(404, f"there is no {app}, or not within this key's reach")
