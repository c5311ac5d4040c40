"""What asking the backends tells before anything depends on them: each problem and doubt with its place."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.bootstrap import config_checks
from flowledger.bootstrap.config_checks import ProbeResult, probe
from flowledger.cli.main import cli
from flowledger.errors import StorageRefusedError
from flowledger.settings import ConfigManager
from flowledger.storage import s3
from flowledger.storage.service import StorageService

DEAD = "http://127.0.0.1:9"
ADDRESS = "https://oapi.dingtalk.com/robot/send?access_token=planted-robot-key"


@pytest.fixture(scope="module")
def dify() -> Iterator[simulator.SimulatedServer]:
    """A Dify server with an app."""
    with simulator.serve(simulator.make_world(simulator.Recipe(runs=1))) as server:
        yield server


def app_of(server: simulator.SimulatedServer, **more: str) -> dict[str, str]:
    """Give the variables of its app."""
    app = server.world.app
    return {"DIFY_BASE_URL": server.base_url, "DIFY_API_TOKEN": app.api_token, "DIFY_APP_ID": app.id, **more}


def asked(root: Path, variables: dict[str, str]) -> ProbeResult:
    """Ask what these variables name."""
    with bootstrap.configured(ConfigManager(root, variables)) as _:
        return probe(ConfigManager(root, variables).examine())


def test_what_takes_us_has_no_line(tmp_path: Path, dify: simulator.SimulatedServer) -> None:
    """A ledger that opens and a key that is taken."""
    assert asked(tmp_path, app_of(dify)) == ProbeResult()


def test_refusals_and_dead_servers_are_told_together(
    tmp_path: Path, dify: simulator.SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bucket, mail server, ledger and key, each with what to do; a secret is in none of the lines."""
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    (tmp_path / "outputs").write_text("in the way", "utf-8")
    variables = {
        **app_of(dify, DIFY_API_TOKEN="app-planted-token-0001"),
        "STORAGE_TYPE": "s3",
        "S3_BUCKET_NAME": "reports",
        "S3_ENDPOINT": DEAD,
        "S3_ACCESS_KEY_ID": "planted-id",
        "S3_SECRET_ACCESS_KEY": "planted-secret",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": "9",
        "SMTP_TO": "ops@example.com",
    }
    found = asked(tmp_path, variables)
    assert [line.partition(": ")[0] for line in found.problems] == [
        "ledger",
        "storage",
        "channel email",
        "app default",
    ]
    assert "planted" not in "".join(found.problems)
    assert found.notes == []


def bucket_of(root: Path, **more: str) -> dict[str, str]:
    """Give the variables of a bucket that is away, and write two apps, each with a prefix of its own."""
    (root / "config").mkdir()
    common = f"base_url: '{DEAD}', api_token: app-simulated"
    apps = "".join(f"  - {{id: app-{each}, {common}-{each}, storage_prefix: p/{each}}}\n" for each in "ab")
    (root / "config/settings.yaml").write_text(f"apps:\n{apps}", "utf-8")
    keys = {"S3_ACCESS_KEY_ID": "planted-id", "S3_SECRET_ACCESS_KEY": "planted-secret"}
    return {"STORAGE_TYPE": "s3", "S3_BUCKET_NAME": "reports", "S3_ENDPOINT": DEAD, **keys, **more}


def test_a_dead_bucket_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many prefixes are kept in it."""
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    (line,) = asked(tmp_path, bucket_of(tmp_path)).problems
    assert line.startswith("storage: cannot store s3://reports: ")
    assert line.count("s3://reports") == 1


def test_a_bucket_that_refuses_some_prefixes_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right may be given for a part of a bucket."""

    def refuse(store: StorageService) -> str:
        code = refusals[store.place]
        if code:
            raise StorageRefusedError(f"cannot store {store.place}/check/1.txt: {code}; let this key put")
        return store.place

    monkeypatch.setattr(StorageService, "check", refuse)
    refusals = {"s3://reports": "", "s3://reports/p/a": "Forbidden", "s3://reports/p/b": "Forbidden"}
    variables = bucket_of(tmp_path)
    assert asked(tmp_path, variables).problems == [
        "storage: cannot store s3://reports/{p/a, p/b}: Forbidden; let this key put"
    ]
    refusals = {"s3://reports": "Forbidden", "s3://reports/p/a": "Forbidden", "s3://reports/p/b": "403"}
    assert asked(tmp_path, variables).problems == [
        "storage: cannot store s3://reports/{(no prefix), p/a}: Forbidden; let this key put",
        "storage: cannot store s3://reports/p/b: 403; let this key put",
    ]


def test_nothing_is_asked_while_a_file_cannot_be_read(tmp_path: Path) -> None:
    """What it says may name another ledger, bucket or server."""
    variables = bucket_of(tmp_path)
    (tmp_path / "config/settings.yaml").write_text("a: [", "utf-8")
    assert asked(tmp_path, variables) == ProbeResult()
    assert not (tmp_path / "outputs").exists()


def test_an_unknown_schedule_of_an_app_is_named_by_its_place(tmp_path: Path) -> None:
    """With the entries there are."""
    bucket_of(tmp_path)
    file = tmp_path / "config/settings.yaml"
    file.write_text(file.read_text("utf-8").replace("p/b", "p/b, schedules: [nightly]"), "utf-8")
    with bootstrap.configured(ConfigManager(tmp_path, {})):
        _, found = config_checks.settings_problems()
    assert found == (
        "apps[1].schedules in config/settings.yaml: 'nightly' is not in config/deployments.yaml:"
        " one of daily_report, weekly_report, custom_report, cleanup",
    )


def test_a_dify_that_does_not_answer_is_a_note(tmp_path: Path) -> None:
    """It may be back when the first run is due; its other apps are not asked in vain."""
    (tmp_path / "config").mkdir()
    apps = "\n".join(
        f"  - {{id: app-{number}, name: n{number}, base_url: '{DEAD}', api_token: app-simulated}}"
        for number in range(3)
    )
    (tmp_path / "config/settings.yaml").write_text(f"apps:\n{apps}\n", "utf-8")
    found = asked(tmp_path, {})
    assert found.problems == []
    (note,) = found.notes
    assert f"the keys of apps at {DEAD} could not be checked" in note


def test_the_id_of_another_app_is_found_where_there_is_a_console(
    tmp_path: Path, dify: simulator.SimulatedServer
) -> None:
    """Otherwise nobody would notice before node executions are missing."""
    console = {
        "DIFY_CONSOLE_EMAIL": simulator.credentials.EMAIL,
        "DIFY_CONSOLE_PASSWORD": simulator.credentials.PASSWORD,
    }
    found = asked(tmp_path, app_of(dify, **console) | {"DIFY_APP_ID": "another-id"})
    (line,) = found.problems
    assert f"whose id is {dify.world.app.id}, not another-id" in line


def test_a_robot_is_not_asked(tmp_path: Path) -> None:
    """It would write into somebody's group; what to call instead is said."""
    found = asked(tmp_path, {"DINGTALK_WEBHOOK": ADDRESS})
    assert [line for line in found.notes if "channel dingtalk" in line and "notify test" in line]


def test_what_is_wrong_in_the_settings_is_not_asked(tmp_path: Path) -> None:
    """A bucket whose endpoint cannot be read must not be looked for anywhere else."""
    variables = {"STORAGE_TYPE": "s3", "S3_BUCKET_NAME": "reports", "S3_ENDPOINT": "no address"}
    assert asked(tmp_path, {**variables, "LEDGER_URL": "nowhere"}) == ProbeResult()


def test_an_app_whose_address_is_wrong_is_not_asked_at_another(tmp_path: Path) -> None:
    """What stands in for a wrong value is nobody's address; a Dify on this machine is a real one."""
    wrong = {"DIFY_BASE_URL": "no address", "DIFY_API_TOKEN": "app-simulated", "DIFY_APP_ID": "a-1"}
    assert asked(tmp_path, wrong) == ProbeResult()
    (note,) = asked(tmp_path, {**wrong, "DIFY_BASE_URL": "http://localhost:9"}).notes
    assert "localhost:9" in note


def test_config_check_asks_when_told_to(tmp_path: Path, dify: simulator.SimulatedServer) -> None:
    """Refusals stand beside what is wrong in the files, and fail the command."""
    variables = {**app_of(dify, DIFY_API_TOKEN="app-planted-token-0001"), "LOG_TARGET": "moon"}
    with bootstrap.configured(ConfigManager(tmp_path, variables)):
        done = CliRunner().invoke(cli, ["config", "check", "--online"], standalone_mode=False)
    assert done.return_value == 1
    assert [line.partition(":")[0] for line in done.output.splitlines()] == [
        "MEND  LOG_TARGET in environment",
        "MEND  app default",
    ]
