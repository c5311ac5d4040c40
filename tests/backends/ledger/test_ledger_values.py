"""Values by key in every ledger: stored once, changed by a swap alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from ledger_samples import AT

from flowledger.ports import Ledger, StoredValue

ANSWER = {"status": 200, "headers": {"Location": "/x"}, "body": "好 \ud800 \0", "n": [1.5, None]}


def test_a_value_comes_back_as_it_was_stored(ledger: Ledger) -> None:
    """Whatever JSON it is, with the time it was stored at."""
    assert ledger.value("key") is None
    assert ledger.put_value("key", ANSWER, AT)
    assert ledger.value("key") == StoredValue("key", ANSWER, AT)


def test_the_first_value_of_a_key_stays(ledger: Ledger) -> None:
    """A second one is refused without an error; keys are told apart as texts of a ledger are."""
    assert ledger.put_value("key", {"n": 1}, AT)
    assert not ledger.put_value("key", {"n": 2}, AT + timedelta(days=1))
    assert ledger.put_value("Key", {"n": 3}, AT)
    stored = ledger.value("key")
    assert stored is not None
    assert (stored.value, stored.at) == ({"n": 1}, AT)
    assert ledger.put_value("a\0", {}, AT)
    assert not ledger.put_value("a\ud800", {}, AT)
    assert ledger.value("a\udfff") is not None


def test_of_several_that_store_at_once_one_does(ledger: Ledger) -> None:
    """Each of the others is told that it was not the first."""
    first: list[bool] = []
    threads = [
        threading.Thread(target=lambda: first.append(ledger.put_value("key", {}, AT))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(first) == [False] * 5 + [True]


def test_a_swap_changes_what_it_expects_and_nothing_else(ledger: Ledger) -> None:
    """None stands for no value, on both sides."""
    assert not ledger.swap_value("key", {"n": 1}, {"n": 2}, AT)
    assert ledger.swap_value("key", None, {"n": 1}, AT)
    assert not ledger.swap_value("key", None, {"n": 2}, AT)
    assert not ledger.swap_value("key", {"n": 3}, {"n": 2}, AT)
    later = AT + timedelta(days=1)
    assert ledger.swap_value("key", {"n": 1}, ANSWER, later)
    assert ledger.value("key") == StoredValue("key", ANSWER, later)
    assert ledger.swap_value("key", ANSWER, None, later)
    assert ledger.value("key") is None


def test_of_several_that_swap_at_once_one_does(ledger: Ledger) -> None:
    """Each saw the same value; only the first finds it still there."""
    ledger.put_value("key", {}, AT)
    with ThreadPoolExecutor(6) as pool:
        swapped = list(pool.map(lambda n: ledger.swap_value("key", {}, {"n": n}, AT), range(6)))
    assert sorted(swapped) == [False] * 5 + [True]


def test_values_are_no_operations(ledger: Ledger) -> None:
    """The audit log holds acts only."""
    ledger.put_value("key", {}, AT)
    assert ledger.operations() == []
