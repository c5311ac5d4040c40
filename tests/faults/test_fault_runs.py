"""Whole runs beside each other, on ledgers that are damaged or too new, and of apps whose key is gone."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from doomed_runs import DoomedRuns, doomed_runs, entries, visible
from simulated_dify import FINAL_MIX, NOW, at, make_day, order

import flowledger_simulator as simulator
from flowledger.domain.certificates import Scope
from flowledger.domain.runs import AppKey
from flowledger.errors import LedgerError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger_simulator import SimulatedServer, credentials

pytestmark = pytest.mark.process

RUNS = 12
SCOPE = Scope(AppKey("dify", credentials.WORKFLOW_APP_ID), order().window)


def content(ledger: Path) -> list[str]:
    """Give all that a ledger holds, as statements."""
    with closing(sqlite3.connect(ledger)) as connection:
        return list(connection.iterdump())


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatedServer]:
    """A server of ended runs whose clock stands."""
    with simulator.serve(make_day(RUNS, mix=FINAL_MIX), options=at()) as running:
        yield running


@pytest.fixture(scope="module")
def runs(server: SimulatedServer) -> Iterator[DoomedRuns]:
    """Runs of that server's app."""
    with doomed_runs(server) as started:
        yield started


@pytest.fixture
def ledger(runs: DoomedRuns, tmp_path: Path) -> Path:
    """The ledger that a run has left in the test's folder."""
    ended = runs.run(tmp_path)
    assert ended.status == 0, ended.said
    return tmp_path / "outputs" / "ledger.db"


@pytest.mark.fault(12, 27)
def test_two_runs_of_one_app_at_once_both_finish_with_one_truth(
    runs: DoomedRuns, server: SimulatedServer, tmp_path: Path
) -> None:
    """On an empty folder both make the ledger, both report the same, and nothing is held twice."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert runs.run(alone).status == 0
    with doomed_runs(server) as others, ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda each: each.run(shared), (runs, others)))
    assert [each.status for each in ended] == [0, 0], ended
    assert entries(shared) == entries(alone)
    assert visible(shared) >= visible(alone)
    for name, content in visible(shared) - visible(alone):
        assert "latest" in name or "index" in name, (name, content)


@pytest.mark.fault(28)
def test_a_run_on_a_newer_ledger_is_refused_and_leaves_it_alone(
    runs: DoomedRuns, ledger: Path, tmp_path: Path
) -> None:
    """Older code must not write what newer code has shaped."""
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("UPDATE flowledger_version SET version_num = '9999'")
    before = content(ledger)
    ended = runs.run(tmp_path)
    assert ended.status == 1
    assert str(ledger) in ended.said
    assert "newer" in ended.said
    assert "Traceback" not in ended.said
    assert content(ledger) == before


@pytest.mark.fault(28)
def test_a_run_on_a_damaged_ledger_stops_with_the_way_out(
    runs: DoomedRuns, ledger: Path, tmp_path: Path
) -> None:
    """It says which file and what to do; done so, the next run collects everything again."""
    whole = entries(tmp_path)
    ledger.write_bytes(b"\0" * 512 + ledger.read_bytes()[512:])
    ended = runs.run(tmp_path)
    assert ended.status == 1
    assert str(ledger) in ended.said
    assert "move" in ended.said
    assert "Traceback" not in ended.said
    ledger.rename(ledger.with_name("damaged.db"))
    assert runs.run(tmp_path).status == 0
    assert entries(tmp_path) == whole


@pytest.mark.fault(28)
def test_a_busy_ledger_is_waited_for_and_then_named(ledger: Path) -> None:
    """Who finds it locked for too long learns that another process holds it."""
    busy = SqlLedger.open(f"sqlite:///{ledger}", {}, busy_timeout_s=0.05)
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="another process keeps it locked"):
            busy.save_runs([], scope=SCOPE, at=NOW)
        other.execute("ROLLBACK")
    busy.close()


@pytest.mark.fault(28)
def test_a_reader_does_not_wait_for_a_writer(ledger: Path) -> None:
    """While another process writes, a ledger is opened and read at once."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        reading = SqlLedger.open(f"sqlite:///{ledger}", {}, busy_timeout_s=0.05)
        assert reading.count(SCOPE) == RUNS
        other.execute("ROLLBACK")
    reading.close()


@pytest.mark.fault(16)
def test_an_app_whose_key_is_revoked_fails_alone(
    runs: DoomedRuns, server: SimulatedServer, tmp_path: Path
) -> None:
    """It says which setting to renew and writes nothing; given the key back, it finishes."""
    app = server.world.app
    server.world.apps[app.id] = replace(app, api_token="app-renewed")
    refused = runs.run(tmp_path)
    server.world.apps[app.id] = app
    assert refused.status == 1
    assert "DIFY_API_TOKEN" in refused.said
    assert app.api_token not in refused.said
    assert not visible(tmp_path)
    assert runs.run(tmp_path).status == 0
    assert len(entries(tmp_path)) == RUNS
