"""Registering deployments on a real Prefect server, by the command and the scripts."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_PROFILES_PATH, temporary_settings
from prefect_server import PrefectServer, PrefectServers
from workplace import PROJECT, Ended, bare_environment, command_here, move_to

from flowledger import bootstrap
from flowledger.flows.fetch_workflow_logs import stages_on
from flowledger.flows.registration import FLOWS, WORDS, flow_of
from flowledger.settings.schedules import PARAMETERS

pytestmark = pytest.mark.timeout(600)

FLOW = "fetch-workflow-logs"
OWN = {"announce-dead-run", "end-orphaned-runs"}
"""What automations start, which setting a server up registers."""
TOKEN = "app-simulated-token"
POOL = "dify-workflow-pool"


class Site:
    """A folder with settings, in which commands are run."""

    def __init__(self, folder: Path, api: str) -> None:
        self.folder = folder
        self.variables = {
            "PREFECT_API_URL": api,
            "PREFECT_HOME": str(folder / "home"),
            "FLOWLEDGER_ENV": "prod",
        }
        (folder / "config").mkdir(parents=True)

    def apps(self, *apps: dict[str, Any]) -> None:
        """Write the apps, and that they all use the two reports; each has a key of its own."""
        document = {
            "apps": [
                {"base_url": "https://dify.example.com", "api_token": f"{TOKEN}{number}", **app}
                for number, app in enumerate(apps)
            ]
        }
        (self.folder / "config/settings.yaml").write_text(json.dumps(document), "utf-8")

    def entries(self, **entries: dict[str, Any]) -> None:
        """Write what is run and when."""
        (self.folder / "config/deployments.yaml").write_text(json.dumps(entries), "utf-8")

    def run(self, *words: str, **variables: str) -> Ended:
        """Run a command of ours to its end."""
        wanted = self.variables | variables
        home = Path(wanted["PREFECT_HOME"])
        with (
            pytest.MonkeyPatch.context() as patch,
            temporary_settings(
                {
                    PREFECT_API_URL: wanted["PREFECT_API_URL"],
                    PREFECT_HOME: home,
                    PREFECT_PROFILES_PATH: home / "profiles.toml",
                }
            ),
        ):
            move_to(self.folder, patch, wanted)
            return command_here(*words)

    def run_script(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a program in a process of its own to its end."""
        return subprocess.run(
            words,
            cwd=self.folder,
            env=bare_environment() | self.variables,
            capture_output=True,
            encoding="utf-8",
            timeout=150,
            check=False,
        )

    def deploy(self, *words: str) -> dict[str, str]:
        """Register, and give what became of each deployment."""
        done = self.run("deploy", "--json", *words)
        assert done.returncode == 0, done.stderr
        return {row["name"]: row["result"] for row in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, prefect_servers: PrefectServers
) -> Iterator[PrefectServer]:
    """A server that is set up."""
    folder = tmp_path_factory.mktemp("deployments")
    with prefect_servers.own(folder) as running, temporary_settings({PREFECT_API_URL: running.api}):
        set_up(make_site(folder / "site", running))
        yield running


@pytest.fixture
def site(tmp_path: Path, server: PrefectServer) -> Iterator[Site]:
    """A folder with one app and two entries, on a server that is set up; its deployments go at the end."""
    yield make_site(tmp_path / "site", server)
    with get_client(sync_client=True) as client:
        for each in client.read_deployments():
            if each.name not in OWN:
                client.delete_deployment(each.id)


def make_site(folder: Path, server: PrefectServer) -> Site:
    """Write settings of one app and two entries."""
    site = Site(folder, server.api)
    site.apps({"id": "a-1", "name": "sales"})
    site.entries(daily_report={"schedule": "0 2 * * *"}, custom_report={})
    return site


def set_up(site: Site) -> str:
    """Set the server up from a folder, and return what was printed."""
    done = site.run("deploy", "--setup-only")
    assert done.returncode == 0, done.stderr
    return done.stdout


def held(name: str) -> DeploymentResponse:
    """Read a deployment."""
    with get_client(sync_client=True) as client:
        return client.read_deployment_by_name(f"{FLOW}/{name}")


def test_registering_twice_changes_nothing(site: Site) -> None:
    """First a dry run that writes nothing, then all is created, then all is as it should be."""
    names = ("daily-workflow-report", "custom-workflow-report")
    assert site.deploy("--dry-run") == dict.fromkeys(names, "created")
    with get_client(sync_client=True) as client:
        assert {each.name for each in client.read_deployments()} == OWN
    assert site.deploy() == dict.fromkeys(names, "created")
    updated = held(names[0]).updated
    assert site.deploy() == dict.fromkeys(names, "unchanged")
    assert held(names[0]).updated == updated


def test_a_deployment_has_all_it_needs(site: Site) -> None:
    """Pool, zone, slot, folder, heartbeat, parameters, form; and no secret."""
    site.deploy()
    daily = held("daily-workflow-report")
    (schedule,) = daily.schedules
    assert (schedule.slug, schedule.active) == ("daily_report", True)
    assert schedule.schedule.model_dump(include={"cron", "timezone"}) == {
        "cron": "0 2 * * *",
        "timezone": "Asia/Shanghai",
    }
    assert daily.work_pool_name == POOL
    assert daily.global_concurrency_limit is not None
    assert daily.global_concurrency_limit.limit == 1
    assert daily.concurrency_options is not None
    assert daily.concurrency_options.collision_strategy.value == "ENQUEUE"
    assert daily.parameters == {"app": "sales", "period": "yesterday"}
    assert daily.job_variables["working_dir"] == str(site.folder)
    assert daily.job_variables["env"]["FLOWLEDGER_ENV"] == "prod"
    assert daily.job_variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    form = (daily.parameter_openapi_schema or {})["properties"]
    assert form["app"]["enum"] == ["sales"]
    assert form["period"]["title"] == "周期"
    assert (form["keyword"]["type"], form["keyword"]["description"]) == (
        "string",
        "在输入、输出或会话 ID 中查找",
    )
    assert daily.description == "采集并报告前一天。"
    assert TOKEN not in daily.model_dump_json()
    assert held("custom-workflow-report").schedules == []


def test_a_paused_schedule_stays_paused(site: Site) -> None:
    """Whoever switched it off had a reason, also when something else changes or its name does."""
    site.deploy()
    daily = held("daily-workflow-report")
    with get_client(sync_client=True) as client:
        client.update_deployment_schedule(daily.id, daily.schedules[0].id, active=False)
    site.entries(daily_report={"schedule": "5 2 * * *"}, custom_report={})
    assert site.deploy()["daily-workflow-report"] == "updated"
    assert [each.active for each in held("daily-workflow-report").schedules] == [False]
    site.apps({"id": "a-1", "name": "sales"}, {"id": "a-2", "name": "客服", "schedules": ["custom_report"]})
    done = site.deploy()
    assert done["daily-workflow-report-sales"] == "created"
    assert done["daily-workflow-report"] == "removed, replaced"
    assert [each.active for each in held("daily-workflow-report-sales").schedules] == [False]


def test_what_is_no_longer_configured_goes_only_when_asked(site: Site) -> None:
    """It is named with a warning; --only and --app leave the others alone."""
    site.deploy()
    site.entries(daily_report={"schedule": "0 2 * * *"})
    assert site.deploy("--only", "daily_report", "--prune") == {"daily-workflow-report": "unchanged"}
    done = site.run("deploy")
    assert "custom-workflow-report: no longer configured" in done.stdout
    assert "--prune" in done.stderr
    assert site.deploy("--prune")["custom-workflow-report"] == "removed"
    with get_client(sync_client=True) as client:
        assert {each.name for each in client.read_deployments()} == {*OWN, "daily-workflow-report"}


@pytest.mark.fault(35)
def test_everything_wrong_is_said_before_anything_is_registered(site: Site) -> None:
    """A bad cron, a bad zone, a template, a missing pool and a mail server that is away, together."""
    site.apps({"id": "a-1", "name": "sales", "timezone": "Mars/Base"})
    site.entries(daily_report={"schedule": "0 25 * * *"})
    mail = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "9", "SMTP_TO": "ops@example.com"}
    (site.folder / "templates").mkdir()
    (site.folder / "templates/subject.zh.txt.j2").write_text("{{ nothing.at.all }}", "utf-8")
    done = site.run("deploy", PREFECT_WORK_POOL_NAME="nowhere", TEMPLATE_DIR="templates", **mail)
    assert done.returncode == 1
    assert "unknown time zone 'Mars/Base'" in done.stderr
    assert "daily_report.schedule in config/deployments.yaml: '0 25 * * *' is no cron" in done.stderr
    assert "there is no work pool 'nowhere'" in done.stderr
    assert "setup_prefect.sh" in done.stderr
    assert "subject.zh.txt.j2, line 1: UndefinedError" in done.stderr
    assert "channel email: 127.0.0.1:9: no connection" in done.stderr
    with get_client(sync_client=True) as client:
        assert {each.name for each in client.read_deployments()} == OWN


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--app", "nobody"), "unknown app 'nobody'"),
        (("--only", "monthly"), "--only monthly: no such entry"),
        (("--setup", "--dry-run"), "leave out --setup"),
    ],
)
def test_wrong_words_are_refused(site: Site, words: tuple[str, ...], part: str) -> None:
    """With what is known."""
    done = site.run("deploy", *words)
    assert (done.returncode, part in done.stderr) == (2, True), done.stderr


@pytest.mark.fault(33)
def test_a_server_that_does_not_answer_is_named(site: Site) -> None:
    """With how to start one."""
    done = site.run("deploy", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 1
    assert "http://127.0.0.1:9/api does not answer" in done.stderr
    assert "prefect server start" in done.stderr


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({}, "ok    Prefect: {api} answers, and has the work pool 'dify-workflow-pool'"),
        (
            {"PREFECT_WORK_POOL_NAME": "nowhere"},
            "MEND  Prefect: PREFECT_WORK_POOL_NAME: there is no work pool 'nowhere' on {api}",
        ),
        (
            {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
            "MEND  Prefect: the Prefect server at http://127.0.0.1:9/api does not answer",
        ),
    ],
)
def test_doctor_asks_the_server(site: Site, variables: dict[str, str], line: str) -> None:
    """Whether it answers and has the pool."""
    done = site.run("doctor", **variables)
    assert line.format(api=site.variables["PREFECT_API_URL"]) in done.stdout


def test_setting_up_again_changes_nothing(site: Site) -> None:
    """Profile, pool and automations are as they should be; there is one of each."""
    set_up(site)
    assert set_up(site).count(": unchanged") == 6
    profiles = (site.folder / "home/profiles.toml").read_text("utf-8")
    assert 'active = "flowledger"' in profiles
    assert 'PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED = "events,flow_runs"' in profiles
    assert "lease_storage.filesystem" in profiles
    with get_client(sync_client=True) as client:
        names = sorted(each.name for each in client.read_automations())
    kinds = ("cancelled runs", "crashed runs", "dead runs", "deleted deployments")
    assert names == [f"flowledger: {kind}" for kind in kinds]


def test_who_registered_what_is_in_the_ledger(site: Site) -> None:
    """A dry run leaves nothing."""
    site.deploy("--dry-run")
    site.deploy()
    with bootstrap.open_ledger_at(f"sqlite:///{site.folder}/outputs/ledger.db") as ledger:
        (operation,) = [each for each in ledger.operations() if each.operation_type == "DEPLOY"]
    assert operation.user
    assert operation.data["created"] == ["daily-workflow-report", "custom-workflow-report"]


@pytest.mark.parametrize("name", ["daily_report", "custom_report"])
def test_the_scripts_register_their_own_entry(site: Site, name: str) -> None:
    """They are called by their path, with the options of the command."""
    script = PROJECT / "deployments" / f"{name}.py"
    done = site.run_script(sys.executable, str(script), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("created") == 2
    assert name.partition("_")[0] in done.stdout
    assert len(script.read_text("utf-8").splitlines()) <= 25


def test_each_app_has_each_of_its_schedules(site: Site) -> None:
    """One deployment for an app and an entry."""
    site.apps(*({"id": f"many-{number}", "name": f"app-{number}"} for number in range(6)))
    done = site.deploy()
    assert len(done) == 12
    assert set(done.values()) == {"created"}


def test_flows_are_what_the_entries_say() -> None:
    """Names in Prefect, and every parameter an entry may have, are those of the flows."""
    assert {flow_of(word).name: word for word in FLOWS} == WORDS
    for word, model in PARAMETERS.items():
        assert model.model_fields.keys() <= flow_of(word).parameters.properties.keys()


def test_stages_run_where_they_are_called_unless_dask_is_wanted() -> None:
    """Nothing is handed to a thread or a cluster."""
    with stages_on("threads") as run_stage:
        assert run_stage.__name__ == "_call"
