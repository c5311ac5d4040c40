"""What only a ledger in a file must do: modes, faults, locks, transactions, query plans."""

import re
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledger_samples import (
    APP,
    AT,
    DECODERS,
    FAILED,
    SCOPE,
    SECOND,
    START,
    certificate,
    detailed,
    node,
    run,
)

from flowledger.domain.certificates import Scope
from flowledger.domain.history import Place, RunKey, RunQuery
from flowledger.domain.runs import Level
from flowledger.errors import LedgerError
from flowledger.ledger.bodies import LARGE, compress
from flowledger.ledger.sql.history import read_page
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.schema import metadata, node_executions


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def pragma(ledger: SqlLedger, setting: str, afterwards: str) -> Iterator[None]:
    """Set a pragma on the one connection in the pool, which the ledger uses next."""
    for_now = (setting, afterwards)
    for each in for_now:
        with ledger.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA {each}")
        if each is setting:
            yield


def test_a_new_ledger_is_for_its_owner_only(tmp_path: Path) -> None:
    """The file and its companions have mode 0600; missing directories are made."""
    path = tmp_path / "deep" / "er" / "ledger.db"
    ledger = SqlLedger.open(f"sqlite:///{path}", {})
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    ledger.close()
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}


def test_a_closed_ledger_is_one_file(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """Closing leaves nothing beside the file, so that it can be copied."""
    sql_ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    sql_ledger.close()
    assert [each.name for each in ledger_file.parent.iterdir()] == ["ledger.db"]


def test_what_is_saved_is_there_when_opened_again(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """The record is durable."""
    sql_ledger.save_runs([run(1)], scope=FAILED, at=AT, certificate=certificate(FAILED))
    sql_ledger.save_details([(run(1), detailed())])
    sql_ledger.close()
    again = SqlLedger.open(f"sqlite:///{ledger_file}", DECODERS)
    assert [(entry.run, entry.detail) for entry in again.entries(FAILED)] == [(run(1), detailed())]
    assert again.certificate(FAILED) == certificate(FAILED)
    again.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A directory that cannot be made stops with the path and the setting to change."""
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"file/ledger\.db cannot be made or written.*LEDGER_URL"):
        SqlLedger.open(f"sqlite:///{tmp_path}/file/ledger.db", {})


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """Another kind of file is refused with the path and the way out, and left as it is."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerError, match=rf"{path}.*no SQLite database.*move the file aside"):
        SqlLedger.open(f"sqlite:///{path}", {})
    assert path.read_bytes() == b"not a database at all" * 100


def test_a_damaged_file_is_named(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """Pages overwritten by something else are noticed, with the path and the way out."""
    sql_ledger.save_runs([run(number) for number in range(200)], scope=SCOPE, at=AT)
    sql_ledger.close()
    with ledger_file.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xa5" * (ledger_file.stat().st_size - 4096 * 2))
    with pytest.raises(LedgerError, match=rf"{ledger_file}.*damaged: restore a backup"):
        list(sql_ledger.entries(SCOPE))


def test_a_damaged_body_names_its_run(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """A compressed body that no longer opens is told with its run."""
    sql_ledger.save_details([(run(1), detailed())])
    with closing(sqlite3.connect(ledger_file)) as connection, connection:
        connection.execute("UPDATE payloads SET body = x'00'")
    with pytest.raises(LedgerError, match="body of run run-000001 is damaged"):
        list(sql_ledger.entries(SCOPE))


@pytest.mark.parametrize("table", ["payloads", "large_raws"])
def test_a_large_body_is_checked_by_its_hash(sql_ledger: SqlLedger, ledger_file: Path, table: str) -> None:
    """What opens, but is not what was kept, is told with its run."""
    large = b"[" + b"0" * LARGE + b"]"
    sql_ledger.save_details([(run(1, raw=large), replace(detailed(), raw={"body": large}))])
    with closing(sqlite3.connect(ledger_file)) as connection, connection:
        connection.execute(f"UPDATE {table} SET body = ?", (compress(large + b" "),))
    with pytest.raises(LedgerError, match=r"run run-000001.*is damaged \(its SHA-256 is another\)"):
        sql_ledger.history(RunQuery(), with_details=True)


def test_a_large_row_is_beside_the_others(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """A list without details never loads it."""
    sql_ledger.save_runs([run(1, raw=b"0" * (LARGE + 1)), run(2, raw=b"0" * LARGE)], scope=SCOPE, at=AT)
    assert rows(ledger_file, "SELECT run_id, raw = x'' FROM runs") == [("run-000001", 1), ("run-000002", 0)]
    assert rows(ledger_file, "SELECT count(*) FROM large_raws") == [(1,)]
    asked: list[str] = []
    sa.event.listen(sql_ledger.engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    sql_ledger.history(RunQuery())
    assert not [statement for statement in asked if "raw" in statement]


def test_forgetting_leaves_no_part(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """Nodes, bodies, large rows and members go with their runs."""
    large = run(1, raw=b"0" * (LARGE + 1))
    sql_ledger.save_runs([large], scope=FAILED, at=AT)
    sql_ledger.save_details([(large, detailed())])
    parts = ("runs", "node_executions", "payloads", "large_raws", "window_runs")
    held = [rows(ledger_file, f"SELECT count(*) FROM {part}")[0][0] for part in parts]
    assert held == [1, 2, 1, 1, 1]
    assert sql_ledger.delete_runs([RunKey(APP, "run-000001")]) == 1
    assert [rows(ledger_file, f"SELECT count(*) FROM {part}") for part in parts] == [[(0,)]] * 5


def test_a_compacted_file_is_smaller(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """What was deleted is given back to the disk, and the log is emptied."""
    sql_ledger.save_details([(run(number), detailed(text=str(number) * 999)) for number in range(900)])
    sql_ledger.delete_runs([RunKey(APP, f"run-{number:06d}") for number in range(890)])
    sql_ledger.compact()
    before = ledger_file.stat().st_size
    log = ledger_file.with_name("ledger.db-wal")
    assert rows(ledger_file, "PRAGMA freelist_count") == [(0,)]
    assert not log.exists() or log.stat().st_size == 0
    assert before < 300_000
    assert sql_ledger.count(SCOPE) == 10


def test_a_file_of_old_is_made_anew_once(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """A file that cannot give space back a little at a time can afterwards."""
    sql_ledger.save_runs([run(number) for number in range(900)], scope=SCOPE, at=AT)
    sql_ledger.close()
    with closing(sqlite3.connect(ledger_file, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    sql_ledger.delete_runs([RunKey(APP, f"run-{number:06d}") for number in range(890)])
    sql_ledger.compact()
    assert rows(ledger_file, "PRAGMA auto_vacuum") == [(2,)]
    assert rows(ledger_file, "PRAGMA freelist_count") == [(0,)]
    assert sql_ledger.count(SCOPE) == 10


def test_what_is_acknowledged_is_on_the_disk(sql_ledger: SqlLedger) -> None:
    """An amendment waits for the disk; a collection, which can be repeated, does not."""
    levels: list[int] = []

    def note(connection: sa.Connection) -> None:
        levels.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

    sa.event.listen(sql_ledger.engine, "commit", note)
    sql_ledger.amend(RunKey(APP, "run-000001"), lambda _: (run(1), detailed()))
    sql_ledger.save_runs([run(2)], scope=SCOPE, at=AT)
    sql_ledger.delete_runs([RunKey(APP, "run-000001")])
    assert levels == [2, 1, 2]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(), "ix_runs_newest"),
        (RunQuery(apps=(APP,)), "(ix_runs_listed|ix_runs_newest)"),
        (RunQuery(apps=(APP,), statuses=(run().status,), listed_from=AT, listed_before=AT), "ix_runs_status"),
    ],
)
@pytest.mark.parametrize("after", [None, Place(AT, "5")])
def test_pages_of_the_history_go_along_an_index(
    sql_ledger: SqlLedger, query: RunQuery, index: str, after: Place | None
) -> None:
    """However many runs there are, none but those near the page are looked at."""
    asked: list[tuple[str, tuple[object, ...]]] = []
    sa.event.listen(sql_ledger.engine, "before_cursor_execute", lambda *said: asked.append(said[2:4]))
    sql_ledger.history(query, after=after)
    question, values = next(each for each in asked if "FROM runs" in each[0])
    with sql_ledger.engine.connect() as connection:
        steps = [step[3] for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}", values)]
    assert re.search(f"INDEX {index}", steps[0])
    assert not any("TEMP B-TREE FOR ORDER BY" in step for step in steps)


def test_a_deep_page_of_a_bounded_stretch_costs_what_the_first_one_does(sql_ledger: SqlLedger) -> None:
    """The place of a page is nearer than the stretch's end: nothing between the two is looked at again."""
    sql_ledger.save_runs([run(number) for number in range(2000)], scope=SCOPE, at=AT)
    query = RunQuery(apps=(APP,), listed_from=START, listed_before=START + 2000 * SECOND)
    first, deep = (steps_of(sql_ledger, query, after) for after in (None, Place(START + 20 * SECOND, "0")))
    assert deep < 2 * first


def steps_of(ledger: SqlLedger, query: RunQuery, after: Place | None) -> int:
    """How many tens of instructions SQLite takes for a page."""
    counted: list[int] = []
    with ledger.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_progress_handler(lambda: counted.append(1), 10)
        found, _ = read_page(connection, ledger.place, query, after, 20)
        raw.set_progress_handler(None, 0)
    assert len(found) == 20
    return len(counted)


def test_a_full_disk_leaves_the_ledger_intact(sql_ledger: SqlLedger) -> None:
    """What does not fit is refused whole; what was held can be read, and writing goes on afterwards."""
    sql_ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    many = [run(number) for number in range(2, 300)]
    with (
        pragma(sql_ledger, "max_page_count = 40", "max_page_count = 1073741823"),
        pytest.raises(LedgerError, match="disk is full; what was held is intact"),
    ):
        sql_ledger.save_runs(many, scope=SCOPE, at=AT, certificate=certificate())
    assert [entry.run for entry in sql_ledger.entries(SCOPE, with_details=False)] == [run(1)]
    assert sql_ledger.certificate(SCOPE) is None
    sql_ledger.save_runs(many, scope=SCOPE, at=AT)
    assert sql_ledger.count(SCOPE) == 299


def test_a_read_only_ledger_says_so(sql_ledger: SqlLedger) -> None:
    """Writing where writing is forbidden stops with what to make writable."""
    with (
        pragma(sql_ledger, "query_only = ON", "query_only = OFF"),
        pytest.raises(LedgerError, match="make the file and its directory writable"),
    ):
        sql_ledger.save_runs([run(1)], scope=SCOPE, at=AT)


def test_a_busy_ledger_waits_then_says_so(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """While another process writes, readers go on and a writer waits no longer than its time."""
    hurried = SqlLedger.open(f"sqlite:///{ledger_file}", DECODERS, busy_timeout_s=0.02)
    with closing(sqlite3.connect(ledger_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert hurried.count(SCOPE) == 0
        with pytest.raises(LedgerError, match="another process keeps it locked"):
            hurried.save_runs([run(1)], scope=SCOPE, at=AT)
        waiting = threading.Thread(
            target=sql_ledger.save_runs, args=([run(2)],), kwargs={"scope": SCOPE, "at": AT}
        )
        waiting.start()
        other.execute("ROLLBACK")
        waiting.join()
    hurried.save_runs([run(1)], scope=SCOPE, at=AT)
    assert hurried.count(SCOPE) == 2
    hurried.close()


def break_off_a_page(ledger: SqlLedger) -> None:
    no_zone = run(2, started_at=datetime(2026, 1, 1))  # noqa: DTZ001
    ledger.save_runs([run(1), no_zone], scope=FAILED, at=AT, certificate=certificate(FAILED))


def break_off_details(ledger: SqlLedger) -> None:
    no_bytes = replace(detailed(), raw={"body": None})  # type: ignore[dict-item]
    ledger.save_details([(run(1, total_tokens=1), detailed(nodes=3)), (run(2), no_bytes)])


@pytest.mark.parametrize("fail", [break_off_a_page, break_off_details])
def test_a_write_is_all_or_nothing(sql_ledger: SqlLedger, fail: Callable[[SqlLedger], None]) -> None:
    """A failure in the middle of a transaction leaves the old state whole."""
    sql_ledger.save_details([(run(1), detailed())])
    with pytest.raises((ValueError, TypeError)):
        fail(sql_ledger)
    assert [(entry.run, entry.detail) for entry in sql_ledger.entries(SCOPE)] == [(run(1), detailed())]
    assert sql_ledger.count(FAILED) == 0
    assert sql_ledger.certificate(FAILED) is None


def test_threads_share_a_ledger(sql_ledger: SqlLedger) -> None:
    """One thread writes while others read; nobody waits for ever and nothing is lost."""
    counts: list[int] = []

    def read() -> None:
        while not counts or counts[-1] < 60:
            counts.append(sum(1 for _ in sql_ledger.entries(SCOPE)))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for first in range(0, 60, 6):
        sql_ledger.save_details([(run(number), detailed()) for number in range(first, first + 6)])
    for reader in readers:
        reader.join(timeout=30)
    assert counts[-1] == 60
    assert all(count % 6 == 0 for count in counts)


def test_node_executions_have_typed_columns(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """Prices and times of nodes can be asked for in SQL."""
    known = node(
        0, started_at=AT, elapsed_s=Decimal("0.40"), index=5, total_tokens=7, truncated=("inputs", "outputs")
    )
    sql_ledger.save_details([(run(1), replace(detailed(), nodes=(known, node(1))))])
    with sql_ledger.engine.connect() as connection:
        first, second = connection.execute(sa.select(node_executions)).all()
    assert (first.position, first.source_index, first.elapsed_s, first.total_tokens) == (
        0,
        5,
        Decimal("0.40"),
        7,
    )
    assert (first.started_at, first.finished_at, first.truncated) == (AT, None, "inputs outputs")
    assert (second.position, str(second.total_price), second.truncated) == (1, "0.0041700", "")
    assert rows(ledger_file, "SELECT started_at FROM node_executions LIMIT 1") == [
        ("2026-11-22 08:30:00.123456",)
    ]


def test_bodies_are_compressed(sql_ledger: SqlLedger, ledger_file: Path) -> None:
    """A text repeated in every node costs a fraction of its size."""
    body = detailed(text="问答" * 4000).raw
    sql_ledger.save_details([(run(1), replace(detailed(), raw=body))])
    ((size,),) = rows(ledger_file, "SELECT length(body) FROM payloads")
    assert isinstance(size, int)
    assert size < len(body["body"]) / 50


@pytest.mark.parametrize("scope", [SCOPE, FAILED])
@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda ledger, scope: list(ledger.entries(scope)), "INDEX ix_runs_listed"),
        (
            lambda ledger, scope: list(ledger.pending(scope, Level.RUN, open_since=AT)),
            "INDEX ix_runs_unsettled",
        ),
        (lambda ledger, scope: ledger.count(scope), "COVERING INDEX ix_runs_listed"),
    ],
)
def test_questions_about_a_scope_go_along_an_index(
    sql_ledger: SqlLedger, ask: Callable[[SqlLedger, Scope], object], index: str, scope: Scope
) -> None:
    """However many runs there are, a page is found by its place and needs no sorting."""
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(*said: object) -> None:
        asked.append(said[2:4])  # type: ignore[arg-type]

    sa.event.listen(sql_ledger.engine, "before_cursor_execute", note)
    ask(sql_ledger, scope)
    question, values = next(each for each in asked if "FROM runs" in each[0])
    with sql_ledger.engine.connect() as connection:
        steps = [step[3] for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}", values)]
    assert f"{index} (source=? AND app_id=? AND listed_at>? AND listed_at<?)" in steps[0]
    assert not any("TEMP B-TREE" in step for step in steps)


@pytest.mark.usefixtures("short_pages")
def test_a_reader_holds_one_page(sql_ledger: SqlLedger) -> None:
    """The first of many entries is there after one page was read, and no transaction stays open behind it."""
    sql_ledger.save_details([(run(number), detailed()) for number in range(20)])
    begun: list[object] = []
    sa.event.listen(sql_ledger.engine, "begin", begun.append)
    reader = sql_ledger.entries(SCOPE)
    next(reader)
    assert len(begun) == 1
    assert sql_ledger.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert len(list(reader)) == 19
    assert len(begun) == 3


@pytest.mark.usefixtures("short_pages")
def test_batches_larger_than_a_lookup_are_one_transaction(sql_ledger: SqlLedger) -> None:
    """Many runs at once are saved, with members and certificate."""
    many = [run(number) for number in range(40)]
    sql_ledger.save_runs(many, scope=FAILED, at=AT, certificate=certificate(FAILED))
    sql_ledger.save_details([(each, detailed(nodes=0)) for each in many])
    assert sql_ledger.count(FAILED) == 40
    assert not list(sql_ledger.pending(FAILED, Level.NODES, open_since=AT))


def test_nothing_in_the_schema_names_a_source(sql_ledger: SqlLedger) -> None:
    """Tables and columns speak of runs of any source."""
    names = {name for table in metadata.tables.values() for name in (table.name, *table.columns.keys())}
    assert not [name for name in names if "dify" in name or "workflow_run" in name]
    assert APP.source != "dify"
