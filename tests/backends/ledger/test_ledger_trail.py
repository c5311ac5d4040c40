"""Certificates and operations in every ledger, and opening one."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import APP, AT, FAILED, OTHER_APP, SCOPE, SECOND, START, WINDOW, certificate, run

from flowledger.domain.access_keys import AccessKey, Role
from flowledger.domain.certificates import RunSet, Scope
from flowledger.domain.history import OperationQuery, Place
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import Window
from flowledger.errors import UsageError
from flowledger.ledger import open_ledger
from flowledger.plugins import LEDGERS
from flowledger.ports import Ledger


def scope_of(first_s: int, last_s: int, query: str = "") -> Scope:
    return Scope(APP, Window.between(START + first_s * SECOND, START + last_s * SECOND), query)


def test_a_certificate_comes_back_as_it_was_saved(ledger: Ledger) -> None:
    """Every field survives, with rows or without."""
    whole = certificate()
    unproved = certificate(
        FAILED, certified=False, reason="计数不一致", expected=None, distinct=0, retained=0
    )
    ledger.save_runs([run(1)], scope=SCOPE, at=AT, certificate=whole)
    ledger.save_runs([], scope=FAILED, at=AT, certificate=unproved)
    assert ledger.certificate(SCOPE) == whole
    assert ledger.certificate(FAILED) == unproved
    assert ledger.certificate(SCOPE).at.utcoffset() == timedelta(0)  # type: ignore[union-attr]


@pytest.mark.parametrize("digest", [0, 1, 2**128 - 1])
def test_a_certificate_says_when_it_was_read_and_which_runs(ledger: Ledger, digest: int) -> None:
    """To the microsecond, and the digest to the bit."""
    whole = certificate(read_at=AT - SECOND, runs=RunSet(2, digest))
    ledger.save_runs([], scope=SCOPE, at=AT, certificate=whole)
    assert ledger.certificate(SCOPE) == whole
    assert ledger.certificates(APP, WINDOW) == [whole]


def test_only_exactly_the_scope_has_the_certificate(ledger: Ledger) -> None:
    """Another app, window or filter has none."""
    ledger.save_runs([run(1)], scope=FAILED, at=AT)
    ledger.save_runs([], scope=SCOPE, at=AT, certificate=certificate())
    others = (FAILED, Scope(OTHER_APP, WINDOW), Scope(APP, Window(WINDOW.after, WINDOW.before - 1)))
    assert [ledger.certificate(other) for other in others] == [None] * 3


def test_the_newest_certificate_counts(ledger: Ledger) -> None:
    """A newer one replaces, an older one that is saved late does not."""
    for shift in (0, 2, 1):
        ledger.save_runs(
            [], scope=SCOPE, at=AT, certificate=certificate(at=AT + shift * SECOND, distinct=shift)
        )
    assert ledger.certificate(SCOPE) == certificate(at=AT + 2 * SECOND, distinct=2)
    ledger.save_runs([], scope=SCOPE, at=AT, certificate=certificate(at=AT + 2 * SECOND, distinct=5))
    assert ledger.certificate(SCOPE) == certificate(at=AT + 2 * SECOND, distinct=5)


def test_saving_rows_keeps_the_certificate(ledger: Ledger) -> None:
    """A page without certificate does not take the held one away."""
    ledger.save_runs([], scope=FAILED, at=AT, certificate=certificate(FAILED))
    ledger.save_runs([run(1)], scope=FAILED, at=AT + SECOND)
    assert ledger.certificate(FAILED) == certificate(FAILED)


def test_certificates_inside_a_window_come_oldest_first(ledger: Ledger) -> None:
    """Scopes that stick out, are filtered otherwise or only have members are left out."""
    inside = [scope_of(0, 9), scope_of(0, 10), scope_of(5, 6), scope_of(10, 10)]
    outside = [
        scope_of(-1, 3),
        scope_of(3, 11),
        scope_of(1, 2, "status=failed"),
        Scope(OTHER_APP, scope_of(1, 2).window),
    ]
    for scope in [*reversed(inside), *outside]:
        ledger.save_runs([], scope=scope, at=AT, certificate=certificate(scope))
    ledger.save_runs([run(1)], scope=scope_of(2, 3, "status=stopped"), at=AT)
    within = scope_of(0, 10).window
    assert [found.scope for found in ledger.certificates(APP, within)] == inside
    assert [found.scope for found in ledger.certificates(APP, within, "status=failed")] == [outside[2]]
    assert ledger.certificates(APP, within, "status=stopped") == []
    every = [found.scope for found in ledger.certificates(APP, within, None)]
    assert every == [*inside[:2], outside[2], *inside[2:]]


def operation(number: int, *, app: AppKey | None = APP, at_s: int | None = None) -> Operation:
    at = AT + (number if at_s is None else at_s) * SECOND
    return Operation(f"op-{number}", "EXECUTE", at, "运维", app, "run-1", {"a": [1, None, "\0\ud800é"]})


def test_operations_come_newest_first(ledger: Ledger) -> None:
    """Of the same instant, the one with the highest id is first; a limit keeps the newest."""
    for number, at_s in enumerate((5, 9, 5, 1)):
        ledger.record(operation(number, at_s=at_s))
    expected = [operation(1, at_s=9), operation(2, at_s=5), operation(0, at_s=5), operation(3, at_s=1)]
    assert list(ledger.operations()) == expected
    assert list(ledger.operations(limit=2)) == expected[:2]


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 11])
def test_pages_of_operations_give_each_once(ledger: Ledger, limit: int) -> None:
    """What follows an operation is after its time and id, also among many of one instant."""
    for number in (3, 9, 0, 5, 7, 1, 8, 2, 6, 4):
        ledger.record(operation(number, at_s=number // 4))
    found: list[str] = []
    after: Place | None = None
    while page := ledger.operations(after=after, limit=limit):
        found += [each.operation_id for each in page]
        after = Place(page[-1].at, page[-1].operation_id)
    assert found == [f"op-{number}" for number in reversed(range(10))]


def test_one_operation_is_found_by_its_id(ledger: Ledger) -> None:
    """Another id finds none."""
    ledger.record(operation(1))
    ledger.record(Operation("op\0", "EXECUTE", AT, "u"))
    assert ledger.operation("op-1") == operation(1)
    assert ledger.operation("op-2") is None
    assert ledger.operation("op\0") == Operation("op\ufffd", "EXECUTE", AT, "u")


OPERATIONS = [
    Operation(f"op-{number}", kind, AT + at_s * SECOND, user, app, subject)
    for number, (kind, at_s, user, app, subject) in enumerate(
        product(("CREATE", "自定义"), (0, 1), ("u", "运维"), (None, APP, OTHER_APP), (None, "run-1"))
    )
]
operation_queries = st.builds(
    OperationQuery,
    apps=st.none() | st.lists(st.sampled_from([APP, OTHER_APP, AppKey("x", "y")]), max_size=2).map(tuple),
    types=st.lists(st.sampled_from(["CREATE", "自定义", "DELETE"]), max_size=2).map(tuple),
    subject=st.sampled_from(["", "run-1", "run-2"]),
    user=st.sampled_from(["", "u", "运维", "U"]),
    since=st.none() | st.integers(-1, 2).map(lambda at_s: AT + at_s * SECOND),
    before=st.none() | st.integers(-1, 2).map(lambda at_s: AT + at_s * SECOND),
)


@given(asked=st.lists(operation_queries, min_size=20, max_size=20))
@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_a_question_finds_the_operations_it_admits(ledger: Ledger, asked: list[OperationQuery]) -> None:
    """What is found is what ``OperationQuery.admits``."""
    for each in OPERATIONS:
        ledger.record(each)
    for query in asked:
        found = {each.operation_id for each in ledger.operations(query)}
        assert found == {each.operation_id for each in OPERATIONS if query.admits(each)}


ACCESS = AccessKey("key-1", "报表 \0", "0" * 64, Role.OPERATOR, AT, (APP, OTHER_APP))


def test_keys_come_back_as_they_were_kept(ledger: Ledger) -> None:
    """Oldest first, with no app, some or every one, revoked or not."""
    later = [
        AccessKey("key-3", "x", "1" * 64, Role.VIEWER, AT + SECOND, None, AT + 9 * SECOND, AT + 2 * SECOND),
        AccessKey("key-0", "x", "2" * 64, Role.ADMIN, AT + 2 * SECOND, ()),
    ]
    for key in (*later[::-1], ACCESS):
        ledger.keep_key(key)
    assert list(ledger.access_keys()) == [replace(ACCESS, name="报表 \ufffd"), *later]


def test_a_key_of_the_same_id_is_replaced(ledger: Ledger) -> None:
    """As revoking does."""
    ledger.keep_key(ACCESS)
    revoked = replace(ACCESS, name="x", revoked_at=AT + SECOND, apps=None)
    ledger.keep_key(revoked)
    assert list(ledger.access_keys()) == [revoked]


def test_operations_of_an_app(ledger: Ledger) -> None:
    """Others, and those about no app, are left out on request."""
    ledger.record(operation(1))
    ledger.record(operation(2, app=OTHER_APP))
    ledger.record(operation(3, app=None))
    assert list(ledger.operations(OperationQuery(apps=(APP,)))) == [operation(1)]
    assert [found.app for found in ledger.operations()] == [None, OTHER_APP, APP]


def test_the_same_operation_twice_is_once(ledger: Ledger) -> None:
    """The first record of an id stays, and only that one is told to be new."""
    assert [ledger.record(operation(1)), ledger.record(operation(1, at_s=7))] == [True, False]
    assert list(ledger.operations()) == [operation(1)]


@given(data=st.dictionaries(st.text(), st.none() | st.integers() | st.floats(allow_nan=False) | st.text()))
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_any_data_comes_back_equal(ledger: Ledger, data: dict[str, object]) -> None:
    """An operation's data is kept exactly."""
    number = len(ledger.operations())
    ledger.record(Operation(f"op-{number}", "CONFIG", AT + number * SECOND, "u", data=data))
    assert ledger.operations(limit=1)[0].data == data


def test_an_unknown_scheme_names_the_known_ones() -> None:
    """A URL of another database is refused without repeating it, for it may hold a password."""
    with pytest.raises(UsageError, match=", ".join(sorted(LEDGERS))) as refused:
        open_ledger("oracle://user:simulated-password@db/x", {})
    assert "simulated-password" not in str(refused.value)


@pytest.mark.parametrize("url", ["ledger.db", "", "simulated-password"])
def test_a_url_without_scheme_shows_how_to_write_one(url: str) -> None:
    """A bare path is answered with the right form."""
    with pytest.raises(UsageError, match="sqlite:///path"):
        open_ledger(url, {})


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_url_without_file_is_refused(url: str) -> None:
    """A database that nothing keeps is asked for by its own scheme."""
    with pytest.raises(UsageError, match="memory://"):
        open_ledger(url, {})
