"""Who may use the API: keys, their roles, and the apps they reach."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from flowledger.domain.runs import AppKey


class Role(IntEnum):
    """What a key allows; each role may do what the ones below it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An API key as it is kept: never its secret, only the SHA-256 of it, in hexadecimal.

    ``apps`` None reaches every app; else only these.  Times are aware UTC.
    """

    key_id: str
    name: str
    digest: str
    role: Role
    created_at: datetime
    apps: tuple[AppKey, ...] | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, at: datetime) -> bool:
        """Whether it opens anything at an instant."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)
