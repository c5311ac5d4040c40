"""Whole ledgers copied, compared, backed up and restored, between every two backends."""

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from history_samples import APP, BASE, DECODERS, detailed, fill, opened, run

from flowledger.domain.history import RunKey
from flowledger.domain.runs import UNREAD
from flowledger.errors import LedgerError, StorageError, UsageError
from flowledger.ports import Ledger
from flowledger.services.history import migrate as moving
from flowledger.services.history.backup import back_up, check_backup, restore
from flowledger.services.history.migrate import migrate, would_migrate
from flowledger.services.history.verify import Counts, differences

KINDS = ("memory", "sqlite", "file")


def url_of(kind: str, folder: Path) -> str:
    """Name a ledger of a kind."""
    return {
        "memory": "memory://",
        "sqlite": f"sqlite:///{folder}/ledger.db",
        "file": f"file://{folder}/files",
    }[kind]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Close what was opened."""
    with ExitStack() as opened_ones:
        yield opened_ones


def ledger_of(stack: ExitStack, kind: str, folder: Path) -> Ledger:
    """Open a new ledger."""
    folder.mkdir(exist_ok=True)
    return stack.enter_context(closing(opened(url_of(kind, folder))))


def compared(source: Ledger, target: Ledger) -> list[str]:
    """Give all differences."""
    return [str(each) for each in differences(source, target, Counts())]


@pytest.mark.parametrize("target_kind", KINDS)
@pytest.mark.parametrize("source_kind", KINDS)
def test_what_migrates_is_the_same(
    stack: ExitStack, tmp_path: Path, source_kind: str, target_kind: str
) -> None:
    """Between any two backends everything goes over, twice is once, and verify finds nothing."""
    source = ledger_of(stack, source_kind, tmp_path / "a")
    target = ledger_of(stack, target_kind, tmp_path / "b")
    fill(source)
    assert would_migrate(source, target).runs == 42
    first = migrate(source, target)
    assert (first.problems, first.counts()) == (
        [],
        {"runs": 42, "skipped": 0, "certificates": 2, "members": 3, "operations": 3, "letters": 2, "keys": 1},
    )
    assert compared(source, target) == []
    assert (migrate(source, target, resume=True).runs, would_migrate(source, target).skipped) == (0, 42)
    assert compared(source, target) == []
    held = target.entry(RunKey(APP, "run-0005"))
    assert held is not None
    assert held.detail == UNREAD


@pytest.mark.parametrize("kind", KINDS)
def test_backups_come_back_whole(stack: ExitStack, tmp_path: Path, kind: str) -> None:
    """A backup restores to the same ledger in any backend, and only into an empty one."""
    source, target = ledger_of(stack, "memory", tmp_path), ledger_of(stack, kind, tmp_path / "b")
    fill(source)
    file = tmp_path / "ledger.backup"
    made = back_up(source, file, at=BASE, user="anna", apps=[APP])
    assert made == check_backup(file, DECODERS)
    assert file.stat().st_mode & 0o777 == 0o600
    restore(file, target, DECODERS)
    assert compared(source, target) == []
    with pytest.raises(UsageError, match="not empty"):
        restore(file, target, DECODERS)
    restore(file, target, DECODERS, merge=True)
    assert compared(source, target) == []


def test_a_damaged_backup_writes_nothing(stack: ExitStack, tmp_path: Path) -> None:
    """Cut short, one byte changed, or a record taken away: it is refused before anything is written."""
    source, target = ledger_of(stack, "memory", tmp_path), ledger_of(stack, "memory", tmp_path)
    fill(source)
    file, bad = tmp_path / "good", tmp_path / "bad"
    back_up(source, file, at=BASE, user="anna")
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], content[:300] + bytes([content[300] ^ 1]) + content[301:]):
        bad.write_bytes(damaged)
        with pytest.raises(StorageError, match="damaged"):
            restore(bad, target, DECODERS)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).split(b"\n", 1)[1] if name == "runs.jsonl" else old.read(name))
    with pytest.raises(StorageError, match="41 records, 42 by its manifest"):
        restore(bad, target, DECODERS)
    assert not target.apps()


def test_verify_finds_one_changed_byte(stack: ExitStack, tmp_path: Path) -> None:
    """A byte in a body, a run too few, a run too many and another user are each found by name."""
    source, target = ledger_of(stack, "memory", tmp_path), ledger_of(stack, "sqlite", tmp_path / "b")
    fill(source)
    migrate(source, target)
    changed = {"nodes": detailed(4).raw["nodes"].replace(b"\\u7b54", b"\\u7b55", 1)}
    target.save_details([(run(4), replace(detailed(4), raw=changed))])
    target.delete_runs([RunKey(APP, "run-0007")])
    target.save_details([(run(99), detailed(99))])
    operation = source.operation("op-1")
    assert operation is not None
    source.record(replace(operation, operation_id="op-9"))
    assert compared(source, target) == [
        f"run {APP}:run-0099: only in the target",
        f"run {APP}:run-0007: missing in the target",
        f"run {APP}:run-0004: different",
        "operation op-9: missing in the target",
    ]


class FailingOnce:
    """A ledger whose disk is full after so many batches."""

    def __init__(self, ledger: Ledger, batches: int) -> None:
        self.ledger, self.batches = ledger, batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)

    def save_details(self, details: Any) -> None:
        """Fail at last."""
        self.batches -= 1
        if self.batches < 0:
            raise LedgerError("the disk is full")
        self.ledger.save_details(details)


def test_goes_on_where_it_was_interrupted(stack: ExitStack, tmp_path: Path) -> None:
    """What was written before an interruption is not written again."""
    source, target = ledger_of(stack, "memory", tmp_path), ledger_of(stack, "sqlite", tmp_path / "b")
    fill(source, 200)
    with pytest.raises(LedgerError):
        migrate(source, FailingOnce(target, 2))
    resumed = moving.migrate(source, target, resume=True)
    assert resumed.skipped >= 64
    assert resumed.runs + resumed.skipped == 202
    assert compared(source, target) == []


def test_what_the_target_knows_better_is_told(stack: ExitStack, tmp_path: Path) -> None:
    """A deeper detail in the target stays, and is named as a difference."""
    source, target = ledger_of(stack, "memory", tmp_path), ledger_of(stack, "memory", tmp_path)
    fill(source)
    target.save_details([(run(1), detailed(1))])
    assert [line.split(" is held")[0] for line in migrate(source, target).problems] == [f"run {APP}:run-0001"]
    assert json.loads(detailed(1).raw["nodes"])["nodes"] == 2


def test_goes_to_postgresql_and_back(
    stack: ExitStack, tmp_path: Path, new_postgresql: Callable[[], str]
) -> None:
    """PostgreSQL takes and gives everything as it was."""
    source, back = ledger_of(stack, "memory", tmp_path), ledger_of(stack, "sqlite", tmp_path / "b")
    server = stack.enter_context(closing(opened(new_postgresql())))
    fill(source)
    assert migrate(source, server).problems == []
    assert migrate(server, back).problems == []
    assert compared(source, server) == compared(source, back) == []
