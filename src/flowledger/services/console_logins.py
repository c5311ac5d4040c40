"""What all processes know together of console passwords: one tries at a time, a refused one nobody again.

Dify locks an account after six wrong passwords, from whatever processes (docs/dify-api.md "Log-in").
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import scrypt
from secrets import token_hex

from flowledger.domain.runs import Json
from flowledger.errors import AuthenticationError, LoginLockedError
from flowledger.ports import Clock, KeyValueStore

SALT = "console-login-salt"
COST, BLOCK, PARALLEL = 2**14, 8, 1
"""Of scrypt: a twentieth of a second and 16 MiB for each guess of whoever has a copy of the ledger."""
POLL_S = 0.2
REFUSED_AT = "refused_at"
WAY_OUT = (
    "no process tries the password again until the setting changes; where it was put right in Dify instead:"
    " flowledger doctor --log-in-again"
)

Value = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class StoredLogins:
    """Lets one process after another try a password, and stores in the ledger that it was refused.

    What is stored is a salted digest.  The claim of a process that died ends after ``lease_s``; ``again``
    tries a refused password once more.
    """

    opened: Callable[[], AbstractContextManager[KeyValueStore]]
    now: Clock
    lease_s: float
    again: bool = False
    sleep: Callable[[float], None] = time.sleep

    @contextmanager
    def attempt(self, server: str, email: str, password: str) -> Iterator[None]:
        """Hold the log-in of a person at a server while it is tried, waiting for others that try it.

        :raises AuthenticationError: when it was refused before, by whatever process.
        """
        with self.opened() as store:
            key = f"console-login-{_digest(_salt(store, self.now), server, email, password)}"
            claim: Value = {"claim": token_hex(16)}
            after = self._claim(store, key, claim, f"{server} has refused this console password of {email}")
            try:
                yield
                after = None
            except LoginLockedError:
                raise  # a lock says nothing about the password
            except AuthenticationError as refusal:
                after = {REFUSED_AT: self.now().isoformat(timespec="seconds")}
                raise AuthenticationError(
                    f"{refusal}; {WAY_OUT}", status=refusal.status, body=refusal.body
                ) from refusal
            finally:
                store.swap_value(key, claim, after, self.now())

    def _claim(self, store: KeyValueStore, key: str, claim: Value, refused: str) -> Value | None:
        """Store the claim as soon as nobody else has one, and return the earlier refusal, if any."""
        waited_s = 0.0
        while True:
            before = self._replaceable(store, key, refused, waited_s)
            if store.swap_value(key, before, claim, self.now()):
                return before if before and REFUSED_AT in before else None
            self.sleep(POLL_S)
            waited_s += POLL_S

    def _replaceable(self, store: KeyValueStore, key: str, refused: str, waited_s: float) -> Value | None:
        """Return the stored value that a claim may replace; None where it may replace no value."""
        stored = store.value(key)
        if stored is None:
            return None
        if REFUSED_AT in stored.value:
            if self.again:
                return stored.value
            raise AuthenticationError(f"{refused} at {stored.value[REFUSED_AT]}: {WAY_OUT}")
        # Clocks of several machines differ, so what was waited here counts as well.
        age_s = max(waited_s, (self.now() - stored.at).total_seconds())
        return stored.value if age_s >= self.lease_s else None


def _salt(store: KeyValueStore, now: Clock) -> bytes:
    """Return the ledger's own salt, made at first."""
    store.put_value(SALT, {"salt": token_hex(16)}, now())
    stored = store.value(SALT)
    return str(stored.value["salt"] if stored else "").encode()


def _digest(salt: bytes, *parts: str) -> str:
    text = "\0".join(parts).encode(errors="surrogatepass")
    return scrypt(text, salt=salt, n=COST, r=BLOCK, p=PARALLEL, dklen=32).hex()
