"""The command line on machines whose locale, file system or user is not what one expects."""

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import flowledger_simulator as simulator
from flowledger.bootstrap.config_checks import settings_problems
from flowledger.bootstrap.stores import check_files
from flowledger.errors import StorageError
from flowledger.settings.problems import looked_in

PROJECT = Path(__file__).parents[2]
DAY = "2026-11-21"
NOBODY = 65534


@pytest.fixture(scope="module")
def variables() -> Iterator[Mapping[str, str]]:
    """The settings of a simulated app with a Chinese name."""
    recipe = simulator.Recipe(runs=4, end=datetime(2026, 11, 21, 4, tzinfo=UTC))
    with simulator.serve(simulator.make_world(recipe)) as server:
        app = server.world.app
        yield {
            "DIFY_BASE_URL": server.base_url,
            "DIFY_API_TOKEN": app.api_token,
            "DIFY_APP_ID": app.id,
            "DIFY_APP_NAME": "客服问答",
        }


def run_command(
    folder: Path, environ: Mapping[str, str], *command: str, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    """Run ``flowledger`` in a folder with nothing else in its environment."""
    bare = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(PROJECT / "src")}
    code = "from flowledger.cli.main import main; main()"
    return subprocess.run(
        [*before, sys.executable, "-c", code, *command],
        cwd=folder,
        env={**bare, **environ},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "latin", "LOCPATH": "{folder}"},
    ],
    ids=["C", "latin-1"],
)
def test_a_locale_that_is_not_utf_8_changes_nothing(
    locale: Mapping[str, str], variables: Mapping[str, str], tmp_path: Path
) -> None:
    """Reports have their Chinese names, and the result its characters."""
    if "LOCPATH" in locale:
        localedef = shutil.which("localedef")
        if localedef is None:
            pytest.skip("no localedef on this machine")
        made = subprocess.run(
            [localedef, "-i", "en_US", "-f", "ISO-8859-1", str(tmp_path / "latin")], check=False
        )
        if made.returncode:
            pytest.skip("this machine has no sources of locales")
    environ = {**variables, **{name: text.format(folder=tmp_path) for name, text in locale.items()}}
    order = ("run", "--direct", "--json", "--after", DAY, "--before", DAY, "--format", "csv")
    answer = run_command(tmp_path, environ, *order)
    assert answer.returncode == 0, answer.stderr.decode()
    assert "客服问答" in answer.stdout.decode("utf-8")
    assert list((tmp_path / "outputs/reports/csv").glob("*客服问答*/问答类应用数-总览.csv"))


def test_scratch_files_go_below_the_outputs_where_nothing_else_can_be_written(
    variables: Mapping[str, str], tmp_path: Path
) -> None:
    """As in a container with a read-only file system and one volume."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("only root can make a read-only file system")
    outputs = tmp_path / "volume"
    outputs.mkdir()
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind / && exec "$@"'
    before = (unshare, "-m", "sh", "-c", script, str(outputs))
    environ = {**variables, "OUTPUT_BASE_DIR": str(outputs), "PYTHONDONTWRITEBYTECODE": "1"}
    tried = run_command(tmp_path, environ, "config", "check", before=before)
    if b"unshare failed" in tried.stderr or b"mount:" in tried.stderr:
        pytest.skip("no mount namespaces here")
    order = ("run", "--direct", "--after", DAY, "--before", DAY, "--format", "csv")
    answer = run_command(tmp_path, environ, *order, before=before)
    assert (tried.returncode, answer.returncode) == (0, 0), answer.stderr.decode()
    assert list((outputs / "reports/csv").iterdir())
    assert not list((outputs / ".scratch").iterdir())


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("logs", "LOG_DIR"),
        ("reports/csv", "OUTPUT_BASE_DIR"),
        ("reports/csv/index", "OUTPUT_BASE_DIR"),
        (".incoming", "OUTPUT_BASE_DIR"),
        (".prefect", "OUTPUT_BASE_DIR"),
    ],
)
def test_a_folder_below_that_cannot_be_written_is_named_before_work_begins(
    place: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's command may have made one of them, or something else is in its place."""
    blocked = tmp_path / "outputs" / place
    blocked.parent.mkdir(parents=True)
    blocked.touch()
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("DIFY_BASE_URL=http://127.0.0.1\nDIFY_API_TOKEN=app-x\nDIFY_APP_ID=a\n")
    problems = settings_problems()[1]
    told = [line for line in problems if f"{blocked} is no folder that this user may write" in line]
    assert len(told) == 1
    assert f"name another one ({name})" in told[0]


def said_by_nobody(command: Callable[[], str]) -> str:
    """Return what a command says in a process of a user who owns nothing."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # The simulator's threads stay behind; the child touches nothing of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writing, command().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, as pytest's own may not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_files_of_another_user_are_named_before_work_begins(open_folder: Path) -> None:
    """As after one command with sudo."""
    theirs, ours = open_folder / "ledger.db", open_folder / "ledger.db-wal"
    for file in (theirs, ours):
        file.touch(mode=0o600)
    os.chown(ours, NOBODY, NOBODY)

    def check() -> str:
        check_files([ours], "the ledger")
        try:
            check_files([ours, theirs], "the ledger")
        except StorageError as error:
            return str(error)
        return "nothing"

    assert f"{theirs} is a file that this user may not write" in said_by_nobody(check)


def test_a_folder_of_settings_that_cannot_be_read_is_named(open_folder: Path) -> None:
    """``sudo -u`` leaves the current folder as it was, which may be root's own."""
    open_folder.chmod(0o700)
    assert ".env cannot be read" in said_by_nobody(lambda: looked_in(open_folder))


def test_a_machine_without_any_folder_says_so_before_work_begins(
    variables: Mapping[str, str], tmp_path: Path
) -> None:
    """One sentence of run, and of config check."""
    (tmp_path / "file").touch()
    environ = {**variables, "OUTPUT_BASE_DIR": str(tmp_path / "file/outputs"), "LOG_TARGET": "stderr"}
    for command in (("config", "check"), ("run", "--direct"), ("run",)):
        answer = run_command(tmp_path, environ, *command)
        text = (answer.stdout + answer.stderr).decode()
        assert answer.returncode == 1
        assert "is no folder that this user may write; name another one (OUTPUT_BASE_DIR)" in text
        assert "Traceback" not in text


def test_a_workspace_to_switch_to_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its id nothing is switched, and doctor says so."""
    monkeypatch.chdir(tmp_path)
    text = (
        "DIFY_BASE_URL=http://127.0.0.1\nDIFY_API_TOKEN=app-x\nDIFY_APP_ID=a\nDIFY_SWITCH_WORKSPACE=true\n"
        "DIFY_CONSOLE_EMAIL=ops@example.com\nDIFY_CONSOLE_PASSWORD=a-password\n"
    )
    for more, said in (("", 1), ("DIFY_WORKSPACE_ID=one\n", 0)):
        (tmp_path / ".env").write_text(text + more)
        problems = settings_problems()[1]
        assert sum("cannot be switched to a workspace without" in line for line in problems) == said
