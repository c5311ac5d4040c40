"""The API over a ledger in memory: some runs of three sources, keys of every role, a clock that stands."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import StarletteDeprecationWarning

from flowledger.api.app import create_app
from flowledger.api.backend import ApiOptions, Backend, WorkflowBackend
from flowledger.bootstrap import configured
from flowledger.bootstrap.api import ReportStore
from flowledger.bootstrap.ledgers import decoders, options_of_records
from flowledger.bootstrap.workflows import open_engine, workflow_services
from flowledger.domain.access_keys import Role
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.record_kinds import coze_detail, coze_run, logged_detail, logged_run
from flowledger.domain.retention import ReportSubject
from flowledger.domain.runs import AppKey, Creator, Detailed, Missing, NodeExecution, Run, RunStatus
from flowledger.domain.windows import Window, zone
from flowledger.errors import UsageError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.records.execution_history import ExecutionHistoryService
from flowledger.records.log_service import LogService
from flowledger.records.storage import LedgerLogStorage
from flowledger.services.api_keys import create_key
from flowledger.services.report_requests import ReportRequest, RunOrder, request_of
from flowledger.settings import ConfigManager
from flowledger.storage.local import LocalStorage
from flowledger.storage.service import StorageService

with warnings.catch_warnings():
    # It asks for another HTTP library than the one that everything else here has.
    warnings.simplefilter("ignore", StarletteDeprecationWarning)
    from starlette.testclient import TestClient

SALES = AppKey("dify", "5ac73990-ee17-4aba-993c-a473e2fa2a90")
SUPPORT = AppKey("dify", "0b1c2d3e-aaaa-4bbb-8ccc-000000000002")
NIGHTLY = AppKey("log", "wf-nightly")
COZE = AppKey("coze", "7504134755689087002")
NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
START = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
CRM_SECRET = "crm-7d0f1c"
NODE = NodeExecution(
    0, "e-0", "n-0", "llm", "回答", "succeeded", total_price=Decimal("0.0041700"), currency="USD"
)


def decode(run: Run, raws: Mapping[str, bytes], why_no_nodes: str) -> Detailed:
    """Rebuild the only detail there is."""
    nodes: Sequence[NodeExecution] | Missing = Missing(why_no_nodes) if why_no_nodes else (NODE,)
    return Detailed({"query": "你好"}, {"text": "\ud83d half a pair"}, nodes, raws)


def dify_run(number: int, app: AppKey = SALES, **changes: Any) -> Run:
    """Make a run that ended well, listed so many minutes after START."""
    at = START + timedelta(minutes=number)
    run = Run(
        app=app,
        run_id=f"run-{number:04d}",
        listed_at=at,
        status=RunStatus.SUCCESS,
        source_status="succeeded",
        log_id=f"log-{number:04d}",
        creator=Creator("end_user", "user-7", "小王", None, "session-1"),
        elapsed_s=Decimal("1.250") + number,
        total_tokens=10,
        started_at=at,
        finished_at=at + timedelta(seconds=1),
        raw=json.dumps({"number": number}).encode(),
    )
    return replace(run, **changes)


@dataclass
class Clock:
    """Tells the time it was given."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        """Give it."""
        return self.now


@dataclass
class RecordingQueue:
    """Accepts orders and makes nothing."""

    orders: list[tuple[RunOrder, str]] = field(default_factory=list)

    def check(self, order: RunOrder) -> ReportRequest:
        """Read an order as the real ones do."""
        return request_of(order, instant=NOW, tz=zone("Asia/Shanghai"), formats=("csv",))

    def enqueue(self, order: RunOrder, order_id: str) -> str:
        """Append an order, or fail as without a deployment."""
        if order.keyword == "unplaceable":
            raise UsageError("there is no deployment: register it first")
        self.orders.append((order, order_id))
        return ""

    def state(self, reference: str) -> dict[str, Any] | None:
        """Return that an order waits; None for an unknown one."""
        order_ids = [order_id for _, order_id in self.orders]
        return {"state": "waiting"} if reference in order_ids else None


@dataclass
class World:
    """A client without a key, the parts behind it, and the header of each role."""

    client: TestClient
    ledger: SqlLedger
    store: StorageService
    clock: Clock
    queue: RecordingQueue
    headers: dict[str, dict[str, str]]

    def get(self, path: str, role: str = "viewer", **more: Any) -> Any:
        """Read as a role."""
        return self.client.get(path, headers=self.headers[role] | more.pop("headers", {}), **more)

    def put(self, path: str, body: Any, role: str = "admin", **more: Any) -> Any:
        """Change as a role."""
        return self.client.put(path, json=body, headers=self.headers[role] | more.pop("headers", {}), **more)

    def delete(self, path: str, role: str = "admin") -> Any:
        """Delete as a role."""
        return self.client.delete(path, headers=self.headers[role])

    def post(self, path: str, body: Any, role: str = "operator", **more: Any) -> Any:
        """Write as a role."""
        return self.client.post(path, json=body, headers=self.headers[role] | more.pop("headers", {}), **more)


def filled_ledger() -> SqlLedger:
    """Make a ledger with 120 runs of one Dify app, one of another, a logged execution and one of Coze."""
    ledger = SqlLedger.open("memory://", {**decoders(), "dify": decode})
    window = Window.between(START, START + timedelta(days=1))
    scope = Scope(SALES, window)
    runs = [dify_run(number) for number in range(118)]
    runs.append(dify_run(118, status=RunStatus.FAILED, source_status="failed", error="Boom: no model"))
    runs.append(
        dify_run(-2000, status=RunStatus.RUNNING, source_status="running", finished_at=None, elapsed_s=None)
    )
    proof = Certificate(scope, True, "equal", 119, 119, NOW - timedelta(hours=3))
    ledger.save_runs(runs, scope=scope, at=NOW, certificate=proof)
    ledger.save_runs([dify_run(5, SUPPORT)], scope=Scope(SUPPORT, window), at=NOW)
    ledger.save_details([(runs[0], decode(runs[0], {"body": b"{}"}, ""))])
    logged = logged_run(
        {
            "execution_id": "ex-1",
            "workflow_id": NIGHTLY.app_id,
            "status": "completed",
            "start_time": "2026-11-21T00:00:00+00:00",
            "end_time": "2026-11-21T00:00:02+00:00",
            "context": {"rows": 3},
            "messages": [],
        }
    )
    coze = coze_run(
        {
            "execute_id": "cz-1",
            "workflow_id": COZE.app_id,
            "create_time": int(START.timestamp() * 1000),
            "update_time": int(START.timestamp() * 1000),
            "execute_status": "success",
        }
    )
    ledger.save_details([(logged, logged_detail(logged, {}, "")), (coze, coze_detail(coze, {}, ""))])
    return ledger


def workflows_over(ledger: SqlLedger, folder: Path) -> WorkflowBackend:
    """Workflows over a ledger; whoever waits for an end waits for no more than a moment."""
    manager = ConfigManager(
        folder, {"WORKFLOWS_ALLOWED_HOSTS": "127.0.0.1", "WORKFLOW_SECRETS": f"CRM={CRM_SECRET}"}
    )
    settings = manager.load(need_app=False)
    services = workflow_services(settings, ledger)
    return WorkflowBackend(
        services, partial(open_engine, settings, ledger), longest_wait_s=0.05, longest_stream_s=0.2
    )


@contextmanager
def opened_world(
    folder: Path, options: ApiOptions | None = None, change: Callable[[Backend], Backend] = lambda same: same
) -> Iterator[World]:
    """Open the API over a filled ledger and a folder of reports."""
    ledger, clock, queue = filled_ledger(), Clock(), RecordingQueue()
    store = StorageService(LocalStorage(root=folder / "reports"), clock)
    subject = ReportSubject("yesterday", "2026-11-20T16:00:00Z/2026-11-21T15:59:59Z", certified=True)
    store.save_report("a,b\n1,2\n", "yesterday_sales.csv", "csv", app="sales", subject=subject)
    with configured(ConfigManager(folder, {})):
        records = options_of_records()
        logs = LogService(storage=LedgerLogStorage(ledger, records))
        coze = ExecutionHistoryService(ledger=ledger)
    backend = Backend(
        ledger=ledger,
        clock=clock,
        tz=zone("Asia/Shanghai"),
        names={SALES: "sales", SUPPORT: "support"},
        report_stores=[ReportStore(store, (SALES, SUPPORT))],
        report_queue=queue,
        logs=logs,
        coze=coze,
        workflows=workflows_over(ledger, folder),
        checks={"storage": store.check},
    )
    headers = {}
    for role in Role:
        _, secret = create_key(ledger, f"{role.name.lower()}-key", role, user="root", at=NOW)
        headers[role.name.lower()] = {"Authorization": f"Bearer {secret}"}
    for role, name in ((Role.VIEWER, "scoped"), (Role.OPERATOR, "scoped-operator")):
        _, secret = create_key(ledger, name, role, user="root", at=NOW, apps=(SUPPORT, NIGHTLY))
        headers[name] = {"X-API-Key": secret}
    with TestClient(create_app(change(backend), options)) as client:
        yield World(client, ledger, store, clock, queue, headers)


def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An API that the tests of a file only read."""
    with opened_world(tmp_path_factory.mktemp("api")) as opened:
        yield opened


def own_world(tmp_path: Path) -> Iterator[World]:
    """An API of a test's own."""
    with opened_world(tmp_path) as opened:
        yield opened
