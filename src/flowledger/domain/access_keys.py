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
        """Return whether it opens anything at an instant."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)

    def caller(self) -> "Caller":
        """Return whoever shows it."""
        return Caller(self.name, self.role, self.key_id, self.apps)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks the API: a key's name, its role, and the apps it reaches, None for all.

    The name is the user of operations.
    """

    name: str
    role: Role
    key_id: str = ""
    apps: tuple[AppKey, ...] | None = None

    def reaches(self, app: AppKey | None) -> bool:
        """Return whether an app is within reach; what is about no app is only where all are."""
        return self.apps is None or app in self.apps

    def within_reach(self, apps_asked: tuple[AppKey, ...] | None) -> tuple[AppKey, ...] | None:
        """Return those of the wanted apps (None: all) that are within reach."""
        if self.apps is None or apps_asked is None:
            return self.apps if apps_asked is None else apps_asked
        return tuple(app for app in apps_asked if app in self.apps)


UNKNOWN = "unknown"
"""The user of operations about somebody who showed no valid key."""
EVERYBODY = Caller("local", Role.ADMIN)
"""Who asks where no keys are wanted: on loopback, with ``--no-auth``."""
