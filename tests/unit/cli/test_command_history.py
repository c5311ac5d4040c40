"""``flowledger history``: listing, showing, exporting, importing, deleting."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq  # type: ignore[import-untyped]  # has no types
import pytest

from flowledger import bootstrap
from flowledger.cli.main import main
from flowledger.dify.parsing import decode, log_run
from flowledger.domain.access_keys import Role
from flowledger.domain.history import RunQuery
from flowledger.domain.record_kinds import COZE, KINDS, LOG
from flowledger.domain.runs import AppKey
from flowledger.io.json_text import dumps_lossless, loads
from flowledger.services.api_keys import create_key
from flowledger.services.history.paging import runs_of

End = Callable[..., int]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def end_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> End:
    """Run a command over a ledger of six executions, and give its exit status."""
    (tmp_path / ".env").write_text(f"LEDGER_URL=sqlite:///{tmp_path}/ledger.db\nTIMEZONE=Asia/Shanghai\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: NOW)
    with bootstrap.opened_ledger(bootstrap.load_settings(need_app=False)) as ledger:
        for number in range(5):
            at = NOW - timedelta(hours=number)
            record = {
                "execution_id": f"e{number}",
                "workflow_id": "w",
                "status": "failed" if number == 2 else "completed",
                "start_time": at.isoformat(),
                "end_time": (at + timedelta(seconds=10 * number)).isoformat(),
                "user": "anna" if number else "=cmd()",
                "error": "没有 room" if number == 2 else None,
            }
            ledger.save_details([KINDS[LOG].run_and_detail(record)])
        coze = {
            "execute_id": "c0",
            "workflow_id": "75",
            "create_time": 1_700_000_000_000,
            "execute_status": "success",
        }
        ledger.save_details([KINDS[COZE].run_and_detail(coze)])

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(["history", *words])
        return int(end.value.code or 0)

    return run


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ((), "e0 e1 e2 e3 e4 c0"),
        (("--limit", "2"), "e0 e1"),
        (("--source", "coze"), "c0"),
        (("--app", "log:w", "--status", "failed"), "e2"),
        (("--app", "75"), "c0"),
        (("--workflow", "w", "--longer", "20s", "--shorter", "0.5m"), "e2 e3"),
        (("--since", "150m"), "e0 e1 e2"),
        (("--since", "2026-11-21T18:00", "--until", "2026-11-21T19:00:00"), "e1 e2"),
        (("--until", "2026-11-20"), "c0"),
        (("--user", "anna", "--text", "ROOM"), "e2"),
    ],
)
def test_filters(end_of: End, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], ids: str) -> None:
    """Each filter lets through what it should, newest first; times are in the settings' zone."""
    assert end_of("list", "--format", "jsonl", *words) == 0
    assert [json.loads(line)["run_id"] for line in capsys.readouterr().out.splitlines()] == ids.split()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--status", "nope"), "one of pending, running, paused, success"),
        (("--app", "nope"), "known are coze:75, log:w"),
        (("--since", "soon"), "cannot read the time"),
        (("--longer", "soon"), "cannot read the duration"),
        (("--longer", "2m", "--shorter", "1s"), "exchange them"),
        (("--since", "1h", "--until", "2h"), "exchange them"),
    ],
)
def test_refuses_words(
    end_of: End, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    """Words that cannot be read are refused with what can be."""
    assert end_of("list", *words) == 2
    assert said in capsys.readouterr().err


def test_shows(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, and one run by its id or whole name; times are the settings' zone's."""
    assert end_of("list") == 0
    assert "2026-11-21 20:00:00" in capsys.readouterr().out
    assert end_of("show", "e2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["error"] == "没有 room"
    assert end_of("show", "log:w:e2") == 0
    assert "没有 room" in capsys.readouterr().out
    assert end_of("show", "nope") == 2
    assert end_of("tail", "-n", "2", "--json") == 0
    out = capsys.readouterr().out
    assert [json.loads(line)["run_id"] for line in out.splitlines()] == ["e1", "e0"]


@pytest.mark.parametrize("value", ["\ud800", float("nan"), 2**70, "[" * 950])
def test_shows_what_strict_json_forbids(
    end_of: End, capsys: pytest.CaptureFixture[str], value: object
) -> None:
    """Lone surrogates, NaN, integers beyond 64 bits and JSON 950 levels deep, in inputs and nodes."""
    deep = loads(f"{value}7{']' * 950}") if isinstance(value, str) and value[0] == "[" else value
    run = log_run(AppKey("dify", "a"), {"id": "l", "created_at": 1_795_219_100, "workflow_run": {"id": "r"}})
    nodes = {"data": [{"node_type": "start", "title": deep, "inputs": {"text": deep}, "outputs": deep}]}
    with bootstrap.opened_ledger(bootstrap.load_settings(need_app=False)) as ledger:
        ledger.save_details([(run, decode(run, {"nodes": dumps_lossless(nodes)}, ""))])
    assert end_of("show", "dify:a:r", "--json") == 0
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["inputs"].keys() == {"text"}
    assert end_of("show", "dify:a:r") == 0
    assert "start" in capsys.readouterr().out


def test_exports(end_of: End, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CSV runs no formula; JSON, JSON lines and Parquet say the same."""
    assert end_of("export", "--format", "csv", "--app", "log:w") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out.removeprefix("\ufeff"))))
    assert [row["creator_name"] for row in rows[:2]] == ["'=cmd()", "anna"]
    assert end_of("export", "--format", "json", "--details") == 0
    found = json.loads(capsys.readouterr().out)
    assert end_of("export", "--out", str(tmp_path / "runs.jsonl"), "--details") == 0
    assert [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()] == found
    assert end_of("export", "--format", "parquet", "--out", str(tmp_path / "runs.parquet")) == 0
    flat = pq.read_table(tmp_path / "runs.parquet").to_pylist()
    assert flat == [{name: row[name] for name in flat[0]} for row in found]
    assert end_of("export", "--format", "parquet") == 2
    assert end_of("export", "--format", "csv", "--lossless") == 2
    assert end_of("export", "--out", str(tmp_path / "nowhere/x")) == 1


def test_comes_back(end_of: End, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What export --lossless wrote comes back after a clearing, bad lines by number, each act on record."""
    file = tmp_path / "all.jsonl"
    assert end_of("export", "--lossless", "--out", str(file)) == 0
    settings = bootstrap.load_settings(need_app=False)
    with bootstrap.opened_ledger(settings) as ledger:
        before = list(runs_of(ledger, RunQuery(), with_details=True))
    assert end_of("clear") == 2
    assert end_of("clear", "--app", "log:w", "--dry-run") == 0
    assert "5 runs would be deleted" in capsys.readouterr().out
    assert end_of("delete", "c0", "--yes") == 0
    assert end_of("clear", "--all", "--yes") == 0
    lines = file.read_text().splitlines()
    torn, rowless = lines[0][:-9], '{"run_id": "r"}'
    file.write_text("\n".join([*lines[:3], torn, rowless, *lines[3:], '{"execution_id": "../x"}']))
    assert end_of("import", str(file), "--dry-run") == 1
    for _ in range(2):
        assert end_of("import", str(file)) == 1
    told = capsys.readouterr()
    assert "6 runs, 0 operations imported, 3 bad lines" in told.out
    assert [line.partition(":")[0] for line in told.err.splitlines()[-3:]] == ["line 4", "line 5", "line 9"]
    with bootstrap.opened_ledger(settings) as ledger:
        assert list(runs_of(ledger, RunQuery(), with_details=True)) == before
        acts = sorted(each.operation_type for each in ledger.operations())
        assert acts == ["CLEANUP", "DELETE", "IMPORT", "IMPORT"]


def test_asks_before_deleting(end_of: End, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes and without an answer nothing is deleted."""
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert end_of("clear", "--app", "log:w") == 130
    with bootstrap.opened_ledger(bootstrap.load_settings(need_app=False)) as ledger:
        assert ledger.apps()[1].runs == 5
        assert not ledger.operations()


def test_backs_up_and_restores(end_of: End, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A backup goes into another ledger, not over another file nor into what holds something."""
    file, other = tmp_path / "b.zip", f"sqlite:///{tmp_path}/other.db"
    assert end_of("backup", str(file)) == 0
    assert end_of("backup", str(file)) == 2
    assert end_of("restore", str(file), "--dry-run") == 0
    assert end_of("restore", str(file)) == 2
    assert end_of("restore", str(file), "--to", other) == 0
    ours = f"sqlite:///{tmp_path}/ledger.db"
    assert end_of("verify", "--from", ours, "--to", other) == 0
    assert "6 runs in the source, 6 in the target, 0 differences" in capsys.readouterr().out
    assert end_of("compact") == 0
    assert "bytes before" in capsys.readouterr().out


def test_an_import_takes_no_id_from_another_workflow(
    end_of: End, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such lines are bad ones, whether the other execution is in the ledger or in the same file."""
    pairs = [("e1", "other"), ("n1", "w"), ("n1", "v"), ("n1", "w")]
    words = [{"execution_id": execution_id, "workflow_id": workflow} for execution_id, workflow in pairs]
    file = tmp_path / "records.jsonl"
    lines = [json.dumps({"status": "ok", "start_time": NOW.isoformat()} | each) for each in words]
    file.write_text("\n".join(lines))
    assert end_of("import", str(file)) == 1
    told = capsys.readouterr()
    assert "2 runs, 0 operations imported, 2 bad lines" in told.out
    assert "line 1: the execution e1 belongs to the workflow w, not to other" in told.err
    assert "line 3: the execution n1 belongs to the workflow w, not to v" in told.err


def test_a_restore_opens_the_api_to_no_key_without_a_word(
    end_of: End, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key may have been revoked since its backup: it is named and stays out, but with --keys comes back."""
    settings = bootstrap.load_settings(need_app=False)
    with bootstrap.opened_ledger(settings) as ledger:
        key, _ = create_key(ledger, "anna", Role.ADMIN, user="root", at=NOW)
        gone, _ = create_key(ledger, "old", Role.ADMIN, user="root", at=NOW)
        ledger.keep_key(replace(gone, revoked_at=NOW))
    file, target = str(tmp_path / "backup"), f"sqlite:///{tmp_path}/new.db"
    assert end_of("backup", file) == 0

    def valid_keys() -> list[str]:
        with bootstrap.open_ledger_at(target) as restored:
            return [each.name for each in restored.access_keys() if each.is_valid(NOW)]

    assert end_of("restore", file, "--dry-run") == 0
    assert f"anna ({key.key_id}); they stay out: --keys" in capsys.readouterr().err
    assert end_of("restore", file, "--to", target) == 0
    assert f"1 keys of the API are valid in the backup and may have been revoked since {NOW:%Y-%m-%d}" in (
        capsys.readouterr().err
    )
    assert valid_keys() == []
    assert end_of("restore", file, "--to", target, "--merge", "--keys") == 0
    assert "revoke those that must not" in capsys.readouterr().err
    assert valid_keys() == ["anna"]
    with bootstrap.open_ledger_at(target) as ledger:
        ledger.keep_key(replace(key, revoked_at=NOW))
    assert end_of("restore", file, "--to", target, "--merge", "--keys") == 0
    assert (valid_keys(), capsys.readouterr().err) == ([], "")


def test_runs_of_a_wrong_app_are_moved_after_a_question(
    end_of: End, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run counts; a record of another program cannot be moved, in so many words."""
    assert end_of("move-app", "log:w", "log:x", "--dry-run") == 0
    assert capsys.readouterr().out == "5 runs of log:w would be moved to log:x\n"
    assert end_of("move-app", "log:w", "log:x", "--yes") == 2
    assert "names its workflow itself" in capsys.readouterr().err
