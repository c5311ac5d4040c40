"""``flowledger history archive`` and its sisters, and ``flowledger audit``, over a folder of their own."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from flowledger import bootstrap
from flowledger.bootstrap.archives import archive_nightly, retention_of
from flowledger.bootstrap.configuration import app_key
from flowledger.cli.audit import audit
from flowledger.cli.history_removal import archive, archives, restore_archive
from flowledger.cli.main import main
from flowledger.domain.certificates import Scope
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.runs import UNREAD, AppKey, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.errors import StorageError, UsageError

NOW = datetime(2026, 11, 22, tzinfo=UTC)
APP = AppKey("dify", "11111111-1111-1111-1111-111111111111")
LOGGED = AppKey("log", "orders")


@pytest.fixture(autouse=True)
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose ledger has ten runs of the app, a day apart, and logged ones as old."""
    (tmp_path / ".env").write_text(
        "DIFY_BASE_URL=http://127.0.0.1:1\nDIFY_API_TOKEN=app-abc\nDIFY_APP_NAME=shop\n"
        f"DIFY_APP_ID={APP.app_id}\nRUN_RETENTION_COUNT=7\nRECORDS_RETENTION_DAYS=5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: NOW)
    with bootstrap.opened_ledger(bootstrap.load_settings()) as ledger:
        for app in (APP, LOGGED):
            runs = [made(app, day) for day in range(10)]
            ledger.save_runs(runs, scope=Scope(app, Window(0, 0)), at=NOW)
    return tmp_path


def made(app: AppKey, day: int) -> Run:
    """Make a final run of so many days ago."""
    status = RunStatus.SUCCESS
    return Run(app, f"run-{day}", NOW - timedelta(days=day, hours=1), status, "succeeded", raw=b"{}")


def ran(command: click.Command, *words: str) -> Result:
    """Run a command that succeeds."""
    return CliRunner().invoke(command, words, catch_exceptions=False)


def end_of(*words: str) -> object:
    """Run the whole command line, and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


def held(app: AppKey) -> list[str]:
    """Give the ids that the ledger holds."""
    with bootstrap.opened_ledger(bootstrap.load_settings()) as ledger:
        return [each.run.run_id for each in ledger.history(RunQuery(apps=(app,))).entries]


def trail() -> list[Operation]:
    """Give what is on record, newest first."""
    with bootstrap.opened_ledger(bootstrap.load_settings()) as ledger:
        return list(ledger.operations())


def test_archives_lists_and_restores() -> None:
    """A dry run says what would go; then it goes, is listed, checked, and comes back."""
    assert "shop: 3 runs would be archived (more than 7 runs" in ran(archive, "--dry-run").output
    assert (len(held(APP)), len(held(LOGGED)), trail()) == (10, 10, [])
    results = json.loads(ran(archive, "--json").output)
    assert [(each["app"], each["runs"], each["deleted"]) for each in results] == [
        ("shop", 3, 3),
        ("log:orders", 5, 5),
    ]
    assert held(APP) == [f"run-{day}" for day in range(7)]
    assert "nothing is beyond" in ran(archive).output
    (listed,) = json.loads(ran(archives, "--app", "shop", "--json").output)
    assert (listed["runs"], listed["reason"], listed["app_name"]) == (3, "more than 7 runs", "shop")
    name = listed["archive"]
    assert ran(archives, "--check", name).output.strip().endswith("ok")
    assert "3 of 3 runs would be restored" in ran(restore_archive, name, "--dry-run").output
    assert "3 of 3 runs restored, 0 held" in ran(restore_archive, name).output
    assert "0 of 3 runs restored, 3 held" in ran(restore_archive, name).output
    assert len(held(APP)) == 10


def test_a_difference_is_an_exit_status() -> None:
    """A run of the ledger that is not what the archive holds: the command fails, and counts it."""
    (result,) = json.loads(ran(archive, "--app", "shop", "--json").output)
    (name,) = result["archives"]
    assert end_of("history", "restore-archive", name) == 0
    with bootstrap.opened_ledger(bootstrap.load_settings()) as ledger:
        changed = replace(made(APP, 9), error="late news")
        ledger.amend(RunKey(APP, "run-9"), lambda _: (changed, UNREAD))
    assert end_of("history", "restore-archive", name) == 1
    assert end_of("history", "restore-archive", name, "--json") == 1
    assert end_of("history", "restore-archive", name, "--dry-run") == 0


def test_restores_into_another_ledger(filled: Path) -> None:
    """An archive can be looked at elsewhere; the ledger itself stays as it is."""
    (result,) = json.loads(ran(archive, "--app", "shop", "--json").output)
    url = f"sqlite:///{filled / 'old.db'}"
    assert (
        json.loads(ran(restore_archive, *result["archives"], "--to", url, "--json").output)["restored"] == 3
    )
    assert len(held(APP)) == 7
    with bootstrap.open_ledger_at(url) as ledger:
        assert [each.runs for each in ledger.apps()] == [3]


def test_a_spoilt_archive_is_found(filled: Path) -> None:
    """A file that was changed in the storage fails the check, and nothing is restored of it."""
    (result,) = json.loads(ran(archive, "--app", "shop", "--json").output)
    (part,) = filled.rglob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    for command, words in ((archives, ("--check",)), (restore_archive, ())):
        with pytest.raises(StorageError, match="SHA-256"):
            ran(command, *words, *result["archives"])
    assert len(held(APP)) == 7


def test_retention_of_each_kind() -> None:
    """An app has its own limits, logged executions their days; a wrong app is refused."""
    settings = bootstrap.load_settings()
    assert retention_of(settings, APP).count == 7
    assert (retention_of(settings, LOGGED).days, retention_of(settings, AppKey("coze", "x")).days) == (
        5,
        None,
    )
    assert app_key(settings, "log:a:b") == AppKey("log", "a:b")
    with pytest.raises(UsageError, match="source:id"):
        app_key(settings, "nobody")


def test_the_nightly_cleanup_takes_all_along() -> None:
    """The cleanup of the first app archives the runs of other programs too."""
    assert [each["app"] for each in archive_nightly("shop", dry_run=True)] == ["shop", "log:orders"]


def test_the_trail_is_shown_and_filtered() -> None:
    """Who archived what is listed, newest first, as lines and as JSON, by type, app, user and time."""
    ran(archive)
    lines = ran(audit).output.splitlines()
    assert len(lines) == 4
    assert "CLEANUP" in "".join(lines)
    (row,) = (
        json.loads(line)
        for line in ran(audit, "--type", "archive", "--app", "shop", "--json").output.splitlines()
    )
    assert (row["data"]["runs"], row["app"], row["user"]) == (3, str(APP), bootstrap.user_name())
    assert len(ran(audit, "--app", "log:orders").output.splitlines()) == 2
    assert len(ran(audit, "--limit", "1").output.splitlines()) == 1
    assert "nothing is on record" in ran(audit, "--user", "nobody-else").output
    assert "nothing is on record" in ran(audit, "--since", "2026-11-23").output
    assert len(ran(audit, "--before", "2026-11-23T00:00Z").output.splitlines()) == 4
    for words in (("--since", "soon"), ("--app", "nobody")):
        with pytest.raises(UsageError):
            ran(audit, *words)
