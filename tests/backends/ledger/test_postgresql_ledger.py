"""What only a ledger in PostgreSQL must do: connecting, faults, locks, order, query plans."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa
from ledger_samples import APP, AT, DECODERS, FAILED, OTHER_APP, SCOPE, SECOND, certificate, detailed, run
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from flowledger.domain.certificates import Scope
from flowledger.domain.messages import Message, OutboxMessage
from flowledger.domain.operations import Operation
from flowledger.domain.runs import Level
from flowledger.errors import LedgerError, UsageError
from flowledger.ledger.sql import postgresql
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.postgresql import WAYS_OUT, PostgresqlDatabase, way_out
from flowledger.ledger.sql.schema import node_executions, runs

LETTER = OutboxMessage(
    letter_id="notice/mail",
    channel="mail",
    message=Message(message_id="m", subject="s", body="b"),
    posted_at=AT,
    not_before=AT,
)


@pytest.fixture
def pg(postgresql_ledger: SqlLedger) -> SqlLedger:
    return postgresql_ledger


def changed(ledger: SqlLedger, **query: str) -> str:
    """The URL of the same ledger with other options."""
    assert isinstance(ledger.place, PostgresqlDatabase)
    return ledger.place.url.update_query_dict(query).render_as_string(hide_password=False)


@contextmanager
def holding(ledger: SqlLedger, *names: str) -> Iterator[Connection]:
    """Write the named things in another connection, for a while."""
    with ledger.engine.execution_options(writes=names).connect() as connection, connection.begin():
        connection.exec_driver_sql("SELECT 1")
        yield connection


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://user:simulated-password@127.0.0.1:5432/", "names no database"),
        ("postgresql://user:simulated-password@127.0.0.1:port/x", "names no database"),
        (
            "postgresql+psycopg2://user:simulated-password@h/x",
            r"driver postgresql\+psycopg2: write postgresql://",
        ),
    ],
)
def test_a_url_that_names_no_database_is_refused(url: str, words: str) -> None:
    """It is told how to write one, and not repeated."""
    with pytest.raises(UsageError, match=words) as refused:
        SqlLedger.open(url, {})
    assert "simulated-password" not in str(refused.value)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (
            {"database": "flowledger_missing"},
            r"/flowledger_missing: .*does not exist; create the database: createdb",
        ),
        ({"username": "flowledger_nobody"}, r"nobody.*does not exist; check the user and the password"),
        ({"port": 1}, r"127\.0\.0\.1:1/.*refused.*; check that the server runs"),
        ({"host": "nowhere.invalid"}, r"nowhere\.invalid.*; check that the server runs"),
        ({"query": {"nonsense": "1"}}, "check the options in LEDGER_URL"),
        ({"query": {"options": "-cnonsense=1"}}, "check the options in LEDGER_URL"),
        ({"query": {"sslmode": "verify-full", "sslrootcert": "/nowhere"}}, "check sslmode and sslrootcert"),
        ({"query": {"options": "-csearch_path=nowhere"}}, "create the schema"),
    ],
)
def test_a_database_that_cannot_be_reached_is_named(
    postgresql_database: str, parts: dict[str, object], words: str
) -> None:
    """Every refusal names host and database and has a way out; none holds the password."""
    place = sa.make_url(postgresql_database)
    url = place.set(password="simulated-password").set(**parts)  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match=words) as refused:
        SqlLedger.open(url.render_as_string(hide_password=False), {})
    assert f"{url.host}" in str(refused.value)
    assert f"/{url.database}: " in str(refused.value)
    assert "simulated-password" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('password authentication failed for user "x"', "check the user and the password"),
        ('no pg_hba.conf entry for host "192.0.2.1"', "check the user and the password"),
        ("sorry, too many clients already", "takes no more connections"),
        ("the database system is starting up", "starting or stopping"),
        ("server closed the connection unexpectedly", "connection was lost"),
        ("connection timeout expired", "check that the server runs"),
        ("用户验证失败", "check that the server runs"),
        ("用户验证失败", "check the user and the password"),
    ],
)
def test_what_a_server_says_before_it_is_connected_has_a_way_out(said: str, words: str) -> None:
    """Words decide where there is no SQLSTATE; a server of another language gets both remedies."""
    assert words in way_out(None, said)


def test_the_longest_beginning_of_a_state_counts() -> None:
    """A single state has its own way out, a class has one for the rest of it."""
    assert way_out("53300", "") == WAYS_OUT["53300"] != way_out("53100", "") == WAYS_OUT["53100"]
    assert way_out("57P01", "") == way_out("57P03", "") == WAYS_OUT["57P"]
    assert way_out("08006", "") == WAYS_OUT["08"]
    assert "report the message" in way_out("42601", "")


def test_the_password_is_shown_nowhere(pg: SqlLedger) -> None:
    """Neither the ledger's text nor an error that quotes it holds the password."""
    place = PostgresqlDatabase.at("postgresql://user:simulated-password@db.example.com:6000/ledger", 1)
    quoting = OperationalError("", None, psycopg.OperationalError('bad "simulated-password" there'))
    shown = r"postgresql://db\.example\.com:6000/ledger: bad \"\*\*\*\" there"
    with pytest.raises(LedgerError, match=shown), place.explaining():
        raise quoting
    assert "simulated-password" not in f"{place} {place!r} {replace(pg, place=place)!r}"


def test_a_missing_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg the way out is to install it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerError, match="needs psycopg: scripts/setup --all"):
        SqlLedger.open("postgresql://127.0.0.1/x", {})


def test_a_database_of_another_encoding_is_refused(postgresql_database: str) -> None:
    """What cannot hold every character is no place for a ledger."""
    name = f"{sa.make_url(postgresql_database).database}_latin"
    create = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
    url = sa.make_url(postgresql_database).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(postgresql_database, autocommit=True) as connection:
        connection.execute(create.encode())
        try:
            with pytest.raises(LedgerError, match=rf"{name} keeps texts as LATIN1.*createdb --encoding UTF8"):
                SqlLedger.open(url, {})
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_read_only_ledger_can_be_read_and_says_so(pg: SqlLedger) -> None:
    """A standby serves reports; writing to it names the remedy."""
    pg.save_runs([run(1)], scope=SCOPE, at=AT)
    standby = SqlLedger.open(changed(pg, options="-c default_transaction_read_only=on"), DECODERS)
    assert standby.count(SCOPE) == 1
    with pytest.raises(LedgerError, match=r"may only be read.*primary server"):
        standby.save_runs([run(2)], scope=SCOPE, at=AT)
    standby.close()


def test_reading_never_writes(pg: SqlLedger) -> None:
    """A reading transaction is read-only, and sees one state of everything."""
    with pg.engine.connect() as connection:
        asked = [
            connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("transaction_read_only", "transaction_isolation", "statement_timeout")
        ]
    assert asked == ["on", "repeatable read", "10min"]


def test_a_page_and_its_bodies_are_of_one_state(pg: SqlLedger) -> None:
    """A detail replaced between the two questions of a page does not mix with the old one."""
    pg.save_details([(run(1), detailed(nodes=2))])
    replaced: list[object] = []

    def replace_detail(*said: object) -> None:
        if "FROM payloads" in str(said[2]) and not replaced:
            replaced.append(said)
            in_thread(lambda: pg.save_details([(run(1), detailed(nodes=1, answer="new"))])).join()

    sa.event.listen(pg.engine, "before_cursor_execute", replace_detail)
    try:
        (entry,) = pg.entries(SCOPE)
    finally:
        sa.event.remove(pg.engine, "before_cursor_execute", replace_detail)
    assert entry.detail == detailed(nodes=2)
    assert [entry.detail for entry in pg.entries(SCOPE)] == [detailed(nodes=1, answer="new")]


def test_writers_of_one_app_wait_for_each_other(pg: SqlLedger) -> None:
    """A second writer of an app waits no longer than its time; readers and other apps' writers go on."""
    hurried = SqlLedger.open(changed(pg), DECODERS, busy_timeout_s=0.05)
    other = Scope(OTHER_APP, SCOPE.window)
    with holding(pg, f"app {SCOPE.app}"):
        hurried.save_runs([run(1, app=OTHER_APP)], scope=other, at=AT)
        assert hurried.record(Operation("op", "EXECUTE", AT, "u"))
        assert (hurried.enqueue([LETTER]), len(hurried.claim(AT, SECOND))) == (1, 1)
        assert hurried.count(other) == 1
        with pytest.raises(LedgerError, match="another process keeps it locked"):
            hurried.save_runs([run(1)], scope=SCOPE, at=AT)
    hurried.save_runs([run(1)], scope=SCOPE, at=AT)
    assert hurried.count(SCOPE) == 1
    hurried.close()


def test_a_letter_being_taken_is_passed_over(pg: SqlLedger) -> None:
    """A claimer does not wait for another one: it takes the next letter."""
    second = replace(LETTER, letter_id="second", posted_at=AT + SECOND)
    pg.enqueue([LETTER, second])
    with holding(pg) as other:
        other.exec_driver_sql("SELECT id FROM letters ORDER BY posted_at LIMIT 1 FOR UPDATE").all()
        assert [each.letter_id for each in pg.claim(AT, timedelta(minutes=5))] == ["second"]
    assert [each.letter_id for each in pg.claim(AT, timedelta(minutes=5))] == ["notice/mail"]


@pytest.mark.parametrize(("times", "is_saved"), [(1, True), (2, True), (3, False)])
def test_a_transaction_the_server_took_back_is_tried_again(pg: SqlLedger, times: int, is_saved: bool) -> None:
    """A deadlock costs another try, of three; then it is said."""
    left = [times]

    def break_off(connection: Connection, _: object, statement: str, *__: object) -> None:
        if left[0] and "INSERT INTO operations" in statement:
            left[0] -= 1
            connection.exec_driver_sql("DO $$ BEGIN RAISE deadlock_detected; END $$")

    sa.event.listen(pg.engine, "before_cursor_execute", break_off)
    try:
        if is_saved:
            assert pg.record(Operation("op", "EXECUTE", AT, "u"))
        else:
            with pytest.raises(LedgerError, match="other processes were in the way: run again"):
                pg.record(Operation("op", "EXECUTE", AT, "u"))
    finally:
        sa.event.remove(pg.engine, "before_cursor_execute", break_off)
    assert len(pg.operations()) == is_saved


def test_a_connection_that_was_cut_is_made_anew(pg: SqlLedger) -> None:
    """A server that ends a pooled connection costs nothing; one in use is told and leaves nothing behind."""
    own = SqlLedger.open(changed(pg, application_name="to-be-cut"), DECODERS)
    cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'to-be-cut'"

    def end_it(*said: object) -> None:
        if "COPY" not in str(said[2]):
            with holding(pg) as other:
                other.exec_driver_sql(cut).all()

    with holding(pg) as other:
        other.exec_driver_sql(cut).all()
    own.save_runs([run(1)], scope=SCOPE, at=AT)
    sa.event.listen(own.engine, "before_cursor_execute", end_it)
    with pytest.raises(LedgerError, match=r"starting or stopping|connection was lost"):
        own.save_runs([run(2)], scope=SCOPE, at=AT)
    sa.event.remove(own.engine, "before_cursor_execute", end_it)
    assert own.count(SCOPE) == 1
    own.close()


def test_more_threads_than_connections_are_told(pg: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a connection ends, with the remedy."""
    monkeypatch.setattr(postgresql, "MOST_AT_ONCE", postgresql.POOLED)
    own = SqlLedger.open(changed(pg), DECODERS, busy_timeout_s=0.05)
    with ExitStack() as stack:
        for _ in range(postgresql.POOLED):
            stack.enter_context(own.engine.connect())
        with pytest.raises(LedgerError, match="connections of this process are busy: use fewer threads"):
            own.count(SCOPE)
    own.close()


def test_an_id_too_long_for_an_index_is_told(pg: SqlLedger) -> None:
    """What PostgreSQL cannot index stops with the reason; nothing of the page is kept."""
    endless = "".join(chr(0x4E00 + number * 7 % 20000) for number in range(9000))
    with pytest.raises(LedgerError, match="an id is longer than an index can take"):
        pg.save_runs([run(1), run(2, run_id=endless)], scope=SCOPE, at=AT)
    assert pg.count(SCOPE) == 0


def break_off_a_page(ledger: SqlLedger) -> None:
    no_zone = run(2, started_at=datetime(2026, 1, 1))  # noqa: DTZ001
    ledger.save_runs([run(1), no_zone], scope=FAILED, at=AT, certificate=certificate(FAILED))


def break_off_details(ledger: SqlLedger) -> None:
    no_bytes = replace(detailed(), raw={"body": None})  # type: ignore[dict-item]
    ledger.save_details([(run(1, total_tokens=1), detailed(nodes=3)), (run(2), no_bytes)])


@pytest.mark.parametrize("fail", [break_off_a_page, break_off_details])
def test_a_write_is_all_or_nothing(pg: SqlLedger, fail: Callable[[SqlLedger], None]) -> None:
    """A failure in the middle of a transaction leaves the old state whole."""
    pg.save_details([(run(1), detailed())])
    with pytest.raises((ValueError, TypeError)):
        fail(pg)
    assert [(entry.run, entry.detail) for entry in pg.entries(SCOPE)] == [(run(1), detailed())]
    assert pg.count(FAILED) == 0
    assert pg.certificate(FAILED) is None


def test_ids_sort_by_code_points(pg: SqlLedger) -> None:
    """The order of reports does not depend on the language of the database."""
    ids = ["b", "B", "a", "_", "é", "z", "Z", "10", "9", "中", "\U0001f600", "\uffee", "a b", "a-b"]
    pg.save_runs([run(1, run_id=each, log_id=each) for each in ids], scope=SCOPE, at=AT)
    assert [entry.run.run_id for entry in pg.entries(SCOPE)] == sorted(ids)
    with pg.engine.connect() as connection:
        (own,) = connection.exec_driver_sql("SELECT 'a' < 'B'").one()
    assert own is True, "the test's database sorts by code points itself and proves nothing"


@pytest.mark.usefixtures("short_pages")
def test_ids_of_any_case_are_paged_through_once(pg: SqlLedger) -> None:
    """Pages that end between ids a language would sort otherwise neither skip nor repeat."""
    ids = [f"{first}{second}" for first in "aBcDé" for second in "zY_x中"]
    pg.save_runs([run(1, run_id=each, log_id=each) for each in ids], scope=SCOPE, at=AT)
    assert [entry.run.run_id for entry in pg.entries(SCOPE)] == sorted(ids)


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda ledger, scope: list(ledger.entries(scope)), "ix_runs_listed"),
        (lambda ledger, scope: list(ledger.pending(scope, Level.RUN, open_since=AT)), "ix_runs_unsettled"),
        (lambda ledger, scope: ledger.count(scope), "ix_runs_listed"),
    ],
)
def test_questions_about_a_scope_can_go_along_an_index(
    pg: SqlLedger, ask: Callable[[SqlLedger, Scope], object], index: str
) -> None:
    """However many runs there are, a page is found by its place and needs no sorting."""
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(*said: object) -> None:
        asked.append(said[2:4])  # type: ignore[arg-type]

    sa.event.listen(pg.engine, "before_cursor_execute", note)
    ask(pg, SCOPE)
    sa.event.remove(pg.engine, "before_cursor_execute", note)
    question, values = next(each for each in asked if "FROM runs" in each[0])
    others = {each.name for each in runs.indexes} - {index}
    with holding(pg) as connection:
        # So few rows are found along any index, or none, at the same cost.
        for statement in (
            "SET LOCAL enable_seqscan = off",
            "SET LOCAL enable_bitmapscan = off",
            "ALTER TABLE runs DROP CONSTRAINT uq_runs_source",
            *(f"DROP INDEX {other}" for other in others),
        ):
            connection.exec_driver_sql(statement)
        plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {question}", values)]
        connection.get_transaction().rollback()  # type: ignore[union-attr]
    text = "\n".join(plan)
    assert index in text
    assert "Index Cond: ((source = " in text
    assert "Sort" not in text


def test_one_run_of_many_just_written_is_found_by_its_own_index(pg: SqlLedger) -> None:
    """From the first thousand on the planner knows that an index on the app alone leads to many runs."""
    question = "EXPLAIN SELECT id FROM runs WHERE source = %s AND app_id = %s AND run_id = %s"
    plans: list[str] = []
    first = 0
    # Where the server counts the table by itself just then, it is the next doubling that tells.
    while first < 8 * postgresql.COUNTED and not any("using uq_runs_source" in plan for plan in plans):
        last = 2 * first or postgresql.COUNTED + 500
        pg.save_runs([run(each) for each in range(first, last)], scope=SCOPE, at=AT)
        first = last
        with pg.engine.connect() as connection:
            wanted = (APP.source, APP.app_id, run(1).run_id)
            plans.append(connection.exec_driver_sql(question, wanted).scalars().all()[0])
    assert any("using uq_runs_source" in plan for plan in plans), plans


@pytest.mark.parametrize(
    ("first", "last", "grown"),
    [(1, 500, False), (1023, 1023, False), (1024, 1024, True), (1025, 2047, False), (1, 4096, True)],
)
def test_runs_are_counted_anew_when_their_number_has_doubled(first: int, last: int, *, grown: bool) -> None:
    """Few are not worth it, and of many each doubling is."""
    assert postgresql.have_doubled(first, last) is grown


@pytest.mark.usefixtures("short_pages")
def test_a_reader_holds_one_page(pg: SqlLedger) -> None:
    """The first of many entries is there after one page was read, and no connection stays taken behind it."""
    pg.save_details([(run(number), detailed()) for number in range(20)])
    reader = pg.entries(SCOPE)
    next(reader)
    assert pg.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert len(list(reader)) == 19


def test_node_executions_have_typed_columns(pg: SqlLedger) -> None:
    """Prices and times of nodes can be asked for in SQL."""
    pg.save_details([(run(1), detailed(nodes=2))])
    with pg.engine.connect() as connection:
        rows = connection.execute(sa.select(node_executions)).all()
        total = connection.exec_driver_sql("SELECT sum(total_price::numeric) FROM node_executions").scalar()
    assert [(row.position, str(row.total_price)) for row in rows] == [(0, "0.0041700"), (1, "0.0041700")]
    assert str(total) == "0.0083400"
