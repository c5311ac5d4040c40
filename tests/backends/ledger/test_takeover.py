"""A folder of journals, as Flowledger wrote it before, becomes the ledger of today: once, whole, verified.

``tests/data/old_file_ledger`` was written by the program of then; ``expected.json`` is what it answered.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ledger_samples import APP, AT, DECODERS, FAILED, OTHER_APP, SCOPE, START

import flowledger
from flowledger.domain.certificates import Certificate
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.messages import OutboxMessage
from flowledger.domain.record_kinds import coze_detail, logged_detail
from flowledger.domain.run_mapping import digest_of
from flowledger.domain.runs import AppKey, Level, missing_reason
from flowledger.domain.windows import LATEST, Window
from flowledger.errors import LedgerError, LedgerVersionError
from flowledger.ledger import legacy_folder, takeover
from flowledger.ledger.folder_ledger import FolderLedger

DATA = Path(__file__).parents[2] / "data" / "old_file_ledger"
EVERY_DECODER = {**DECODERS, "log": logged_detail, "coze": coze_detail}
EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_text("utf-8"))
JOURNAL = "runs/sample/app-1.jsonl"
ASIDE = "old-file-ledger"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of journals."""
    return Path(shutil.copytree(DATA / "whole", tmp_path / "ledger"))


def opened(folder: Path) -> FolderLedger:
    return FolderLedger.open(f"file://{folder}", EVERY_DECODER)


def as_then(certificate: Certificate) -> dict[str, Any]:
    """Return what a certificate of then says: neither when its window was read nor which runs it proves."""
    values = asdict(certificate)
    assert (values.pop("read_at"), values.pop("runs")) == (None, None)
    return values


def letter_as_then(letter: OutboxMessage) -> dict[str, Any]:
    """Return what a message of then says: it had no recipients of its own."""
    values = asdict(letter)
    assert values["message"].pop("recipients") == ()
    return values


def answers(ledger: FolderLedger) -> dict[str, Any]:
    """Ask what the program of then was asked for ``expected.json``."""
    ever = Window(0, LATEST)
    history = ledger.history(RunQuery(), limit=1000, with_details=True).entries
    asked: dict[str, Any] = {"open_since": START - timedelta(days=1)}
    return {
        "runs": {f"{each.run.app}:{each.run.run_id}": digest_of(each) for each in history},
        "certificates": sorted(
            str(as_then(each)) for app in (APP, OTHER_APP) for each in ledger.certificates(app, ever, None)
        ),
        "operations": [str(asdict(each)) for each in ledger.operations()],
        "letters": [str(letter_as_then(each)) for each in ledger.outbox_messages()],
        "keys": [str(asdict(each)) for each in ledger.access_keys()],
        "members": [each.run.run_id for each in ledger.entries(FAILED, with_details=False)],
        "pending": [each.run_id for each in ledger.pending(SCOPE, Level.NODES, **asked)],
        "tried": [each.run_id for each in ledger.pending(SCOPE, Level.NODES, **asked, tried=True)],
        "seen_late": ledger.count(SCOPE, collected_since=AT + timedelta(days=1)),
    }


def files(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def journals(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(folder).items() if ".jsonl" in name or ".bodies" in name}


@pytest.mark.parametrize("kind", ["whole", "compacted"])
def test_everything_is_taken_over(kind: str, tmp_path: Path) -> None:
    """Each question is answered as before, and everything old is aside, to the last byte."""
    folder = Path(shutil.copytree(DATA / kind, tmp_path / "ledger"))
    before = journals(folder)
    ledger = opened(folder)
    assert (answers(ledger), ledger.problems) == (EXPECTED, [])
    ledger.close()
    assert journals(folder / ASIDE) == before
    assert {name for name in journals(folder) if not name.startswith(ASIDE)} == set()
    again = opened(folder)
    assert answers(again) == EXPECTED
    again.close()


def test_the_files_for_people_are_as_they_should_be(folder: Path) -> None:
    """Those that a killed process had not put into their places are there as well; a snapshot is whole."""
    (folder / "workflow_executions/x-0.json").unlink()
    (folder / "workflow_operations/.incoming").mkdir(exist_ok=True)
    (folder / "workflow_operations/op-1.json").rename(folder / "workflow_operations/.incoming/op-1.json")
    opened(folder).close()
    names = {name.partition("/")[2] for name in files(folder) if name.startswith("workflow_executions/")}
    assert names == {"x-0.json", "x-1.json", "x-2.json"}
    assert json.loads((folder / "workflow_executions/x-0.json").read_bytes())["context"] == {
        "n": 0,
        "money": 1.1,
    }
    assert json.loads((folder / "workflow_operations/op-1.json").read_bytes())["data"]["n"] == 1
    snapshot = json.loads((folder / "execution_history/7501.json").read_bytes())
    assert [each["execute_id"] for each in snapshot["histories"]] == ["e3", "e1"]
    assert not (folder / "workflow_operations/.incoming").exists()


def test_what_a_killed_writer_left_unfinished_was_no_write(folder: Path) -> None:
    """Half a line at the end, or a batch of which lines are missing, does not count and alarms nobody."""
    for name in ("journals/operations.jsonl", "execution_history/7501.jsonl"):
        with (folder / name).open("ab") as journal:
            journal.write(b'{"flowledger":"operation","operation_id":"torn')
    with (folder / JOURNAL).open("ab") as journal:
        line = b'{"flowledger":"deleted","app":["sample","app-1"],"ids":["run-000001"]}\n'
        journal.write(b'{"flowledger":"batch","lines":2,"bytes":500,"check":1}\n' + line)
    ledger = opened(folder)
    assert (answers(ledger), ledger.problems) == (EXPECTED, [])
    ledger.close()


def test_a_damaged_line_costs_what_it_told(folder: Path) -> None:
    """All others are taken over; the journal is aside as it was, and the problem names it."""
    damaged = (
        (folder / JOURNAL).read_bytes().replace(b'"run-000002","listed_at"', b'"run-0\x00\xff02","listed_at"')
    )
    (folder / JOURNAL).write_bytes(damaged)
    ledger = opened(folder)
    expected = {name: digest for name, digest in EXPECTED["runs"].items() if "run-000002" not in name}
    assert answers(ledger)["runs"] == expected
    assert any(str(folder / JOURNAL) in problem for problem in ledger.problems)
    ledger.close()
    assert (folder / ASIDE / JOURNAL).read_bytes() == damaged


def test_a_damaged_first_line_of_a_batch_costs_no_run(folder: Path) -> None:
    """The lines behind it are read one by one."""
    content = (folder / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(
        content.replace(b'"batch","lines"', b'"batch","l\x00nes"', 1).replace(b'"bytes"', b'"b"', 1)
    )
    ledger = opened(folder)
    assert answers(ledger) == EXPECTED
    assert len(ledger.problems) == 1
    ledger.close()


def test_a_damaged_body_of_a_detail_is_read_anew(folder: Path) -> None:
    """Its run is there, and waits for its detail as if that had never been read."""
    line = next(
        each
        for each in (folder / JOURNAL).read_text().splitlines()
        if '"detail"' in each and "sha256" in each
    )
    body = json.loads(line)["bodies"]["body"]["sha256"]
    (folder / "runs/sample/app-1.bodies" / body).write_bytes(b"no longer")
    ledger = opened(folder)
    entry = ledger.entry(RunKey(APP, "run-000010"))
    assert entry is not None
    assert missing_reason(entry.detail) is not None
    assert "run-000010" in [run.run_id for run in ledger.pending(SCOPE, Level.RUN, open_since=AT)]
    assert ["run-000010" in problem for problem in ledger.problems] == [True]
    ledger.close()


def test_a_damaged_row_of_a_run_is_told(folder: Path) -> None:
    """The run is left out, all others are there."""
    line = next(each for each in (folder / JOURNAL).read_text().splitlines() if '"run-000009"' in each)
    body = json.loads(line)["raw"]["sha256"]
    (folder / "runs/sample/app-1.bodies" / body).unlink()
    ledger = opened(folder)
    assert len(answers(ledger)["runs"]) == len(EXPECTED["runs"]) - 1
    assert ["run-000009" in problem for problem in ledger.problems] == [True]
    ledger.close()


def test_a_folder_that_an_older_program_writes_to_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the journal and what to do; nothing is changed, and once that program has ended it works."""
    monkeypatch.setattr(legacy_folder, "LOCK_WAIT_S", 0)
    before = files(folder)
    descriptor = os.open(folder / "journals/letters.jsonl", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(
        LedgerError, match=r"letters\.jsonl is in use by an older Flowledger.*end that program"
    ):
        opened(folder)
    assert {name: content for name, content in files(folder).items() if name != ".lock"} == before
    os.close(descriptor)
    ledger = opened(folder)
    assert answers(ledger) == EXPECTED
    ledger.close()


KILLED = """
import os, signal, sys
from flowledger.ledger import takeover
step, number = sys.argv[2], int(sys.argv[3])
real = getattr(takeover, step)
count = 0

def killed(*arguments):
    global count
    count += 1
    if count == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)

setattr(takeover, step, killed)
sys.path.insert(0, os.path.dirname(sys.argv[4]))
from ledger_samples import DECODERS
from flowledger.domain.record_kinds import coze_detail, logged_detail
from flowledger.ledger.folder_ledger import FolderLedger
FolderLedger.open(f"file://{sys.argv[1]}", {**DECODERS, "log": logged_detail, "coze": coze_detail})
"""


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("digest_of", 3),
        ("_compare_the_rest", 1),
        ("write_format", 1),
        ("finish", 1),
        ("_move_aside", 1),
        ("_free", 4),
        ("write_format", 2),
    ],
)
def test_a_takeover_that_is_killed_goes_on_at_the_next_opening(folder: Path, step: str, number: int) -> None:
    """Whatever the moment, nothing is lost and nothing doubled."""
    before = journals(folder)
    command = [sys.executable, "-c", KILLED, str(folder), step, str(number), __file__]
    environment = {**os.environ, "PYTHONPATH": str(Path(flowledger.__file__).parent.parent)}
    ended = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    ledger = opened(folder)
    assert (answers(ledger), ledger.problems) == (EXPECTED, [])
    ledger.close()
    assert journals(folder / ASIDE) == before
    assert not (folder / ".takeover.db").exists()


def test_a_takeover_that_does_not_answer_the_same_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder stays what it was, for the older program to read, and the error says so."""
    before, calls = files(folder), iter(range(1000))
    monkeypatch.setattr(takeover, "digest_of", lambda _: str(next(calls)))
    with pytest.raises(LedgerError, match=r"run .* is not as it was.*the older Flowledger still reads"):
        opened(folder)
    assert {name: content for name, content in files(folder).items() if name != ".lock"} == before


def stray(folder: Path) -> None:
    """Write what a program that was started before the takeover writes after it."""
    shutil.copytree(DATA / "whole/runs", folder / "runs")


def grown(folder: Path) -> None:
    """Let that program write between the two last steps of a takeover."""
    with (folder / JOURNAL).open("ab") as journal:
        journal.write(b'{"flowledger":"deleted","app":["sample","app-1"],"ids":["run-000001"]}\n')


@pytest.mark.parametrize("written", [stray, grown])
def test_what_an_older_program_writes_afterwards_is_not_overlooked(
    folder: Path, written: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Opening is refused, and what the message says to do brings it in."""
    with monkeypatch.context() as patched:
        if written is grown:
            patched.setattr(takeover, "_move_aside", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        try:
            opened(folder).close()
        except KeyboardInterrupt:
            assert written is grown
    written(folder)
    with pytest.raises(LedgerError, match=rf"{JOURNAL}.* after this folder was taken over.*history migrate"):
        opened(folder)
    (tmp_path / "new").mkdir()
    (folder / "runs").rename(tmp_path / "new/runs")
    ledger, late = opened(folder), opened(tmp_path / "new")
    assert answers(ledger) == EXPECTED
    assert len(late.history(RunQuery(), limit=100).entries) >= 10
    ledger.close()
    late.close()


def test_another_ledger_in_the_folder_is_left_alone(folder: Path) -> None:
    """A SQLite ledger of that name counts for its own URL only."""
    (folder / "ledger.db").write_bytes(b"")
    with pytest.raises(LedgerError, match=r"another ledger: write LEDGER_URL=sqlite://"):
        opened(folder)


def test_journals_of_a_newer_program_are_refused(folder: Path) -> None:
    """With the version that is needed; nothing is changed."""
    content = (folder / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(content.replace(b'"version":1', b'"version":7', 1))
    with pytest.raises(LedgerVersionError, match="knows format 7"):
        opened(folder)
    assert not (folder / ASIDE).exists()


def test_a_source_that_cannot_be_read_is_refused(folder: Path) -> None:
    """Its details would be lost: the error names what is missing, and nothing is changed."""
    with pytest.raises(LedgerError, match="can read details of the source 'sample'"):
        FolderLedger.open(f"file://{folder}", {"log": logged_detail, "coze": coze_detail})
    ledger = opened(folder)
    assert answers(ledger) == EXPECTED
    assert ledger.locate("log", "x-2") == AppKey("log", "下单")
    ledger.close()
