"""Where a soak runs: three apps of one simulated Dify behind a proxy, Prefect, two workers, one ledger."""

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import requests
import sqlalchemy as sa
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_server import LEAN
from prefect_worker import Site
from soak_programs import MARK, Program, kill, marked
from tcp_proxy import TcpProxy, proxied
from webhook_receiver import Receiver, receiver
from workplace import bare_environment

import flowledger_simulator as simulator
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import zone
from flowledger.flows.profiles import SERVER_SETTINGS
from flowledger.services.catch_up import Cadence, Due, due_between
from flowledger_simulator import SimulatedApp, SimulatedRun, SimulatedServer, World, credentials
from flowledger_simulator.world import operator
from postgresql_server import (  # type: ignore[import-not-found]  # beside conftest.py, in no folder of modules
    HASTY,
    HERE,
    execute,
    with_database,
)

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

POSTGRESQL: str = HERE
POOL = "dify-workflow-pool"
FLOW = "fetch-workflow-logs"
DAILY = Cadence("daily_report", "yesterday", "0 2 * * *")
WORKERS = 2
AT_ONCE = 1
"""Runs that one worker executes side by side: two cores are busy with two."""
SETTLED = timedelta(hours=2)
"""So long after its midnight the schedule owes a day."""
PATIENCE_S = 120.0
APP = """
  - id: {id}
    name: {name}
    base_url: {base_url}
    api_token: {token}
    console_email: {email}
    console_password: {password}
    timezone: {zone}
    request_deadline_s: 4
    schedules: [daily_report]
"""
SETTINGS = "report_language: en\nreport_formats: csv,json\ncatch_up_periods: 366\napps:{apps}"


@dataclass(frozen=True, slots=True)
class Tenant:
    """One app that is reported, the day it began with, and the days that are due since, oldest first."""

    name: str
    zone: str
    app: SimulatedApp
    first: Due
    dues: Sequence[Due]

    @property
    def key(self) -> AppKey:
        """Its key in the ledger."""
        return AppKey("dify", self.app.id)

    @property
    def days(self) -> Sequence[Due]:
        """All days that have runs."""
        return (self.first, *self.dues)

    @property
    def deployment(self) -> str:
        """The full name of its daily deployment."""
        return f"{FLOW}/daily-workflow-report-{self.name}"


@dataclass(frozen=True)
class Place:
    """Everything that runs, and where; ``mark`` is in the environment of all processes."""

    folder: Path
    mark: str
    tenants: Sequence[Tenant]
    dify: SimulatedServer
    proxy: TcpProxy
    told: Receiver
    api: str
    server: Program
    workers: Sequence[Program]
    site: Site
    database: str
    ledger_url: str
    prefect_url: str

    @property
    def scratch(self) -> Path:
        """The folder for temporary files of all processes."""
        return self.folder / "tmp"

    def start_server(self) -> None:
        """Start Prefect's server and wait until it answers."""
        self.server.start()
        self.await_server()

    def await_server(self) -> None:
        """Wait until Prefect's server answers."""
        until(self._answers, PATIENCE_S, "Prefect's server does not answer")

    def ask_ledger_server(self, statement: str) -> None:
        """Execute a statement beside the ledger's own connections."""
        execute(self.ledger_url, statement)

    def deployment_id(self, tenant: Tenant) -> UUID:
        """Look a deployment up."""
        with get_client(sync_client=True) as client:
            return client.read_deployment_by_name(tenant.deployment).id

    def let_it_be_scheduled(self, run_id: UUID) -> None:
        """Let a run be one of Prefect's own scheduler, which no client can: it catches up what was missed."""
        execute(self.prefect_url, f"UPDATE flow_run SET auto_scheduled = true WHERE id = '{run_id}'")

    def _answers(self) -> bool:
        assert self.server.lives, "Prefect's server has ended"
        try:
            return requests.get(f"{self.api}/ready", timeout=5).ok
        except requests.RequestException:
            return False


@contextmanager
def soak_place(folder: Path, postgresql: str, days: Sequence[int], seed: int) -> Iterator[Place]:
    """Set everything up for so many days of each app, and take it down again, whatever comes of it."""
    mark, name = uuid4().hex, f"flowledger_soak_{uuid4().hex[:12]}"
    (folder / "tmp").mkdir()
    tenants, world = make_world(days, seed, datetime.now(UTC))
    with ExitStack() as stack:
        for each in (name, f"{name}_prefect"):
            execute(postgresql, f"CREATE DATABASE {each} TEMPLATE template0 ENCODING 'UTF8'")
            stack.callback(execute, postgresql, f"DROP DATABASE {each} WITH (FORCE)")
        stack.callback(end_all, mark)
        dify = stack.enter_context(simulator.serve(world))
        proxy = stack.enter_context(proxied(dify.base_url))
        told = stack.enter_context(receiver())
        api = f"http://127.0.0.1:{free_port()}/api"
        ledger_url: str = with_database(postgresql, name, HASTY)
        prefect_url = with_database(postgresql, f"{name}_prefect", HASTY)
        prefect = _prefect_variables(folder, api, prefect_url)
        ours = {"LEDGER_URL": ledger_url, "WEBHOOK_URL": told.url, "NOTIFICATION_TYPE": "webhook"}
        common = {MARK: mark, "TMPDIR": str(folder / "tmp")}
        site = _make_site(folder / "site", tenants, proxy.base_url, {**prefect, **ours, **common})
        surroundings = {**bare_environment(), **site.variables}
        python = (sys.executable, "-m", "prefect")
        start = (*python, "worker", "start", "--pool", POOL, "--type", "process", "--limit", str(AT_ONCE))
        place = Place(
            folder=folder,
            mark=mark,
            tenants=tenants,
            dify=dify,
            proxy=proxy,
            told=told,
            api=api,
            server=Program("server", (*python, "server", "start"), folder, surroundings),
            workers=[
                Program(f"worker-{number}", (*start, "--name", f"worker-{number}"), site.folder, surroundings)
                for number in range(1, WORKERS + 1)
            ],
            site=site,
            database=name,
            ledger_url=ledger_url,
            prefect_url=prefect_url,
        )
        stack.enter_context(temporary_settings({PREFECT_API_URL: api}))
        place.server.start()
        with ThreadPoolExecutor() as pool:
            # What was never begun is not missing: the day before the soak is the oldest certificate.
            list(pool.map(partial(_fill_first_day, site), tenants))
        place.await_server()
        site.command("deploy", "--setup", "--offline")
        _let_no_cron_fire(tenants)
        yield place
        for program in (*place.workers, place.server):
            program.end(signal.SIGKILL)


def _fill_first_day(site: Site, tenant: Tenant) -> None:
    day = str(tenant.first)
    site.command("backfill", "--direct", "--app", tenant.name, "--from", day, "--to", day)


def make_world(days: Sequence[int], seed: int, now: datetime) -> tuple[Sequence[Tenant], World]:
    """Make up three apps in three zones, with some ended runs in each of their last days."""
    tenants = [_make_tenant(number, name, days[number], now) for number, name in enumerate(ZONES)]
    world = World([tenant.app for tenant in tenants], [operator()], seed=seed)
    for number, tenant in enumerate(tenants):
        world.add(_make_runs(tenant, seed * len(ZONES) + number))
    return tenants, world


ZONES = {"north": "Asia/Shanghai", "middle": "UTC", "west": "America/New_York"}


def _make_tenant(number: int, name: str, days: int, now: datetime) -> Tenant:
    tz: ZoneInfo = zone(ZONES[name])
    last = (now.astimezone(tz) - SETTLED).date() - timedelta(days=1)
    first, *dues = due_between(DAILY, last - timedelta(days=days), last, tz)
    app_id = f"00000000-0000-4000-8000-00000000500{number}"
    app = SimulatedApp(app_id, name, api_token=f"{credentials.API_TOKEN}-{name}")
    return Tenant(name, ZONES[name], app, first, dues)


def _make_runs(tenant: Tenant, seed: int) -> Iterator[SimulatedRun]:
    first, last = tenant.first.period.window, tenant.dues[-1].period.window
    recipe = simulator.Recipe(
        seed=seed,
        runs=(1 + len(tenant.dues)) * 6,
        start=first.after_at,
        end=last.before_at,
        busiest_second=5,
        nodes=5,
        node_kb=0.5,
        mix={"succeeded": 0.85, "failed": 0.08, "partial-succeeded": 0.04, "stopped": 0.03},
        orphans=0.0,
    )
    for run in simulator.make_world(recipe).runs():
        yield replace(run, app_id=tenant.app.id, workflow_id=tenant.app.id)


def _prefect_variables(folder: Path, api: str, database: str) -> dict[str, str]:
    """Give what points programs at a server on PostgreSQL, as docs/scaling.md wants it for so many runs."""
    address = sa.make_url(database).set(drivername="postgresql+asyncpg", query={})
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": address.render_as_string(hide_password=False),
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": api.removesuffix("/api").rpartition(":")[2],
        **SERVER_SETTINGS,
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        **LEAN,
    }


def _make_site(folder: Path, tenants: Sequence[Tenant], base_url: str, variables: dict[str, str]) -> Site:
    """Write settings and schedules."""
    apps = "".join(
        APP.format(
            id=tenant.app.id,
            name=tenant.name,
            base_url=base_url,
            token=tenant.app.api_token,
            email=credentials.EMAIL,
            password=credentials.PASSWORD,
            zone=tenant.zone,
        )
        for tenant in tenants
    )
    (folder / "config").mkdir(parents=True)
    (folder / "config/settings.yaml").write_text(SETTINGS.format(apps=apps), "utf-8")
    (folder / "config/deployments.yaml").write_text(f'{DAILY.key}: {{schedule: "{DAILY.cron}"}}\n', "utf-8")
    return Site(folder, variables)


def _let_no_cron_fire(tenants: Sequence[Tenant]) -> None:
    """Switch the schedules off: who creates the runs is the soak, faster than any clock."""
    with get_client(sync_client=True) as client:
        for tenant in tenants:
            found = client.read_deployment_by_name(tenant.deployment)
            for each in found.schedules:
                client.update_deployment_schedule(found.id, each.id, active=False)


def end_all(mark: str) -> None:
    """Kill every process that carries a soak's mark."""
    for pid, _ in marked(mark):
        if pid != os.getpid():
            kill(pid)


def until(done: object, most_s: float, else_say: str) -> None:
    """Ask again and again until something is so.

    :raises AssertionError: when it takes too long.
    """
    assert callable(done)
    ends = time.monotonic() + most_s
    while not done():
        assert time.monotonic() < ends, else_say
        time.sleep(0.2)


def free_port() -> int:
    """Give a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Give a folder that goes again."""
    return tempfile.TemporaryDirectory(prefix="soak-")
