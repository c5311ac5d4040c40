"""The two old layouts migrated by command: by content, bad files kept aside, twice is once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flowledger import bootstrap
from flowledger.cli.main import main
from flowledger.domain.history import RunKey
from flowledger.domain.record_kinds import record_of
from flowledger.domain.runs import AppKey

End = Callable[..., int]


@pytest.fixture
def end_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> End:
    """Run a command, and give its exit status."""
    (tmp_path / ".env").write_text("TIMEZONE=Asia/Shanghai\n")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(["history", *words])
        return int(end.value.code or 0)

    return run


def write(file: Path, content: object) -> None:
    """Write a file with its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))


def coze(number: int) -> dict[str, object]:
    """Make a Coze execution of old."""
    return {
        "execute_id": f"x{number}",
        "workflow_id": "75",
        "create_time": 1_700_000_000_000 + number,
        "update_time": 1_700_000_001_000,
        "execute_status": "success",
        "output": "好",
    }


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Make both layouts, with files that are bad in every way."""
    folder = tmp_path / "old"
    execution = {
        "execution_id": "e1",
        "workflow_id": "w",
        "status": "completed",
        "start_time": "2026-11-20T08:00:00",
    }
    write(folder / "workflow_executions/any name.json", execution)
    write(folder / "workflow_executions/e2.json", {**execution, "execution_id": "../e2"})
    write(folder / "workflow_executions/e3.json", '{"execution_id": "e3"')
    write(folder / "workflow_executions/e4.json", [1])
    write(folder / "workflow_executions/twice.json", {**execution, "status": "failed"})
    write(
        folder / "workflow_operations/o.json",
        {
            "operation_id": "o1",
            "operation_type": "PUBLISH",
            "workflow_id": "w",
            "timestamp": "2026-11-20T08:00:00",
            "user": "anna",
            "data": {"a": 1},
        },
    )
    histories = [coze(2), coze(1), {"execute_status": "success"}]
    write(
        folder / "execution_history/misnamed.json", {"workflow_id": "75", "total": 3, "histories": histories}
    )
    torn = json.dumps({"workflow_id": "75", "histories": [coze(9), coze(8)]}, ensure_ascii=False)
    write(folder / "execution_history/torn.json", torn[:-60])
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Give all files with their content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_reads_by_content(end_of: End, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What can be read goes over, bad files are copied aside, and nothing in the folder changes."""
    before, target = tree(old), f"sqlite:///{old.parent}/new.db"
    words = ("migrate", "--from", str(old), "--to", target)
    assert end_of(*words, "--dry-run") == 1
    assert "4 runs would go over" in capsys.readouterr().out
    assert not (old.parent / "new.db").exists()
    assert not (old.parent / "old.quarantine").exists()
    for more in ((), (), ("--resume",)):
        assert end_of(*words, *more) == 1
        told = capsys.readouterr()
        assert "6 problems" in told.err
        assert "is missing" not in told.out
    assert "0 runs, 4 skipped" in told.out
    assert tree(old) == before
    bad = ["e2.json", "e3.json", "e4.json", "misnamed.json", "torn.json", "twice.json"]
    aside = tree(old.parent / "old.quarantine")
    assert sorted(Path(name).name for name in aside) == bad
    assert all(before[name] == content for name, content in aside.items())
    assert all(name in told.err for name in bad)
    with bootstrap.open_ledger_at(target) as ledger:
        entry = ledger.entry(RunKey(AppKey("log", "w"), "e1"))
        operation = ledger.operation("o1")
        assert entry is not None
        assert operation is not None
        assert record_of(entry.run)["start_time"] == "2026-11-20T08:00:00+08:00"
        assert (operation.user, operation.at.isoformat()) == ("anna", "2026-11-20T00:00:00+00:00")
        assert [each.app.app_id for each in ledger.apps()] == ["75", "w"]
        assert len([each for each in ledger.operations() if each.operation_type == "MIGRATE"]) == 6


def test_verifies(end_of: End, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verify is content with good files, and finds a byte that has changed in one of them."""
    for name in ("e2", "e3", "e4", "twice"):
        (old / f"workflow_executions/{name}.json").unlink()
    write(old / "execution_history/misnamed.json", {"workflow_id": "75", "total": 1, "histories": [coze(1)]})
    (old / "execution_history/torn.json").unlink()
    target = f"file://{old.parent}/new"
    assert end_of("migrate", "--from", str(old), "--to", target) == 0
    assert end_of("verify", "--from", str(old), "--to", target) == 0
    assert "2 runs in the source, 2 in the target, 0 differences" in capsys.readouterr().out
    file = old / "execution_history/misnamed.json"
    file.write_text(file.read_text().replace("好", "坏"))
    assert end_of("verify", "--from", str(old), "--to", target) == 1
    assert "run coze:75:x1: different" in capsys.readouterr().out


def test_refuses(end_of: End, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One place twice, a source that is not there and an unknown scheme are refused, without a password."""
    url = f"sqlite:///{old.parent}/x.db"
    for source, target in (
        (url, url),
        (str(old), f"file://{old}"),
        (url, f"file://{old.parent}/y"),
        (str(old / "nowhere"), url),
        (str(old), "postgres://anna:tell-nobody@127.0.0.1/x"),
    ):
        assert end_of("migrate", "--from", source, "--to", target) == 2
        assert "tell-nobody" not in capsys.readouterr().err
    assert not (old.parent / "x.db").exists()
