"""``flowledger`` run, demo and doctor in this process, against a simulated Dify."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from workplace import DATASET, LEGACY_NOW, forget_waits, legacy_server, move_to, settings_of

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.cli.main import COMMANDS, main
from flowledger_simulator import credentials

WHOLE = ("--after", "2026-11-18T00:00:00", "--before", "2026-11-21T23:59:59")
DIRECT = ("run", "--direct", *WHOLE)


@dataclass(frozen=True)
class Said:
    """What a call printed, and its exit status."""

    out: str
    err: str
    status: int


Call = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command in this process."""

    def run(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        return Said(*capsys.readouterr(), int(end.value.code or 0))

    return run


@pytest.fixture(scope="module")
def server() -> Iterator[simulator.SimulatedServer]:
    """A Dify 1.9.1 with the old script's data."""
    with simulator.serve(simulator.load_dataset(DATASET), version="1.9.1", options=legacy_server()) as server:
        yield server


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: simulator.SimulatedServer) -> None:
    """An empty folder, the settings of the server, and its time."""
    move_to(tmp_path, monkeypatch, settings_of(server, COLUMNS="100"))
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: LEGACY_NOW.astimezone(UTC))
    forget_waits(monkeypatch)


def mended(said: Said) -> dict[str, str]:
    """Give what doctor found wrong: the check's name and what it says."""
    lines = (line.removeprefix("MEND  ") for line in said.out.splitlines() if line.startswith("MEND"))
    return {name: text for name, _, text in (line.partition(": ") for line in lines)}


def test_the_result_stands_alone_on_standard_output(call: Call) -> None:
    """``--json`` prints one JSON object; progress goes to standard error."""
    said = call(*DIRECT, "--json")
    assert said.status == 0
    result = json.loads(said.out)
    assert (result["logs_count"], result["certificate"]["certified"]) == (40, True)
    assert "collecting runs" in said.err


def test_people_get_a_table_and_the_paths(call: Call) -> None:
    """Figures first, then every file on a line of its own, which exists."""
    said = call(*DIRECT, "--format", "csv,json")
    assert said.status == 0
    assert "support: custom" in said.out
    assert "40 (success " in said.out
    assert "yes: complete" in said.out
    paths = [Path(line.strip()) for line in said.out.partition("Reports:\n")[2].splitlines()]
    assert {path.suffix for path in paths} == {".csv", ".txt", ".json"}
    assert all(path.is_file() for path in paths)


def test_options_reach_the_report(call: Call, tmp_path: Path) -> None:
    """Filters, depth, folder and the app's name."""
    options = ("--status", "failed", "--no-node-executions", "--app", "support", "--output-dir", "elsewhere")
    said = call(*DIRECT, *options, "--json", "--format", "json", "--save-data")
    result = json.loads(said.out)
    assert result["by_status"] == {"failed": 1}
    assert {Path(path).relative_to(tmp_path).parts[0] for path in result["report_paths"]} == {"elsewhere"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--period", "fortnight"), "last_month"),
        (("--period", "custom"), "custom"),
        (("--period", "today", "--after", "2026-11-20"), "period"),
        (("--after", "someday"), "someday"),
        (("--format", "pdf"), "markdown"),
        (("--status", "lost"), "succeeded"),
        (("--app", "other"), "support"),
        (("--timezone", "Mars/Base"), "Mars/Base"),
        (("--bad",), "--bad"),
    ],
)
@pytest.mark.parametrize("way", [("--direct",), ()])
def test_wrong_words_exit_with_2(
    call: Call, server: simulator.SimulatedServer, arguments: tuple[str, ...], word: str, way: tuple[str, ...]
) -> None:
    """They are told with what would be right, before anything is asked or Prefect started."""
    before = server.requests.total
    said = call("run", *way, *arguments)
    assert (said.status, said.out) == (2, "")
    assert word in said.err
    assert server.requests.total == before


def test_missing_settings_exit_with_1(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are told at once."""
    for name in ("DIFY_BASE_URL", "DIFY_API_TOKEN"):
        monkeypatch.delenv(name)
    said = call(*DIRECT)
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("error: settings need attention")
    assert "DIFY_BASE_URL" in said.err
    assert "DIFY_API_TOKEN" in said.err


def test_a_refused_key_exits_with_1(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is named, its value is not."""
    monkeypatch.setenv("DIFY_API_TOKEN", "app-refused-token")
    said = call(*DIRECT)
    assert (said.status, said.out) == (1, "")
    assert "error: app support: its API key (DIFY_API_TOKEN) was refused" in said.err
    assert "app-refused-token" not in said.err


def test_strict_exits_with_3_when_nothing_is_proved(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is written all the same."""
    world = simulator.make_world(simulator.Recipe(runs=250))
    with simulator.serve(world, options=legacy_server(on_page=simulator.vanishing(1))) as moving:
        for name, value in settings_of(moving).items():
            monkeypatch.setenv(name, value)
        window = ("--after", "2026-11-19T00:00:00", "--before", "2026-11-21T23:59:59")
        said = call("run", "--direct", "--json", "--strict", "--no-details", *window)
    result = json.loads(said.out)
    assert not result["certificate"]["certified"]
    assert all(Path(path).is_file() for path in result["report_paths"])
    assert said.status == 3


def test_the_demonstration_needs_no_settings(call: Call, tmp_path: Path) -> None:
    """A complete report from a simulated Dify; a second one asks only whether anything is new."""
    said = call("demo", "--direct", "--runs", "40")
    assert said.status == 0, said.err
    assert "yes: complete" in said.out
    assert str(tmp_path / "outputs" / "demo") in said.out
    again = call("demo", "--direct", "--runs", "40")
    assert again.status == 0


def test_the_demonstration_leaves_a_real_installation_alone(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: simulator.SimulatedServer
) -> None:
    """Neither the configured app nor the configured ledger is touched, and settings are as before."""
    (tmp_path / ".env").write_text(
        f"LEDGER_URL=sqlite:///{tmp_path}/real.db\nDIFY_CONSOLE_TOKEN=real\n", "utf-8"
    )
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/real.db")
    environment, before = dict(os.environ), server.requests.total
    assert call("demo", "--direct", "--runs", "5").status == 0
    assert not (tmp_path / "real.db").exists()
    assert server.requests.total == before
    assert dict(os.environ) == environment


def test_a_demonstration_without_a_place_says_so(call: Call, tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "outputs").write_text("in the way", "utf-8")
    said = call("demo", "--direct")
    assert said.status == 1
    assert "outputs" in said.err


def test_doctor_finds_a_sound_installation_sound(call: Call) -> None:
    """Every part is looked at, and the exit status is 0."""
    said = call("doctor")
    assert (said.status, mended(said)) == (0, {})
    names = [line.removeprefix("ok    ").partition(":")[0] for line in said.out.splitlines()]
    app = [f"app support, {part}" for part in ("server", "key", "mode", "clock", "console")]
    assert names == ["settings", *app, "ledger", "scratch", "reports", "disk"]
    assert "is Dify 1.9.1" in said.out


@pytest.mark.parametrize(
    ("variables", "check", "advice"),
    [
        ({"DIFY_BASE_URL": "http://127.0.0.1:9"}, "app support, server", "check that Dify runs"),
        ({"DIFY_API_TOKEN": "app-refused-token"}, "app support, key", "make a key in Dify"),
        ({"DIFY_CONSOLE_PASSWORD": "refused-password"}, "app support, console", "check DIFY_CONSOLE_EMAIL"),
        ({"DIFY_CONSOLE_EMAIL": "", "DIFY_CONSOLE_PASSWORD": ""}, "app support, console", "set DIFY_CONSOLE"),
        ({"DIFY_APP_ID": "99999999-2222-4333-8444-555555555555"}, "app support, console", "DIFY_APP_ID"),
    ],
)
def test_doctor_says_what_to_mend(
    call: Call, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], check: str, advice: str
) -> None:
    """One failure gives one line with the remedy, without the secret, and exit status 1."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = call("doctor")
    assert said.status == 1
    assert list(mended(said)) == [check]
    assert advice in mended(said)[check]
    assert "refused-" not in said.out


def test_doctor_asks_mail_servers_and_no_robots(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A robot takes nothing but messages, which somebody would read."""
    mail = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "9", "SMTP_TO": "ops@example.com"}
    for name, value in {**mail, "WEBHOOK_URL": "http://127.0.0.1:9/hook"}.items():
        monkeypatch.setenv(name, value)
    said = call("doctor")
    assert said.status == 1
    assert list(mended(said)) == ["channel email"]
    assert "127.0.0.1:9: no connection" in mended(said)["channel email"]
    assert "webhook" not in said.out


def test_doctor_wants_a_console_for_a_chatflow(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs are in no other list."""
    world = simulator.make_world(simulator.Recipe(runs=1, chat_runs=1))
    with simulator.serve(world, options=legacy_server()) as chat:
        variables = {
            **settings_of(chat, DIFY_CONSOLE_EMAIL="", DIFY_CONSOLE_PASSWORD=""),
            "DIFY_APP_ID": credentials.CHATFLOW_APP_ID,
            "DIFY_API_TOKEN": credentials.CHATFLOW_API_TOKEN,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        said = call("doctor")
    assert said.status == 1
    assert "give it a console log-in" in mended(said)["app support, mode"]


@pytest.mark.parametrize("is_editor", [True, False], ids=["editor", "member"])
def test_doctor_reads_the_conversations_of_an_old_chatflow(
    call: Call, monkeypatch: pytest.MonkeyPatch, is_editor: bool
) -> None:
    """Up to 1.9.1 they lead to its runs, and are for editors only."""
    world = simulator.make_world(simulator.Recipe(runs=1, chat_runs=1))
    options = replace(legacy_server(), is_editor=is_editor)
    with simulator.serve(world, version="1.9.1", options=options) as chat:
        variables = {
            **settings_of(chat),
            "DIFY_APP_ID": credentials.CHATFLOW_APP_ID,
            "DIFY_API_TOKEN": credentials.CHATFLOW_API_TOKEN,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        said = call("doctor")
    if is_editor:
        assert "mode: chatflow: runs are found by the console's conversations" in said.out
    else:
        assert "make it an editor of the workspace" in mended(said)["app support, mode"]


def test_doctor_sees_a_folder_that_cannot_be_written(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ledger and reports both say which setting to change."""
    (tmp_path / "file").write_text("in the way", "utf-8")
    monkeypatch.setenv("OUTPUT_BASE_DIR", str(tmp_path / "file" / "below"))
    said = call("doctor")
    assert said.status == 1
    assert "LEDGER_URL" in mended(said)["ledger"]
    assert "OUTPUT_BASE_DIR" in mended(said)["reports"]


def test_doctor_sees_a_wrong_clock(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Periods near now depend on it."""
    monkeypatch.setattr(
        bootstrap.clock, "utc_now", lambda: LEGACY_NOW.astimezone(UTC) + timedelta(seconds=90)
    )
    said = call("doctor")
    assert "differs by" in mended(said)["app support, clock"]
    assert "NTP" in mended(said)["app support, clock"]


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_every_command_explains_itself(call: Call, command: tuple[str, ...]) -> None:
    """``--help`` and ``-h`` exit with 0; the group names its commands in whole sentences."""
    said = call(*command, "--help")
    assert (said.status, said.err) == (0, "")
    assert said.out == call(*command, "-h").out
    assert said.out.startswith(f"Usage: {' '.join(('flowledger', *command))} ")
    if not command:
        assert all(f"\n  {name} " in said.out for name in COMMANDS)
        assert "..." not in said.out.partition("Commands:")[2]


def test_the_version_is_told(call: Call) -> None:
    """One line."""
    assert call("--version").out.startswith("flowledger, version ")


@pytest.mark.parametrize("arguments", [("unknown",), ()])
def test_no_such_command_exits_with_2(call: Call, arguments: tuple[str, ...]) -> None:
    """The usage says how to go on."""
    said = call(*arguments)
    assert said.status == 2
    assert "Usage: flowledger" in said.err + said.out
