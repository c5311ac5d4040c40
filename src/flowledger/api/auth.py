"""Who is asking, and what that allows: the gate before all operations, and what each operation requires."""

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


class _Stopped(Exception):  # it is no error of the program
    """A request that does not get through."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


@dataclass(slots=True)
class Gate:
    """ASGI middleware: finds the caller, holds off the hasty, keeps refusals in the audit trail.

    Everything it remembers lives in the event loop's thread; only the ledger is asked in another one.
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
        """Let a request through, or answer it here."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        now = self.backend.clock()
        address = client_network(scope["client"][0] if scope.get("client") else "")
        try:
            caller = await self._caller(Headers(scope=scope), address, now)
            self._check_pace(caller.key_id or address, now)
        except _Stopped as stopped:
            await self._keep(Refusal(address, f"{stopped.status}: {stopped.detail}", _wanted(scope)), now)
            answer = problem(scope["path"], stopped.status, stopped.detail, headers=stopped.headers)
            await answer(scope, receive, send)
            return
        scope["caller"] = caller
        await self.app(scope, receive, self._watched(send, scope, caller, address))

    async def _caller(self, headers: Headers, address: str, now: datetime) -> Caller:
        if not self.options.keys_wanted:
            return _local(headers)
        wait = self.lock_out.wait(address, now)
        if wait is not None:
            raise _Stopped(429, "too many wrong keys from this address: wait", _after(wait))
        secret = _secret(headers)
        if not secret:
            raise _Stopped(401, "a key is needed: Authorization: Bearer …, or X-API-Key", CHALLENGE)
        if self.ring.is_stale(now):
            self.ring.hold(await run_in_threadpool(self._keys), now)
        key = self.ring.find(secret, now)
        if key is None:
            self.lock_out.note_wrong(address, now)
            raise _Stopped(401, "this key opens nothing: it is unknown, revoked or expired", CHALLENGE)
        return key.opened()

    def _keys(self) -> Sequence[AccessKey]:
        try:
            return self.backend.ledger.access_keys()
        except LedgerError as error:
            logger.error("the keys of the API cannot be read: {}", error)
            raise _Stopped(
                503, "the ledger cannot be used for now: the program's log says why", {"Retry-After": "5"}
            ) from error

    def _check_pace(self, name: str, now: datetime) -> None:
        wait = self.pace.wait(name, now)
        if wait is not None:
            raise _Stopped(429, f"more than {self.options.per_minute} requests a minute: wait", _after(wait))

    def _watched(self, send: Send, scope: Scope, caller: Caller, address: str) -> Send:
        """Keep the refusals of the operations themselves as well."""

        async def watching(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 403:
                now = self.backend.clock()
                why = "403: beyond the key's role or apps"
                await self._keep(Refusal(address, why, _wanted(scope), caller.name), now)
            await send(message)

        return watching

    async def _keep(self, refused: Refusal, now: datetime) -> None:
        await keep(self.backend.ledger, self.book.note(refused, now))


async def keep(ledger: Ledger, refusals: Sequence[Operation]) -> None:
    """Keep refusals in the audit trail."""
    for operation in refusals:
        try:
            await run_in_threadpool(ledger.record, operation)
        except LedgerError as error:
            # Whoever is refused stays refused, whether or not that can be kept.
            logger.error("a refusal cannot be kept: {}: {}", operation.data, error)


def _secret(headers: Headers) -> str:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()


def _local(headers: Headers) -> Caller:
    """Let nobody in through a name that somebody else gave to the loopback address."""
    host = headers.get("host", "").strip().lower()
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    if name not in LOCAL_HOSTS:
        raise _Stopped(403, "without keys, only localhost and 127.0.0.1 lead here")
    return EVERYBODY


def _after(wait: timedelta) -> dict[str, str]:
    return {"Retry-After": str(max(1, ceil(wait.total_seconds())))}


def _wanted(scope: Scope) -> str:
    return f"{scope['method']} {scope['path']}"


def caller_of(request: Request) -> Caller:
    """Give who asks; the gate has made sure that somebody does."""
    caller: Caller = request.scope["caller"]
    return caller


def requires(role: Role) -> Callable[..., Awaitable[Caller]]:
    """Make a dependency that gives the caller, or refuses (403) one whose role is below this."""

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
    """Refuse what is outside of the caller's apps as if it were not there (404)."""
    if not caller.reaches(app):
        raise HTTPException(404, f"there is no {app}, or not within this key's reach")
