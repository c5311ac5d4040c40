"""The ledger in a folder: its JSON files follow each commit, are repaired when it is opened, and adopted."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ledger_samples import AT, DECODERS, SCOPE, run
from loguru import logger

from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import KINDS, coze_detail, logged_detail, record_of
from flowledger.domain.runs import AppKey, Run
from flowledger.errors import LedgerError, LedgerVersionError, UsageError
from flowledger.ledger import open_ledger
from flowledger.ledger.folder_ledger import FolderLedger
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import Ledger

EVERY_DECODER = {**DECODERS, "log": logged_detail, "coze": coze_detail}
CREATED = Operation("op-1", "CREATE", AT, "u", AppKey("log", "flow"), data={"a": 1})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "files"


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)))
    yield lines
    logger.remove(sink)


def opened(folder: Path) -> FolderLedger:
    return FolderLedger.open(f"file://{folder}", EVERY_DECODER)


def without_files(folder: Path) -> SqlLedger:
    """The same ledger, as a process sees it that dies between a commit and its files."""
    return SqlLedger.open(f"sqlite:///{folder}/ledger.db", EVERY_DECODER)


def ids_in(ledger: Ledger) -> list[str]:
    return [entry.run.run_id for entry in ledger.history(RunQuery(), limit=10_000, with_details=True).entries]


def coze(number: int, workflow_id: str = "flow") -> dict[str, Any]:
    return {
        "execute_id": f"e{number}",
        "workflow_id": workflow_id,
        "create_time": 1_000_000 * number,
        "execute_status": "success",
        "output": {"text": "结果"},
    }


def logged(number: int, **more: Any) -> dict[str, Any]:
    return {"execution_id": f"x{number}", "workflow_id": "flow", "status": "läuft", **more}


def keep(ledger: Ledger, source: str, record: dict[str, Any]) -> Run:
    fresh, detail = KINDS[source].run_and_detail(record)
    ledger.amend(RunKey(fresh.app, fresh.run_id), lambda _: (fresh, detail))
    return fresh


def read(file: Path) -> Any:
    return json.loads(file.read_bytes())


def history_ids(folder: Path, workflow_id: str = "flow") -> list[str]:
    file = read(folder / f"execution_history/{workflow_id}.json")
    assert (file["workflow_id"], file["total"]) == (workflow_id, len(file["histories"]))
    return [each["execute_id"] for each in file["histories"]]


def test_records_have_files_of_their_own(folder: Path) -> None:
    """A program that knows the layouts finds its records as they were given, for the owner alone."""
    ledger = opened(folder)
    keep(ledger, "log", {**logged(1), "execution_id": "x:1"})
    ledger.record(CREATED)
    for number in (1, 2):
        keep(ledger, "coze", coze(number))
    assert read(folder / "workflow_executions/x:1.json") == {**logged(1), "execution_id": "x:1"}
    operation = read(folder / "workflow_operations/op-1.json")
    assert (operation["workflow_id"], operation["data"]) == ("flow", {"a": 1})
    assert operation["timestamp"] == AT.isoformat()
    assert read(folder / "execution_history/flow.json")["histories"] == [coze(2), coze(1)]
    for each in folder.rglob("*"):
        assert each.stat().st_mode & 0o777 == (0o700 if each.is_dir() else 0o600), each
    ledger.delete_runs([RunKey(AppKey("log", "flow"), "x:1"), RunKey(AppKey("coze", "flow"), "e1")])
    assert list((folder / "workflow_executions").glob("*.json")) == []
    assert history_ids(folder) == ["e2"]
    ledger.delete_runs([RunKey(AppKey("coze", "flow"), "e2")])
    assert list((folder / "execution_history").iterdir()) == []
    ledger.close()


def test_what_is_no_record_has_no_file(folder: Path) -> None:
    """A run that only calls itself one of these sources is in the ledger alone."""
    ledger = opened(folder)
    ledger.save_runs([run(1, app=AppKey("log", "flow")), run(2, app=AppKey("coze", "c"))], scope=SCOPE, at=AT)
    assert ids_in(ledger) == ["run-000002", "run-000001"]
    assert [each for each in folder.rglob("*.json") if each.name != "format.json"] == []
    ledger.close()


def test_a_commit_without_its_files_is_repaired_by_the_next_opening(folder: Path) -> None:
    """A process that dies in between leaves nothing behind: changed, deleted and new records, operations."""
    ledger = opened(folder)
    for number in (1, 2):
        keep(ledger, "log", logged(number))
    for number in (1, 2):
        keep(ledger, "coze", coze(number))
    ledger.close()
    dying = without_files(folder)
    keep(dying, "log", logged(1, messages=["new"]))
    dying.delete_runs([RunKey(AppKey("log", "flow"), "x2"), RunKey(AppKey("coze", "flow"), "e1")])
    keep(dying, "log", logged(3))
    keep(dying, "coze", coze(4))
    keep(dying, "coze", coze(5, "other"))
    dying.record(CREATED)
    dying.close()
    assert not (folder / "workflow_executions/x3.json").exists()
    (folder / ".incoming/x9.json").write_bytes(b'{"half')
    opened(folder).close()
    names = sorted(each.name for each in (folder / "workflow_executions").iterdir())
    assert names == ["x1.json", "x3.json"]
    assert read(folder / "workflow_executions/x1.json")["messages"] == ["new"]
    assert history_ids(folder) == ["e4", "e2"]
    assert history_ids(folder, "other") == ["e5"]
    assert read(folder / "workflow_operations/op-1.json")["user"] == "u"
    assert list((folder / ".incoming").iterdir()) == []


def test_opening_again_writes_nothing(folder: Path) -> None:
    """What is in its place is left alone, so that repair costs nothing where nothing is amiss."""
    ledger = opened(folder)
    keep(ledger, "log", logged(1))
    keep(ledger, "coze", coze(1))
    ledger.close()
    before = {each: each.stat().st_ino for each in folder.rglob("*.json")}
    opened(folder).close()
    assert {each: each.stat().st_ino for each in folder.rglob("*.json")} == before


def test_a_file_that_cannot_be_written_fails_no_record(folder: Path, log: list[str]) -> None:
    """The record is in the ledger, the log says why the file is not there, and the next one brings both."""
    ledger = opened(folder)
    (folder / "workflow_executions").touch()
    keep(ledger, "log", logged(1))
    assert ids_in(ledger) == ["x1"]
    assert any("workflow_executions" in line and "move it aside" in line for line in log)
    (folder / "workflow_executions").unlink()
    keep(ledger, "log", logged(2))
    assert sorted(each.name for each in (folder / "workflow_executions").iterdir()) == ["x1.json", "x2.json"]
    ledger.close()


def test_a_large_workflows_file_is_a_hundredth_behind_at_most(folder: Path) -> None:
    """Written for each change it would take ever longer; it is whole when the ledger is closed."""
    ledger = opened(folder)
    ledger.save_details([KINDS["coze"].run_and_detail(coze(number)) for number in range(1, 301)])
    assert len(history_ids(folder)) == 300
    behind = []
    for number in range(301, 310):
        keep(ledger, "coze", coze(number))
        behind.append(number - len(history_ids(folder)))
    assert behind == [1, 2, 0, 1, 2, 3, 0, 1, 2]
    ledger.compact()
    assert len(history_ids(folder)) == 309
    keep(ledger, "coze", coze(310))
    ledger.close()
    assert len(history_ids(folder)) == 310


def test_no_id_is_a_path(folder: Path) -> None:
    """Whatever an id is, nothing is written outside of the folder."""
    ledger = opened(folder)
    for number, hostile in enumerate(("../../out", "/etc/out", "..", "a/b", "\0", "x" * 300)):
        for source in ("log", "coze", "../../src"):
            mine = run(number, app=AppKey(source, hostile), run_id=hostile)
            ledger.save_runs([mine], scope=SCOPE, at=AT)
        keep(ledger, "log", {"execution_id": f"{hostile}{number}", "workflow_id": f"w{number}"})
        keep(ledger, "coze", {"execute_id": hostile, "workflow_id": hostile, "create_time": 1})
    ledger.close()
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]
    again = opened(folder)
    assert len(ids_in(again)) == 24
    again.close()


@pytest.mark.parametrize("damage", [False, True])
def test_files_that_somebody_brings_are_adopted(folder: Path, damage: bool) -> None:
    """A folder of the former program becomes a ledger; what is damaged there is set aside and reported."""
    for name in ("execution_history", "workflow_executions", "workflow_operations"):
        (folder / name).mkdir(parents=True)
    old = {"workflow_id": "flow", "total": 2, "histories": [coze(2), coze(1)], "updated_at": 1}
    text = json.dumps(old, ensure_ascii=False, indent=2)
    file = folder / "execution_history/flow.json"
    file.write_text(text[:-200] if damage else text, "utf-8")
    (folder / "workflow_executions/x1.json").write_text(json.dumps(logged(1), indent=1))
    (folder / "workflow_executions/mine.json").write_text("{" if damage else json.dumps(logged(2)))
    operation = {"operation_id": "op-1", "operation_type": "CREATE", "timestamp": AT.isoformat(), "user": "u"}
    (folder / "workflow_operations/op-1.json").write_text(json.dumps({**operation, "workflow_id": "flow"}))
    ledger = opened(folder)
    expected = {"e2", "x1"} if damage else {"e1", "e2", "x1", "x2"}
    assert set(ids_in(ledger)) == expected
    assert len(ledger.problems) == len(list(folder.rglob("*.corrupt-*"))) == (2 if damage else 0)
    assert [each.operation_type for each in ledger.operations()] == ["CREATE"]
    entry = ledger.entry(RunKey(AppKey("log", "flow"), "x1"))
    assert entry is not None
    assert record_of(entry.run) == logged(1)
    ledger.close()
    names = {each.name for each in (folder / "workflow_executions").glob("*.json")}
    assert names == {f"{each}.json" for each in expected if each[0] == "x"}
    assert set(history_ids(folder)) == {each for each in expected if each[0] == "e"}
    again = opened(folder)
    assert (set(ids_in(again)), again.problems) == (expected, [])
    again.close()


def test_a_workflows_file_is_adopted_later_too(folder: Path) -> None:
    """Where the ledger has nothing of it; what is deleted does not come back."""
    ledger = opened(folder)
    keep(ledger, "coze", coze(1))
    ledger.close()
    brought = {"workflow_id": "later", "histories": [coze(7, "later")]}
    (folder / "execution_history/later.json").write_text(json.dumps(brought))
    ledger = opened(folder)
    assert ids_in(ledger) == ["e7", "e1"]
    ledger.delete_runs([RunKey(AppKey("coze", "later"), "e7")])
    ledger.close()
    again = opened(folder)
    assert ids_in(again) == ["e1"]
    again.close()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ('{"version": 9}', LedgerVersionError, r"format\.json has format 9"),
        ("[]", LedgerError, "does not tell a version"),
    ],
)
def test_a_format_that_is_not_known_is_refused(
    folder: Path, content: str, error: type[Exception], message: str
) -> None:
    """With the version that is needed; nothing is changed."""
    folder.mkdir()
    (folder / "format.json").write_text(content)
    with pytest.raises(error, match=message):
        opened(folder)
    assert not (folder / "ledger.db").exists()


@pytest.mark.parametrize("url", ["file://", "file:///"])
def test_a_url_without_folder_is_refused(url: str) -> None:
    """And shows how to write one."""
    with pytest.raises(UsageError, match="file:///path/to/folder"):
        open_ledger(url, {})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With the way out."""
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"/file: .*move it aside, or set LEDGER_URL"):
        open_ledger(f"file://{tmp_path}/file/ledger", {})


@pytest.fixture
def small_files(folder: Path) -> Iterator[None]:
    """No file of this process can grow beyond 300 KB."""
    opened(folder).close()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("source", ["log", "coze"])
def test_a_full_disk_loses_nothing(folder: Path, source: str, request: pytest.FixtureRequest) -> None:
    """The message names the way out; what was acknowledged is there, and the next write works."""
    kept = []
    request.getfixturevalue("small_files")
    ledger = opened(folder)

    def fill() -> None:
        for number in range(1000):
            record = {**coze(number), "execution_id": f"e{number}", "context": {"text": "x" * 700}}
            kept.append(keep(ledger, source, record).run_id)

    with pytest.raises(LedgerError, match=r"make room and run again|free space, then run again"):
        fill()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert set(ids_in(ledger)) == set(kept)
    keep(ledger, source, {**coze(5000), "execution_id": "e5000"})
    ledger.close()
    again = opened(folder)
    assert set(ids_in(again)) == {*kept, "e5000"}
    again.close()
    if source == "coze":
        assert set(history_ids(folder)) == {*kept, "e5000"}
    else:
        names = {each.stem for each in (folder / "workflow_executions").glob("*.json")}
        assert names == {*kept, "e5000"}


def test_two_that_share_a_folder_see_each_others_writes(folder: Path) -> None:
    """At once, also after one of them has compacted it; the files are written by either."""
    one, other = opened(folder), opened(folder)
    for number in range(6):
        keep(one if number % 2 else other, "coze", coze(number))
        if number == 3:
            one.compact()
        expected = [f"e{each}" for each in reversed(range(number + 1))]
        assert ids_in(one) == ids_in(other) == history_ids(folder) == expected
    one.delete_runs([RunKey(AppKey("coze", "flow"), "e3")])
    assert ids_in(other) == history_ids(folder) == ["e5", "e4", "e2", "e1", "e0"]
    one.close()
    other.close()
