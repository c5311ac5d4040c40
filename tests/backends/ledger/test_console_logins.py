"""Console passwords that several processes try, by each ledger: one at a time, and a refused one once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

import pytest
from ledger_samples import AT

from flowledger.errors import AuthenticationError, FlowledgerError, LoginLockedError, SourceBusyError
from flowledger.ports import KeyValueStore, Ledger
from flowledger.services.console_logins import StoredLogins

SERVER, PERSON, PASSWORD = "https://dify.example.com", "ops@example.com", "mistyped-password"
LEASE_S = 90.0


@dataclass
class Waiting:
    """A clock that only waiting moves."""

    now: datetime = AT
    waits: list[float] = field(default_factory=list)

    def __call__(self) -> datetime:
        """Return the present."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait without any time passing elsewhere."""
        self.waits.append(seconds)
        self.now += timedelta(seconds=seconds)


def logins(
    ledger: Ledger, *, clock: Waiting | None = None, again: bool = False, lease_s: float = LEASE_S
) -> StoredLogins:
    """Return what one process knows by a ledger."""

    @contextmanager
    def opened() -> Iterator[KeyValueStore]:
        yield ledger

    clock = clock or Waiting()
    return StoredLogins(opened, clock, lease_s, again, clock.sleep)


def log_in(known: StoredLogins, error: Exception | None = None, password: str = PASSWORD) -> None:
    """Try a password, of which the server thinks what the error says."""
    with known.attempt(SERVER, PERSON, password):
        if error is not None:
            raise error


REFUSED = AuthenticationError("the console login of ops@example.com was refused", status=401, body="no")


def test_six_at_once_offer_a_wrong_password_once(ledger: Ledger) -> None:
    """Five learn from the ledger what the first was answered."""
    tries = count()

    def attempt(_: int) -> FlowledgerError | None:
        try:
            with logins(ledger).attempt(SERVER, PERSON, PASSWORD):
                next(tries)
                raise REFUSED
        except AuthenticationError as error:
            return error

    with ThreadPoolExecutor(6) as pool:
        errors = list(pool.map(attempt, range(6)))
    assert next(tries) == 1
    assert all("flowledger doctor --log-in-again" in str(error) for error in errors)


def test_six_at_once_with_the_right_password_log_in_one_after_the_other(ledger: Ledger) -> None:
    """None is refused, and no two are inside at once."""
    inside: list[int] = []

    def attempt(number: int) -> list[int]:
        with logins(ledger, lease_s=3600).attempt(SERVER, PERSON, "right"):
            inside.append(number)
            among = list(inside)
            inside.remove(number)
            return among

    with ThreadPoolExecutor(6) as pool:
        assert [len(among) for among in pool.map(attempt, range(6))] == [1] * 6


def test_a_refused_password_stays_refused_until_it_changes(ledger: Ledger) -> None:
    """A later process does not try it; another password, person or server is another matter."""
    with pytest.raises(
        AuthenticationError, match="was refused; no process tries the password again"
    ) as caught:
        log_in(logins(ledger), REFUSED)
    assert (caught.value.status, caught.value.body) == (401, "no")
    later = Waiting(AT + timedelta(days=400))
    with pytest.raises(AuthenticationError, match=r"ops@example\.com at 20.*until the setting changes"):
        log_in(logins(ledger, clock=later))
    log_in(logins(ledger), password="changed")
    with logins(ledger).attempt("https://other.example.com", PERSON, PASSWORD):
        pass


def test_a_person_may_try_again(ledger: Ledger) -> None:
    """Accepted, it is forgotten that it was refused; without an answer it is not."""
    with pytest.raises(AuthenticationError):
        log_in(logins(ledger), REFUSED)
    with pytest.raises(SourceBusyError):
        log_in(logins(ledger, again=True), SourceBusyError("503", status=503))
    with pytest.raises(AuthenticationError, match="has refused"):
        log_in(logins(ledger))
    log_in(logins(ledger, again=True))
    log_in(logins(ledger))


@pytest.mark.parametrize(
    "error",
    [LoginLockedError("locked", status=429), SourceBusyError("503", status=503), RuntimeError("bug")],
)
def test_what_says_nothing_of_the_password_is_not_stored(ledger: Ledger, error: Exception) -> None:
    """A lock ends, a server comes back: the next process tries at once."""
    clock = Waiting()
    with pytest.raises(type(error)):
        log_in(logins(ledger, clock=clock), error)
    log_in(logins(ledger, clock=clock))
    assert clock.waits == []


def hold(ledger: Ledger, known: StoredLogins) -> Callable[[], object]:
    """Let a process die while it logs in; return what would have ended its log-in."""
    attempt = known.attempt(SERVER, PERSON, PASSWORD)
    attempt.__enter__()
    return lambda: attempt.__exit__(None, None, None)


def test_the_claim_of_a_process_that_died_ends(ledger: Ledger) -> None:
    """Another waits no longer than a log-in may take; what the first does then changes nothing."""
    clock = Waiting()
    end = hold(ledger, logins(ledger, clock=clock))
    with pytest.raises(AuthenticationError):
        log_in(logins(ledger, clock=clock), REFUSED)
    assert LEASE_S - 1 < sum(clock.waits) < LEASE_S + 1
    end()
    with pytest.raises(AuthenticationError, match="has refused"):
        log_in(logins(ledger))


def test_neither_password_nor_a_plain_digest_is_stored(ledger: Ledger) -> None:
    """Two ledgers know the same password under different keys."""
    keys: list[str] = []

    class Watched:
        def swap_value(self, key: str, *values: object) -> bool:
            keys.append(f"{key} {values}")
            return ledger.swap_value(key, *values)  # type: ignore[arg-type]

        put_value, value = ledger.put_value, ledger.value

    @contextmanager
    def opened() -> Iterator[KeyValueStore]:
        yield Watched()

    for _ in range(2):
        log_in(StoredLogins(opened, lambda: AT, LEASE_S))
        salt = ledger.value("console-login-salt")
        assert salt is not None
        ledger.swap_value("console-login-salt", salt.value, None, AT)
    assert len({key.split()[0] for key in keys}) == 2
    assert not any(word in key for key in keys for word in (PASSWORD, PERSON, "dify.example.com"))
