"""Where the record services keep: settings, storage types, the old layout, and nothing at import."""

import asyncio
import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from flowledger.bootstrap import configured
from flowledger.errors import SettingsError
from flowledger.records import (
    BaseLogStorage,
    DatabaseLogStorage,
    ExecutionHistoryService,
    FileLogStorage,
    LogService,
    WorkflowLogger,
    create_storage,
    load_default_config,
    log_service,
)
from flowledger.records.storage import LedgerLogStorage
from flowledger.settings import ConfigManager

WATCHED = """
import os, sys
touched = []
def watch(event, arguments):
    if event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        touched.append((event, str(arguments[0])))
    elif event == "open" and str(arguments[0]).startswith(os.getcwd()):
        touched.append((event, str(arguments[0])))
    elif event in ("os.mkdir", "os.rename", "sqlite3.connect", "socket.connect"):
        touched.append((event, str(arguments[0])))
sys.addaudithook(watch)
from flowledger.records import ExecutionHistoryService, LogService, log_service
repr(log_service), hasattr(log_service, "pytestmark"), log_service.close()
assert touched == [], touched
assert "sqlalchemy" not in sys.modules
"""


def test_importing_opens_nothing(tmp_path: Path) -> None:
    """No file is written, none of the working directory read, no ledger and no connection opened."""
    subprocess.run([sys.executable, "-B", "-c", WATCHED], cwd=tmp_path, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_the_shared_service_opens_when_it_is_used_and_again_after_closing(tmp_path: Path) -> None:
    """Where the settings say, without arguments."""
    settings = {"LEDGER_URL": f"sqlite:///{tmp_path}/mine/ledger.db"}
    with configured(ConfigManager(tmp_path, settings)):
        assert not (tmp_path / "mine").exists()
        made = log_service.start_workflow_execution("w", context={"a": 1})
        log_service.close()
        assert log_service.get_workflow_executions("w") == [made]
        log_service.close()
        log_service.close()
    assert (tmp_path / "mine/ledger.db").is_file()


def test_the_default_options_are_the_settings(tmp_path: Path) -> None:
    """By the names that callers know; the ledger's address stays a secret."""
    said = {
        "OUTPUT_BASE_DIR": "out",
        "RECORDS_MAX_ENTRIES": "7",
        "LOG_RETENTION_DAYS": "3",
        "RECORDS_OPERATION_LOGGING": "false",
        "LEDGER_URL": "postgresql://user:hidden@db/ledger",
    }
    with configured(ConfigManager(tmp_path, said)):
        config = load_default_config()
    assert "hidden" not in repr(config)
    del config["ledger_url"]
    assert config == {
        "storage_type": "ledger",
        "log_dir": tmp_path / "out/data/logs",
        "workflow_execution_dir": "workflow_executions",
        "workflow_operation_dir": "workflow_operations",
        "max_log_entries": 7,
        "enable_operation_logging": False,
        "enable_execution_logging": True,
        "log_retention_days": 90,
        "max_record_mb": 16,
        "legacy_dir": None,
        "timezone": "Asia/Shanghai",
    }


def test_wrong_options_are_refused_together(tmp_path: Path) -> None:
    """Each has a line; no value is quoted."""
    with pytest.raises(SettingsError) as caught:
        LogService(
            config={"log_dirs": "x", "max_log_entries": 0, "legacy_dir": 7, "ledger_url": "nonsense://secret"}
        )
    assert "secret" not in str(caught.value)
    assert [line.split(" ")[0].rstrip(":") for line in sorted(caught.value.problems)] == [
        "ledger_url",
        "legacy_dir",
        "log_dirs",
        "max_log_entries",
    ]
    with pytest.raises(
        SettingsError, match="unknown storage_type 'clay tablets': one of ledger, file, database"
    ):
        create_storage("clay tablets")
    with pytest.raises(SettingsError, match="storage_type postgresql: LEDGER_URL names no PostgreSQL"):
        LogService("postgresql")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["database", "db", "sqlite", "SQLite"])
def test_a_database_is_the_ledgers_or_a_file_of_its_own(configure: Any, tmp_path: Path, word: str) -> None:
    """LEDGER_URL where it is one, else records.db in the folder of records."""
    with LogService(word, configure("sqlite")) as service:
        assert isinstance(service.storage, DatabaseLogStorage)
        service.start_workflow_execution("w")
    assert not (tmp_path / "files").exists()
    with LogService(word, configure("memory")) as service:
        assert service.get_workflow_executions() == []
    assert (tmp_path / "files/records.db").is_file()


def test_files_are_below_the_folder_of_records(configure: Any, tmp_path: Path) -> None:
    """Whatever LEDGER_URL says."""
    with LogService("file", configure("memory")) as service:
        assert isinstance(service.storage, FileLogStorage)
        made = service.start_workflow_execution("w", execution_id="e")
    with LogService("file", configure("sqlite")) as service:
        assert service.get_workflow_execution("e") == made
    assert any((tmp_path / "files").rglob("*e*"))


class ListStorage(BaseLogStorage):
    """A storage as somebody else writes one: three methods over a list."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, dict[str, Any]]] = []

    def save_log(self, log_type: str, data: Any) -> dict[str, Any]:
        self.kept = [
            each for each in self.kept if each[1].get("execution_id", "") != data.get("execution_id")
        ]
        self.kept.append((log_type, dict(data)))
        return dict(data)

    def get_logs(self, log_type: str, filters: Any = None) -> list[dict[str, Any]]:
        return [data for kind, data in reversed(self.kept) if kind == log_type]

    def get_log_by_id(self, log_type: str, log_id: str) -> dict[str, Any] | None:
        return next((data for _, data in self.kept if data.get("execution_id") == log_id), None)


def test_a_storage_of_ones_own_needs_three_methods() -> None:
    """Starting, updating and completing work over it."""
    with LogService(storage=ListStorage()) as service:
        made = service.start_workflow_execution("w", execution_id="e")
        service.update_workflow_execution("e", messages=["a"])
        done = service.complete_workflow_execution("e", False)
        assert (done["messages"], done["status"]) == (["a"], "failed")
        other = service.start_workflow_execution("w")
        service.log_workflow_operation("CREATE", "w")
        listed = [each["execution_id"] for each in service.get_workflow_executions("w")]
        assert listed == [other["execution_id"], made["execution_id"]]
        assert service.get_workflow_operations()[0]["operation_type"] == "CREATE"
    for method in (BaseLogStorage().get_logs, BaseLogStorage().delete_executions):
        with pytest.raises(NotImplementedError):
            method(None)  # type: ignore[arg-type]  # it has no body


def test_what_is_switched_off_is_told_back_and_not_kept(configure: Any) -> None:
    """Programs go on as they are."""
    off = configure("memory", enable_execution_logging=False, enable_operation_logging=False)
    with LogService("ledger", off) as service:
        made = service.start_workflow_execution("w", {"a": 1}, "e")
        assert (made["execution_id"], made["context"]) == ("e", {"a": 1})
        assert service.update_workflow_execution("e", status="done") == {"execution_id": "e"}
        assert service.log_workflow_execution({"workflow_id": "w"})["execution_id"]
        assert service.log_workflow_operation("CREATE", "w")["operation_id"]
        assert service.get_workflow_executions() == service.get_workflow_operations() == []
        assert isinstance(service.workflow_logger, WorkflowLogger)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{level} {message}", level="WARNING")
    yield lines
    logger.remove(sink)


def legacy_of(service: LogService) -> Any:
    assert isinstance(service.storage, LedgerLogStorage)
    return service.storage.legacy


def test_the_old_layout_is_written_beside_the_ledger(configure: Any, tmp_path: Path, ticking: Any) -> None:
    """Executions and operations each in a file, the executions of a Coze workflow in one, newest first."""
    options = configure("memory", legacy_dir=tmp_path / "old")
    with LogService("ledger", options) as service:
        service.start_workflow_execution("w", execution_id="e")
        done = service.complete_workflow_execution("e")
        operation = service.log_workflow_operation("CREATE", "w")
        assert legacy_of(service).failures == 0
    file = tmp_path / "old/workflow_executions/e.json"
    assert json.loads(file.read_bytes()) == done
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    kept = tmp_path / f"old/workflow_operations/{operation['operation_id']}.json"
    assert json.loads(kept.read_bytes()) == operation

    async def record(histories: ExecutionHistoryService) -> Any:
        for execute_id in ("a", "b", "c"):
            await histories.create_execution_record("w", {"q": "值"}, execute_id=execute_id)
        await histories.update_execution_record("w", "a", "success")
        await histories.delete_execution_record("w", "b")
        return (await histories.get_execution_history("w"))["histories"]

    with ExecutionHistoryService(options) as histories:
        held = asyncio.run(record(histories))
        envelope = json.loads((tmp_path / "old/execution_history/w.json").read_bytes())
        assert [each["execute_id"] for each in envelope["histories"]] == ["c", "a"]
        updated_at = envelope["updated_at"]
        assert envelope == {"workflow_id": "w", "total": 2, "histories": held, "updated_at": updated_at}
        asyncio.run(histories.clear_workflow_history("w"))
        assert json.loads((tmp_path / "old/execution_history/w.json").read_bytes())["histories"] == []


def test_an_old_layout_that_fails_is_reported_and_fails_nothing(
    configure: Any, tmp_path: Path, said: list[str]
) -> None:
    """The record is in the ledger; the failure is logged and counted."""
    (tmp_path / "old").write_text("a file where the folder should be", "utf-8")
    with LogService("ledger", configure("memory", legacy_dir=tmp_path / "old")) as service:
        made = service.start_workflow_execution("w", execution_id="e")
        service.log_workflow_operation("CREATE", "w")
        assert service.get_workflow_execution("e") == made
        assert legacy_of(service).failures == 2
    assert len(said) == 2
    assert "WARNING cannot write" in said[0]
    assert "workflow_executions/e.json" in said[0]


def test_writers_of_one_old_file_leave_the_newest(configure: Any, tmp_path: Path) -> None:
    """What the ledger holds at the end is what the file says, and nothing is left lying about."""
    with LogService("ledger", configure("memory", legacy_dir=tmp_path / "old")) as service:
        service.start_workflow_execution("w", execution_id="e")
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda n: service.update_workflow_execution("e", messages=[n]), range(24)))
        assert json.loads((tmp_path / "old/workflow_executions/e.json").read_bytes()) == (
            service.get_workflow_execution("e")
        )
    assert sorted(each.name for each in (tmp_path / "old/workflow_executions").iterdir()) == [
        ".lock",
        "e.json",
    ]
