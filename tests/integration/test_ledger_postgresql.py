"""The whole way with the ledger in PostgreSQL: what comes out is what comes out of a file."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from workplace import DATASET, LEGACY_NOW, forget_waits, legacy_server, move_to, settings_of

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.cli.main import main

RUN = ("run", "--direct", "--after", "2026-11-18T00:00:00", "--before", "2026-11-21T23:59:59")
OPTIONS = ("--format", "csv,markdown,json,data", "--json")

ONE_OF_A_KIND = re.compile(r"_[0-9a-f]{8}(?=\.)")
"""What makes the name of a report its own."""

Report = Callable[..., tuple[Mapping[str, Any], Mapping[str, bytes]]]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Report:
    """Run the command in a folder with a ledger of its own, and give its result and its files."""
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: LEGACY_NOW.astimezone(UTC))
    forget_waits(monkeypatch)

    def run(
        server: simulator.SimulatedServer, folder: Path, ledger_url: str
    ) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
        folder.mkdir(exist_ok=True)
        move_to(folder, monkeypatch, settings_of(server, LEDGER_URL=ledger_url))
        with pytest.raises(SystemExit) as end:
            main([*RUN, *OPTIONS])
        said = capsys.readouterr()
        assert end.value.code in (0, None), said.err
        result = json.loads(said.out)
        files = {ONE_OF_A_KIND.sub("", Path(path).name): Path(path) for path in result["report_paths"]}
        return result, {name: path.read_bytes() for name, path in files.items()}

    return run


def told(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result without its places and times."""
    return {name: value for name, value in result.items() if name not in ("report_paths", "duration")}


def test_reports_from_postgresql_are_those_from_sqlite(
    report: Report, tmp_path: Path, new_postgresql: Callable[[], str]
) -> None:
    """The same runs give the same figures and the same files, byte for byte, wherever the ledger is."""
    with simulator.serve(simulator.load_dataset(DATASET), version="1.9.1", options=legacy_server()) as server:
        sqlite = report(server, tmp_path / "a", f"sqlite:///{tmp_path}/ledger.db")
        postgresql = report(server, tmp_path / "b", new_postgresql())
    assert sqlite[0]["logs_count"] == 40
    assert told(postgresql[0]) == told(sqlite[0])
    assert {Path(name).suffix for name in sqlite[1]} == {".csv", ".txt", ".md", ".json", ".jsonl"}
    assert postgresql[1] == sqlite[1]


def test_a_second_run_finds_what_the_first_kept(
    report: Report, tmp_path: Path, new_postgresql: Callable[[], str]
) -> None:
    """A ledger in PostgreSQL spares the source as one in a file does."""
    url = new_postgresql()
    with simulator.serve(simulator.load_dataset(DATASET), version="1.9.1", options=legacy_server()) as server:
        first, _ = report(server, tmp_path / "a", url)
        asked = server.requests.total
        again, _ = report(server, tmp_path / "b", url)
        assert server.requests.total - asked < asked / 5
    assert again["logs_count"] == first["logs_count"] == 40
