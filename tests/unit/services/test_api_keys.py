"""Keys are recognised, the hasty held off, and memory stays bounded whoever knocks."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.access_keys import AccessKey, Caller, Role
from flowledger.domain.runs import AppKey
from flowledger.errors import UsageError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.services import api_keys
from flowledger.services.api_keys import (
    KeyRing,
    LockOut,
    Pace,
    Refusal,
    RefusalLog,
    client_network,
    create_key,
    revoke_key,
)

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_a_key_is_found_by_its_secret_alone() -> None:
    """The right one opens, and no other text does."""
    ledger = SqlLedger.open("memory://", {})
    key, secret = create_key(ledger, "x", Role.VIEWER, user="root", at=NOW)
    ring = KeyRing()
    assert ring.is_stale(NOW)
    ring.load(ledger.access_keys(), NOW)
    assert ring.find(secret, NOW) == key
    assert not ring.is_stale(NOW + SECOND)
    assert ring.is_stale(NOW + 3 * SECOND)
    assert ring.is_stale(NOW - SECOND)  # a clock that was set back
    for wrong in (secret[:-1], secret + "x", secret.upper(), key.digest, key.key_id, f"flk_{key.key_id}_"):
        assert ring.find(wrong, NOW) is None


@given(st.text())
def test_no_text_opens(text: str) -> None:
    """Whatever is shown: no key, and no error."""
    ring = KeyRing(NOW, {"": AccessKey("", "x", "0" * 64, Role.ADMIN, NOW)})
    assert ring.find(text, NOW) is None


def test_secrets_differ_and_are_long() -> None:
    """32 random bytes each."""
    ledger = SqlLedger.open("memory://", {})
    made = {create_key(ledger, "x", Role.VIEWER, user="root", at=NOW)[1] for _ in range(20)}
    assert len(made) == 20
    assert all(len(secret.split("_", 2)[2]) == 43 for secret in made)


def test_a_name_that_several_keys_have_revokes_none() -> None:
    """The message names their ids; of one that is revoked, the name is free again."""
    ledger = SqlLedger.open("memory://", {})
    first, _ = create_key(ledger, "x", Role.VIEWER, user="root", at=NOW)
    second, _ = create_key(ledger, "x", Role.VIEWER, user="root", at=NOW)
    with pytest.raises(UsageError, match=f"{first.key_id}|{second.key_id}"):
        revoke_key(ledger, "x", user="root", at=NOW)
    revoke_key(ledger, first.key_id, user="root", at=NOW)
    assert revoke_key(ledger, "x", user="root", at=NOW).key_id == second.key_id
    with pytest.raises(UsageError, match="keys list"):
        revoke_key(ledger, "nobody", user="root", at=NOW)


def test_wrong_keys_count_within_a_minute() -> None:
    """Slow guesses are not held off; a lock ends, and then counting begins anew."""
    lock = LockOut(most=3)
    for number in range(10):
        lock.note_wrong("a", NOW + number * 31 * SECOND)
    assert lock.wait("a", NOW + 400 * SECOND) is None
    for _ in range(3):
        lock.note_wrong("b", NOW)
    assert lock.wait("b", NOW) == timedelta(minutes=1)
    assert lock.wait("c", NOW) is None
    later = NOW + timedelta(minutes=1)
    assert lock.wait("b", later) is None
    lock.note_wrong("b", later)
    assert lock.wait("b", later) is None


@given(st.integers(10, 6000))
def test_the_pace_is_held(per_minute: int) -> None:
    """However often somebody asks, a minute lets through the rate and the burst at most."""
    pace = Pace(per_minute)
    step = timedelta(minutes=1) / (per_minute * 2)
    let = sum(pace.wait("x", NOW + number * step) is None for number in range(per_minute * 2))
    assert per_minute <= let <= per_minute + max(10, per_minute // 10) + 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Very many addresses push out the oldest."""
    monkeypatch.setattr(api_keys, "MOST_REMEMBERED", 10)
    lock, pace = LockOut(), Pace(60)
    for number in range(100):
        lock.note_wrong(str(number), NOW)
        pace.wait(str(number), NOW)
    assert (len(lock.tries), len(pace.due)) == (10, 10)


def test_refusals_of_many_addresses_are_few_operations() -> None:
    """Beyond so many addresses in a minute all others are one."""
    book = RefusalLog("1", most=5)
    kept = [each for n in range(100) for each in book.note(Refusal(f"10.0.0.{n}", "401", "GET /"), NOW)]
    kept += book.closed(NOW)
    assert len(kept) == 7
    assert sum(int(str(each.data["count"])) for each in kept) == 100
    assert len({each.operation_id for each in kept}) == 7


def test_the_wanted_path_is_kept_short_and_on_one_line() -> None:
    """An attacker chooses it."""
    (operation,) = RefusalLog("1").note(Refusal("a", "401", "GET /" + "x\n" * 5000), NOW)
    assert operation.subject is not None
    assert len(operation.subject) <= 200
    assert "\n" not in operation.subject


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", "local"),
    ],
)
def test_neighbours_count_as_one(address: str, counts_as: str) -> None:
    """Of IPv6 the whole /64."""
    assert client_network(address) == counts_as


def test_reach() -> None:
    """What is about no app is only for keys that reach all."""
    one, two = AppKey("dify", "1"), AppKey("dify", "2")
    everywhere, scoped = Caller("a", Role.VIEWER), Caller("b", Role.VIEWER, apps=(one,))
    assert [everywhere.reaches(app) for app in (one, two, None)] == [True, True, True]
    assert [scoped.reaches(app) for app in (one, two, None)] == [True, False, False]
    assert (scoped.within_reach(None), scoped.within_reach((one, two)), scoped.within_reach((two,))) == (
        (one,),
        (one,),
        (),
    )
    assert (everywhere.within_reach(None), everywhere.within_reach((two,))) == (None, (two,))
