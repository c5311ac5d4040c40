"""Who is asking, and what that allows: dependencies of the operations."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from flowledger.domain.access import Caller, Role
from flowledger.domain.runs import AppKey


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
