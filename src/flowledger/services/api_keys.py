"""Keys of the API: made, revoked, recognised; who is held off, and what is kept of refusals."""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

from flowledger.domain.access_keys import UNKNOWN, AccessKey, Role
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.domain.texts import clip, one_line
from flowledger.errors import UsageError
from flowledger.ports import Ledger

BEGINNING = "flk"
"""How every key begins, so that a person, and a scanner of repositories, sees what it is."""
CREATE_KEY, REVOKE_KEY, REFUSAL = "CREATE_KEY", "REVOKE_KEY", "REFUSAL"
SECRET_BYTES = 32
FRESH_FOR = timedelta(seconds=2)
"""So soon a new key opens and a revoked one does not, in every process."""
MOST_REMEMBERED = 10_000
"""Addresses and keys: who comes from more at once pushes out the oldest, and memory does not grow."""
_NOBODY = "0" * 64

Value = TypeVar("Value")


def create_key(
    ledger: Ledger,
    name: str,
    role: Role,
    *,
    user: str,
    at: datetime,
    apps: tuple[AppKey, ...] | None = None,
    expires_at: datetime | None = None,
) -> tuple[AccessKey, str]:
    """Create and store a key; return it with its secret, which is stored nowhere."""
    key_id = secrets.token_hex(6)
    secret = f"{BEGINNING}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key = AccessKey(key_id, name, digest_of(secret), role, at, apps, expires_at)
    ledger.keep_key(key)
    ledger.record(_operation(CREATE_KEY, key, user, at))
    return key, secret


def revoke_key(ledger: Ledger, name_or_id: str, *, user: str, at: datetime) -> AccessKey:
    """Revoke a key at once; one that is revoked already stays as it is.

    :raises UsageError: where no key, or more than one that is not revoked, has that id or name.
    """
    matches = [key for key in ledger.access_keys() if name_or_id in (key.key_id, key.name)]
    live = [key for key in matches if key.revoked_at is None]
    if not matches:
        raise UsageError(f"there is no key {name_or_id!r}: see flowledger keys list")
    if len(live) > 1:
        ids = ", ".join(key.key_id for key in live)
        raise UsageError(f"several keys are called {name_or_id!r}: name one by its id ({ids})")
    if not live:
        return matches[-1]
    revoked = replace(live[0], revoked_at=at)
    ledger.keep_key(revoked)
    ledger.record(_operation(REVOKE_KEY, revoked, user, at))
    return revoked


def digest_of(secret: str) -> str:
    """Return what is kept of a secret; it is random, so that one round of SHA-256 is enough."""
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _operation(kind: str, key: AccessKey, user: str, at: datetime) -> Operation:
    return Operation(
        operation_id=f"{kind.lower()}-{key.key_id}",
        operation_type=kind,
        at=at,
        user=user,
        subject=key.key_id,
        data={
            "name": key.name,
            "role": key.role.name.lower(),
            "apps": None if key.apps is None else [str(app) for app in key.apps],
            "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        },
    )


@dataclass(slots=True)
class KeyRing:
    """The keys as they were read last, by id."""

    read_at: datetime | None = None
    keys: dict[str, AccessKey] = field(default_factory=dict, repr=False)

    def is_stale(self, now: datetime) -> bool:
        """Return whether the keys have to be read anew."""
        return self.read_at is None or not timedelta() <= now - self.read_at < FRESH_FOR

    def load(self, keys: Sequence[AccessKey], now: datetime) -> None:
        """Take the keys that are in the ledger now."""
        self.keys, self.read_at = {key.key_id: key for key in keys}, now

    def find(self, secret: str, now: datetime) -> AccessKey | None:
        """Return the valid key of a secret, in a time that does not tell how much of it is right."""
        key_id = secret.split("_", 2)[1] if secret.count("_") >= 2 else ""
        key = self.keys.get(key_id)
        is_right = hmac.compare_digest(digest_of(secret), key.digest if key else _NOBODY)
        return key if key and is_right and key.is_valid(now) else None


class Recent(OrderedDict[str, Value], Generic[Value]):
    """Values by name, of which the oldest go where there are too many."""

    def put(self, name: str, value: Value) -> None:
        """Keep a value as the newest."""
        self[name] = value
        self.move_to_end(name)
        if len(self) > MOST_REMEMBERED:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Tries:
    """Wrong keys from one address: since when, how many, and until when nothing from there is heard."""

    since: datetime
    wrong: int = 0
    until: datetime | None = None


@dataclass(slots=True)
class LockOut:
    """Holds off an address that shows ``most`` wrong keys within ``within``, for ``lasting``."""

    most: int = 10
    within: timedelta = timedelta(minutes=1)
    lasting: timedelta = timedelta(minutes=1)
    tries: Recent[Tries] = field(default_factory=Recent, repr=False)

    def wait(self, address: str, now: datetime) -> timedelta | None:
        """Return how long an address has to wait; None where it need not."""
        tries = self.tries.get(address)
        return tries.until - now if tries and tries.until and tries.until > now else None

    def note_wrong(self, address: str, now: datetime) -> None:
        """Count a wrong key."""
        tries = self.tries.get(address)
        if tries is None or tries.until is not None or now - tries.since > self.within:
            tries = Tries(now)
        wrong = tries.wrong + 1
        self.tries.put(
            address, replace(tries, wrong=wrong, until=now + self.lasting if wrong >= self.most else None)
        )


@dataclass(slots=True)
class Pace:
    """Lets each caller through ``per_minute`` times a minute, a tenth of that (at least 10) at once."""

    per_minute: int
    due: Recent[datetime] = field(default_factory=Recent, repr=False)

    def wait(self, name: str, now: datetime) -> timedelta | None:
        """Let a caller through and give None, or give how long it has to wait."""
        step = timedelta(minutes=1) / self.per_minute
        slack = step * max(10, self.per_minute // 10)
        due = max(self.due.get(name, now), now) + step
        if due - now > slack:
            return due - now - slack
        self.due.put(name, due)
        return None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody who was refused: the address, why, and what was wanted; ``user`` where the key is known."""

    address: str
    reason: str
    request_line: str
    user: str = UNKNOWN


@dataclass(slots=True)
class RefusalLog:
    """Turns refusals into operations, few of them: the first of an address and minute, and how many followed.

    Beyond ``most`` addresses in a minute all others are one.  ``process`` tells books of one ledger apart.
    """

    process: str
    most: int = 60
    minute: str = ""
    counts: dict[str, tuple[int, Refusal]] = field(default_factory=dict, repr=False)

    def note(self, refused: Refusal, now: datetime) -> Sequence[Operation]:
        """Count a refusal, and return the operations to keep now."""
        minute = f"{now:%Y%m%dT%H%M}"
        due = [] if minute == self.minute else list(self.closed(now))
        self.minute = minute
        name = refused.address if len(self.counts) < self.most or refused.address in self.counts else "others"
        count, first = self.counts.get(name, (0, refused))
        self.counts[name] = (count + 1, first)
        if count == 0:
            due.append(self._operation(name, refused, now, "first", 1))
        return due

    def closed(self, now: datetime) -> Iterator[Operation]:
        """Yield what followed the first refusals of the last minute, and forget it."""
        counts, self.counts = self.counts, {}
        for name, (count, first) in counts.items():
            if count > 1:
                yield self._operation(name, first, now, f"more-{self.process}", count - 1)

    def _operation(self, name: str, refused: Refusal, now: datetime, part: str, count: int) -> Operation:
        return Operation(
            operation_id=f"refusal-{sha256(name.encode()).hexdigest()[:12]}-{self.minute}-{part}",
            operation_type=REFUSAL,
            at=now,
            user=refused.user,
            subject=clip(one_line(refused.request_line), 200),
            data={"address": name, "reason": refused.reason, "count": count},
        )


def client_network(address: str) -> str:
    """Return what counts as one address: of IPv6 the /64, which one household has whole."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address or "local"
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
