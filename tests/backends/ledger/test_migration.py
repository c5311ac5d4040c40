"""The schema's history: from nothing to what the program knows, and no further."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from ledger_samples import APP, AT, DECODERS, FAILED, SCOPE, certificate, detailed, node, run
from sqlalchemy import create_engine

from flowledger.domain.certificates import RunSet
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.messages import Message, OutboxMessage
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import KINDS, logged_detail
from flowledger.domain.runs import Detailed, Run
from flowledger.errors import LedgerError, LedgerVersionError, RecordConflictError
from flowledger.ledger.rules import NOT_READ
from flowledger.ledger.sql import migration
from flowledger.ledger.sql.bulk import execute_columns
from flowledger.ledger.sql.database import database_at
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.row_mapping import node_columns
from flowledger.ledger.sql.schema import metadata, node_executions
from flowledger.ports import Change, StoredValue

DONE = Operation("op-1", "EXECUTE", AT, "运维", APP, "run-1", {"a": [1, None]})
ANSWERED = Operation("request-1-answer", "ANSWER", AT, "ann", data={"status": 200, "body": "好"})
LETTER = OutboxMessage(
    letter_id="notice/mail",
    channel="mail",
    message=Message(message_id="m", subject="s", body="b"),
    posted_at=AT,
    not_before=AT,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place of each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    made: str = request.getfixturevalue("new_postgresql")()
    return made


@contextmanager
def bare(url: str) -> Iterator[SqlLedger]:
    """A ledger that is not brought up to date."""
    place = database_at(url, 5)
    ledger = SqlLedger(place, DECODERS, place.engine())
    yield ledger
    ledger.close()


def move(ledger: SqlLedger, step: Callable[[Config, str], None], revision: str) -> None:
    config = scripts()
    with ledger.engine.execution_options(writes=("schema",)).begin() as connection:
        config.attributes["connection"] = connection
        step(config, revision)


def fill(ledger: SqlLedger) -> None:
    ledger.save_runs([run(1), run(2)], scope=FAILED, at=AT, certificate=certificate(FAILED))
    ledger.save_details([(run(1), detailed())])
    ledger.record(DONE)


def fill_as_then(ledger: SqlLedger) -> None:
    """Write what ``fill`` writes as the program of revision 0002 did: without the columns that came later."""
    inspector = sa.inspect(ledger.engine)
    with bare_copy(ledger) as now:
        for table in metadata.sorted_tables:
            if not inspector.has_table(table.name):
                continue
            columns = [table.c[each["name"]] for each in inspector.get_columns(table.name)]
            rows = [row._asdict() for row in now.execute(sa.select(*columns))]
            if rows:
                with ledger.engine.execution_options(writes=()).begin() as connection:
                    connection.execute(sa.insert(table), rows)
                    if "id" in table.c and connection.dialect.name == "postgresql":
                        sequence = sa.func.pg_get_serial_sequence(table.name, "id")
                        connection.execute(sa.select(sa.func.setval(sequence, len(rows))))


@contextmanager
def bare_copy(ledger: SqlLedger) -> Iterator[sa.Connection]:
    """A full ledger of today, to copy from."""
    with TemporaryDirectory() as folder:
        today = SqlLedger.open(f"sqlite:///{folder}/today.db", DECODERS)
        fill(today)
        with today.engine.connect() as connection:
            yield connection
        today.close()


def contents(ledger: SqlLedger) -> object:
    entries = [(entry.run, entry.detail) for entry in ledger.entries(FAILED)]
    costs = sorted(str(dict(facts.cost)) for facts in ledger.facts(RunQuery()))
    return entries, ledger.certificate(FAILED), ledger.operations(), costs


COSTS = ["{'USD': Decimal('0.0083400')}", "{}"]
FILLED = ([(run(2), NOT_READ), (run(1), detailed())], certificate(FAILED), [DONE], COSTS)


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_an_older_ledger_is_brought_up_to_date_with_all_it_holds(url: str, revision: str) -> None:
    """Opening a ledger of an old revision keeps every row, adds up what runs cost, and takes what is new."""
    with bare(url) as old:
        move(old, command.upgrade, revision)
        fill_as_then(old)
        assert not sa.inspect(old.engine).has_table("access_keys")
    ledger = SqlLedger.open(url, DECODERS)
    assert contents(ledger) == FILLED
    assert (ledger.enqueue([LETTER]), ledger.outbox_messages()) == (1, [LETTER])
    ledger.save_details([(run(3), detailed())])
    assert ledger.count(SCOPE) == 3
    ledger.close()


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_every_step_can_be_undone_and_done_again(url: str, revision: str) -> None:
    """Going down costs what is new only, and large rows stay; going down to nothing leaves nothing."""
    ledger = SqlLedger.open(url, DECODERS)
    fill(ledger)
    ledger.enqueue([LETTER])
    large = run(2, raw=b"[" + b"0" * 300_000 + b"]")
    ledger.save_runs([large], scope=FAILED, at=AT)
    entries, *others = FILLED
    filled = ([(large, NOT_READ), entries[1]], *others)
    assert contents(ledger) == filled
    move(ledger, command.downgrade, revision)
    assert not sa.inspect(ledger.engine).has_table("large_raws")
    move(ledger, command.upgrade, "head")
    assert contents(ledger) == filled
    assert len(ledger.outbox_messages()) == (revision == "0002")
    move(ledger, command.downgrade, "base")
    assert sa.inspect(ledger.engine).get_table_names() == [migration.VERSION_TABLE]
    move(ledger, command.upgrade, "head")
    assert ledger.count(SCOPE) == 0
    ledger.close()


def test_answers_and_ends_that_were_operations_are_values(url: str) -> None:
    """They are found by their keys, and the audit log keeps what it has of them."""
    with bare(url) as old:
        move(old, command.upgrade, "0003")
        old.record(ANSWERED)
        old.record(DONE)
    ledger = SqlLedger.open(url, DECODERS)
    assert ledger.value("request-1-answer") == StoredValue("request-1-answer", ANSWERED.data, AT)
    assert ledger.value("op-1") is None
    assert {each.operation_id for each in ledger.operations()} == {"request-1-answer", "op-1"}
    assert ledger.put_value("another", {}, AT)
    move(ledger, command.downgrade, "0003")
    move(ledger, command.upgrade, "head")
    assert ledger.value("another") is None
    ledger.close()


def putting(values: tuple[Run, Detailed]) -> Change:
    """Put a run in the place of whatever is stored."""
    return lambda _: values


def test_executions_that_share_an_id_stay(url: str) -> None:
    """Both are there after the upgrade and can be changed; a third workflow is refused the id."""

    def execution(workflow: str, minute: int) -> tuple[Run, Detailed]:
        at = (AT + timedelta(minutes=minute)).isoformat()
        words = {"execution_id": "e", "workflow_id": workflow, "status": "running", "start_time": at}
        return KINDS["log"].run_and_detail(words)

    pair = [execution("one", 0), execution("two", 1)]
    ledger = SqlLedger.open(url, {"log": logged_detail})
    ledger.save_details(pair)
    move(ledger, command.downgrade, "0004")
    move(ledger, command.upgrade, "head")
    for each in pair:
        key = RunKey(each[0].app, "e")
        assert ledger.amend(key, putting(each)) == ledger.entry(key)
    third = execution("three", 2)
    with pytest.raises(RecordConflictError, match="belongs to the workflow two, not to three"):
        ledger.amend(RunKey(third[0].app, "e"), putting(third))
    ledger.close()


def test_containers_are_not_added_up_twice(url: str) -> None:
    """What an old ledger holds of iterations and loops repeats their children's prices."""
    nodes = [node(0), replace(node(1), node_type="iteration"), replace(node(2), currency="CNY")]
    with bare(url) as old:
        move(old, command.upgrade, "0002")
        fill_as_then(old)
        columns = node_columns([2] * len(nodes), nodes)
        with old.engine.execution_options(writes=()).begin() as connection:
            execute_columns(connection, sa.insert(node_executions), columns)
    ledger = SqlLedger.open(url, DECODERS)
    price = Decimal("0.0041700")
    costs = {facts.listed_at: dict(facts.cost) for facts in ledger.facts(RunQuery())}
    assert costs == {run(1).listed_at: {"USD": price * 2}, run(2).listed_at: {"": price, "CNY": price}}
    ledger.close()


def test_prices_of_nodes_that_call_no_model_are_removed(url: str) -> None:
    """An end node handed the usage of its model on and doubled the cost; what has no price is not known."""
    doubled = [node(0), replace(node(1), node_type="end")]
    unpriced = [node(0), replace(node(1), total_price=None)]
    with bare(url) as old:
        move(old, command.upgrade, "0002")
        fill_as_then(old)
        for key, nodes in ((1, doubled), (2, unpriced)):
            with old.engine.execution_options(writes=()).begin() as connection:
                connection.execute(sa.delete(node_executions).where(node_executions.c.run == key))
                execute_columns(
                    connection, sa.insert(node_executions), node_columns([key] * len(nodes), nodes)
                )
                connection.execute(sa.text(f"UPDATE runs SET detail_level = 2 WHERE id = {key}"))
    ledger = SqlLedger.open(url, DECODERS)
    costs = {facts.listed_at: (dict(facts.cost), facts.cost_known) for facts in ledger.facts(RunQuery())}
    price = Decimal("0.0041700")
    assert costs == {run(1).listed_at: ({"": price}, True), run(2).listed_at: ({"": price}, False)}
    ledger.close()


def test_the_scripts_make_the_tables_the_program_uses(url: str) -> None:
    """Nothing in the metadata is missing from the migrations, or the other way round."""
    ledger = SqlLedger.open(url, {})
    options = {"version_table": migration.VERSION_TABLE, "compare_type": True}
    with ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    ledger.close()


def test_older_certificates_do_not_say_which_runs_they_prove(url: str) -> None:
    """They stay as they were, and going down costs what is new only."""
    ledger = SqlLedger.open(url, DECODERS)
    now = certificate(read_at=AT, runs=RunSet(2, 2**128 - 1))
    ledger.save_runs([], scope=SCOPE, at=AT, certificate=now)
    assert ledger.certificate(SCOPE) == now
    move(ledger, command.downgrade, "0007")
    move(ledger, command.upgrade, "head")
    assert ledger.certificate(SCOPE) == certificate()
    ledger.close()


def test_those_that_start_at_once_migrate_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several that find no ledger, one makes it while the others wait for it."""
    upgrades, together = [], threading.Barrier(4)
    revision, upgrade = migration._revision, migration._upgrade

    def see_nothing_at_first(*arguments: Any) -> str | None:
        found = revision(*arguments)
        if not getattr(threading.current_thread(), "has_looked", False):
            threading.current_thread().has_looked = True  # type: ignore[attr-defined]
            together.wait(timeout=30)
        return found

    def note(*arguments: Any) -> None:
        upgrades.append(arguments)
        upgrade(*arguments)

    monkeypatch.setattr(migration, "_revision", see_nothing_at_first)
    monkeypatch.setattr(migration, "_upgrade", note)
    openers = [threading.Thread(target=lambda: SqlLedger.open(url, {}).close()) for _ in range(4)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join(timeout=30)
    assert len(upgrades) == 1


def tables(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", migration.SCRIPTS)
    config.set_main_option("path_separator", "os")
    return config


def test_the_newest_script_is_what_the_program_knows() -> None:
    """A new script needs the revision raised with it."""
    assert ScriptDirectory.from_config(scripts()).get_heads() == [migration.REVISION]


def test_the_scripts_make_the_same_indices(ledger_file: Path, tmp_path: Path) -> None:
    """Orders and conditions of indices, which the comparison does not see, are equal too."""
    direct = tmp_path / "direct.db"
    created = create_engine(f"sqlite:///{direct}")
    metadata.create_all(created)
    created.dispose()
    indices = {name: sql for name, sql in tables(direct).items() if name.startswith("ix_")}
    assert {name: sql for name, sql in tables(ledger_file).items() if name.startswith("ix_")} == indices
    assert len(indices) == 20


def test_a_current_ledger_is_only_looked_at(ledger_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening what is up to date does not start the migration machinery."""
    upgrades: list[object] = []
    monkeypatch.setattr(migration, "_upgrade", lambda *arguments: upgrades.append(arguments))
    SqlLedger.open(f"sqlite:///{ledger_file}", {}).close()
    assert upgrades == []


def change(url: str, statement: str) -> None:
    with bare(url) as ledger, ledger.engine.execution_options(writes=()).begin() as connection:
        connection.exec_driver_sql(statement)


def table_names(url: str) -> list[str]:
    with bare(url) as ledger:
        return sa.inspect(ledger.engine).get_table_names()


def test_a_newer_schema_is_refused(url: str) -> None:
    """Older code does not touch what newer code wrote, and says both versions."""
    SqlLedger.open(url, {}).close()
    change(url, f"UPDATE {migration.VERSION_TABLE} SET version_num = '9999'")
    place = database_at(url, 5)
    with pytest.raises(
        LedgerVersionError, match=rf"{place} has schema 9999.*up to {migration.REVISION}.*update"
    ):
        SqlLedger.open(url, {})


def test_a_foreign_database_is_refused(url: str) -> None:
    """A database of another program is left alone."""
    change(url, "CREATE TABLE theirs (a INTEGER)")
    with pytest.raises(LedgerError, match="another program"):
        SqlLedger.open(url, {})
    assert table_names(url) == ["theirs"]


def test_a_migration_that_fails_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that breaks off takes the whole migration back; the next opening makes it anew."""
    upgrade = command.upgrade

    def break_off(config: Config, revision: str) -> None:
        upgrade(config, revision)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(command, "upgrade", break_off)
        with pytest.raises(KeyboardInterrupt):
            SqlLedger.open(url, {})
    assert table_names(url) == []
    ledger = SqlLedger.open(url, {})
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    assert ledger.count(SCOPE) == 1
    ledger.close()
