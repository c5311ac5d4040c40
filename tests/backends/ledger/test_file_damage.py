"""What happens to files: torn, damaged, of a newer format, where nothing can be written."""

import errno
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ledger_samples import APP, AT, DECODERS, SCOPE, certificate, detailed, run

from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import KINDS, coze_detail, logged_detail, record_of
from flowledger.domain.runs import AppKey, Run
from flowledger.errors import LedgerError, LedgerVersionError, UsageError
from flowledger.ledger import open_ledger
from flowledger.ledger.files.ledger import FileLedger

EVERY_DECODER = {**DECODERS, "log": logged_detail, "coze": coze_detail}
JOURNAL = "runs/sample/app-1.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "files"


def opened(folder: Path) -> FileLedger:
    return FileLedger.open(f"file://{folder}", EVERY_DECODER)


def saved(folder: Path, number: int = 5) -> Path:
    """Save runs one by one, and give their journal."""
    ledger = opened(folder)
    for each in range(number):
        ledger.save_details([(run(each), detailed())])
    return folder / JOURNAL


def held(ledger: FileLedger) -> list[str]:
    return [entry.run.run_id for entry in ledger.history(RunQuery(), with_details=True).entries]


def names(*numbers: int) -> list[str]:
    return [f"run-{number:06d}" for number in numbers]


def coze(number: int) -> dict[str, Any]:
    return {
        "execute_id": f"e{number}",
        "workflow_id": "flow",
        "create_time": 1_000_000 * number,
        "execute_status": "success",
        "output": {"text": "结果"},
    }


def keep(ledger: FileLedger, source: str, record: dict[str, Any]) -> Run:
    fresh, detail = KINDS[source].kept(record)
    ledger.amend(RunKey(fresh.app, fresh.run_id), lambda _: (fresh, detail))
    return fresh


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_torn_last_line_was_no_write(folder: Path, cut: int) -> None:
    """What a killed writer left unfinished is cut off before the next write, and nobody is alarmed."""
    journal = saved(folder)
    whole = journal.read_bytes()
    opened(folder).save_runs([run(8), run(9)], scope=SCOPE, at=AT, certificate=certificate())
    journal.write_bytes(journal.read_bytes()[:-cut])
    ledger = opened(folder)
    assert (held(ledger), ledger.certificate(SCOPE)) == (names(4, 3, 2, 1, 0), None)
    ledger.save_runs([run(7)], scope=SCOPE, at=AT)
    assert held(opened(folder)) == held(ledger) == names(7, 4, 3, 2, 1, 0)
    assert journal.read_bytes().startswith(whole)
    assert (list(folder.rglob("*.corrupt-*")), ledger.problems) == ([], ())


def test_a_damaged_line_is_set_aside_and_the_rest_is_kept(folder: Path) -> None:
    """The damaged file stays as it was under another name, and a caller can see what happened."""
    journal = saved(folder)
    damaged = journal.read_bytes().replace(b'"run-000002","listed_at"', b'"run-0\x00\xff02","listed_at"', 1)
    journal.write_bytes(damaged)
    ledger = opened(folder)
    assert held(ledger) == names(4, 3, 1, 0)
    (aside,) = folder.rglob("*.corrupt-*")
    assert aside.read_bytes() == damaged
    assert len(ledger.problems) == 1
    assert str(journal) in ledger.problems[0]
    assert aside.name in ledger.problems[0]
    ledger.save_runs([run(2)], scope=SCOPE, at=AT)
    assert held(opened(folder)) == names(4, 3, 2, 1, 0)
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


def test_a_damaged_first_line_of_a_batch_costs_no_run(folder: Path) -> None:
    """The lines behind it are read one by one."""
    opened(folder).save_runs([run(1), run(2)], scope=SCOPE, at=AT)
    journal = folder / JOURNAL
    journal.write_bytes(journal.read_bytes().replace(b'"lines":3', b'"lines":9'))
    ledger = opened(folder)
    assert held(ledger) == names(2, 1)
    assert len(ledger.problems) == 1


def test_a_damaged_large_body_is_told(folder: Path) -> None:
    """A body beside its journal is checked by its SHA-256 when it is read."""
    opened(folder).save_details([(run(1), detailed(text="x" * 300_000))])
    (body,) = (folder / "runs/sample/app-1.bodies").iterdir()
    body.write_bytes(b"no longer")
    with pytest.raises(LedgerError, match=r"detail of run run-000001 .* is damaged"):
        opened(folder).entry(RunKey(APP, "run-000001"))


def test_compacting_forgets_bodies_that_nothing_needs(folder: Path) -> None:
    """What was deleted gives its space back, and what is held stays readable."""
    ledger = opened(folder)
    ledger.save_details([(run(n), detailed(text=str(n) * 300_000)) for n in (1, 2)])
    ledger.delete_runs([RunKey(APP, "run-000001")])
    before = (folder / JOURNAL).stat().st_size
    ledger.compact()
    assert len(list((folder / "runs/sample/app-1.bodies").iterdir())) == 1
    assert (folder / JOURNAL).stat().st_size < before
    for each in (ledger, opened(folder)):
        found = each.entry(RunKey(APP, "run-000002"))
        assert found is not None
        assert found.detail == detailed(text="2" * 300_000)


def test_records_have_files_of_their_own(folder: Path) -> None:
    """A program that knows the layouts finds its records as they were given, for the owner alone."""
    ledger = opened(folder)
    logged = {"execution_id": "x:1", "workflow_id": "flow", "status": "läuft", "start_time": "2026-11-01"}
    keep(ledger, "log", logged)
    ledger.record(Operation("op-1", "CREATE", AT, "u", AppKey("log", "flow"), data={"a": 1}))
    for number in (1, 2):
        keep(ledger, "coze", coze(number))
    ledger.compact()
    assert json.loads((folder / "workflow_executions/x:1.json").read_bytes()) == logged
    operation = json.loads((folder / "workflow_operations/op-1.json").read_bytes())
    assert (operation["workflow_id"], operation["data"]) == ("flow", {"a": 1})
    snapshot = json.loads((folder / "execution_history/flow.json").read_bytes())
    assert (snapshot["workflow_id"], snapshot["total"]) == ("flow", 2)
    assert snapshot["histories"] == [coze(2), coze(1)]
    lines = [json.loads(line) for line in (folder / "execution_history/flow.jsonl").read_bytes().splitlines()]
    assert [line for line in lines if "execute_id" in line] == [coze(1), coze(2)]
    for each in folder.rglob("*"):
        assert each.stat().st_mode & 0o777 == (0o700 if each.is_dir() else 0o600), each
    ledger.delete_runs([RunKey(AppKey("log", "flow"), "x:1")])
    assert list((folder / "workflow_executions").glob("*.json")) == []


def test_no_id_is_a_path(folder: Path) -> None:
    """Whatever an id is, nothing is written outside of the folder."""
    ledger = opened(folder)
    for number, hostile in enumerate(("../../out", "/etc/out", "..", "a/b", "\0", "x" * 300)):
        for source in ("log", "coze", "../../src"):
            mine = run(number, app=AppKey(source, hostile), run_id=hostile)
            ledger.save_runs([mine], scope=SCOPE, at=AT)
        keep(ledger, "log", {"execution_id": hostile, "workflow_id": f"w{number}"})
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]
    assert len(held(opened(folder))) == 24


@pytest.mark.parametrize("damage", [False, True])
def test_files_of_old_are_taken_in_once(folder: Path, damage: bool) -> None:
    """A folder of the former program becomes a ledger; what is damaged there is kept aside."""
    for name in ("execution_history", "workflow_executions"):
        (folder / name).mkdir(parents=True)
    old = {"workflow_id": "flow", "total": 2, "histories": [coze(2), coze(1)], "updated_at": 1}
    text = json.dumps(old, ensure_ascii=False, indent=2)
    file = folder / "execution_history/flow.json"
    file.write_text(text[:-200] if damage else text, "utf-8")
    logged = {"execution_id": "x1", "workflow_id": "flow", "status": "completed"}
    (folder / "workflow_executions/x1.json").write_text(json.dumps(logged))
    (folder / "workflow_executions/x2.json").write_text(
        "{" if damage else json.dumps({**logged, "execution_id": "x2"})
    )
    ledger = opened(folder)
    expected = {"e2", "x1"} if damage else {"e1", "e2", "x1", "x2"}
    assert set(held(ledger)) == set(held(opened(folder))) == expected
    assert len(ledger.problems) == len(list(folder.rglob("*.corrupt-*"))) == (2 if damage else 0)
    found = ledger.entry(RunKey(AppKey("log", "flow"), "x1"))
    assert found is not None
    assert record_of(found.run) == logged


def test_a_newer_format_is_refused(folder: Path) -> None:
    """With the version that is needed, and nothing is changed; a journal of its own is refused as well."""
    journal = saved(folder)
    journal.write_bytes(journal.read_bytes().replace(b'"version":1', b'"version":7', 1))
    with pytest.raises(LedgerVersionError, match="knows format 7"):
        held(opened(folder))
    (folder / "format.json").write_text('{"version": 9}')
    with pytest.raises(LedgerVersionError, match=r"format\.json has format 9"):
        opened(folder)
    (folder / "format.json").write_text("[]")
    with pytest.raises(LedgerError, match="does not tell a version"):
        opened(folder)


@pytest.mark.parametrize("url", ["file://", "file:///"])
def test_a_url_without_folder_is_refused(url: str) -> None:
    """And shows how to write one."""
    with pytest.raises(UsageError, match="file:///path/to/folder"):
        open_ledger(url, {})


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process can grow beyond 20 KB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("source", ["log", "coze"])
def test_a_full_disk_loses_nothing(folder: Path, source: str, request: pytest.FixtureRequest) -> None:
    """The message names the way out; what was acknowledged is there, and the next write works."""
    ledger = opened(folder)
    kept = []
    request.getfixturevalue("small_files")

    def fill() -> None:
        for number in range(1000):
            record = {**coze(number), "execution_id": f"e{number}", "context": {"text": "x" * 700}}
            kept.append(keep(ledger, source, record).run_id)

    with pytest.raises(LedgerError, match="make room and run again"):
        fill()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert set(held(opened(folder))) == set(held(ledger)) == set(kept)
    keep(ledger, source, {**coze(5000), "execution_id": "e5000"})
    assert set(held(opened(folder))) == {*kept, "e5000"}


def test_a_write_that_is_refused_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder is read-only, all can be read, and the error says which file and what to do."""
    ledger = opened(folder)
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    real = os.open

    def refuse(path: Any, flags: int, *mode: int, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *mode, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        LedgerError, match=r"app-1\.jsonl: Read-only file system; make the ledger's folder writable"
    ):
        ledger.save_runs([run(2)], scope=SCOPE, at=AT)
    assert held(opened(folder)) == held(ledger) == names(1)


def test_two_that_share_a_folder_see_each_others_writes(folder: Path) -> None:
    """At once, also after one of them has compacted it."""
    one, other = opened(folder), opened(folder)
    for number in range(6):
        (one if number % 2 else other).save_details([(run(number), detailed())])
        if number == 3:
            one.compact()
        assert held(one) == held(other) == names(*reversed(range(number + 1)))
    one.delete_runs([RunKey(APP, "run-000003")])
    assert held(other) == names(5, 4, 2, 1, 0)
