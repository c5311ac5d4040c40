"""A simulated Dify of a fixed day, and the whole pipeline reading it into one folder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.dify.credentials import Credentials, EmailPassword
from flowledger.dify.fetcher import WorkflowLogFetcher
from flowledger.dify.session import RetryPolicy, SessionOptions
from flowledger.domain.certificates import Scope
from flowledger.domain.runs import AppKey, Detailed, Entry, Missing
from flowledger.domain.windows import zone
from flowledger.http.session import HttpOptions
from flowledger.ports import SilentProgress
from flowledger.services.pipeline import Pipeline
from flowledger.services.report_requests import ReportRequest, RunOrder, request_of
from flowledger.storage.local import LocalStorage
from flowledger.storage.service import StorageService
from flowledger_simulator import credentials

DAY = datetime(2025, 3, 1, tzinfo=UTC)
END = DAY + timedelta(days=1) - timedelta(seconds=1)
NOW = END + timedelta(seconds=5)
UTC_ZONE = zone("UTC")
PERSON = EmailPassword(credentials.EMAIL, SecretStr(credentials.PASSWORD))
RELEASES = simulator.RECORDED
FINAL_MIX = {"succeeded": 0.9, "failed": 0.05, "partial-succeeded": 0.03, "stopped": 0.02}
LOGS = "/v1/workflows/logs"
LOGIN = "/console/api/login"
REFRESH = "/console/api/refresh-token"
NODES = "/node-executions"
RUN_DETAIL = "/v1/workflows/run/"


def make_day(runs: int, **recipe: Any) -> simulator.World:
    """Make a world whose runs are all listed on the day; small payloads unless told otherwise."""
    small = {"start": DAY, "end": END, "nodes": 3, "node_kb": 1.0, "orphans": 0.0, **recipe}
    return simulator.make_world(simulator.Recipe(runs=runs, **small))


def at(instant: datetime = NOW, **options: Any) -> simulator.Options:
    """Give the options of a server whose clock stands still."""
    return simulator.Options(clock=instant.timestamp, **options)


@dataclass
class Access:
    """How the app is reached; ``waits`` takes the seconds that would have been slept."""

    token: str = credentials.API_TOKEN
    app_id: str = credentials.WORKFLOW_APP_ID
    console: Credentials | None = PERSON
    deadline_s: float = 10.0
    tries: int = 5
    now: datetime = NOW
    formats: tuple[str, ...] = ("json",)
    at_once: int = 8
    waits: list[float] = field(default_factory=list)


@contextmanager
def opened(base_url: str, folder: Path, access: Access | None = None) -> Iterator[Pipeline]:
    """Open the pipeline of an app on a ledger and a store below a folder."""
    access = access or Access()
    with (
        open_fetcher(base_url, access) as source,
        bootstrap.open_ledger_at(f"sqlite:///{folder}/ledger.db") as ledger,
    ):
        yield Pipeline(
            app_name="simulated",
            language="en",
            source=source,
            ledger=ledger,
            store=StorageService(LocalStorage(folder), lambda: access.now),
            formats=bootstrap.report_formats(access.formats),
            clock=lambda: access.now,
            progress=SilentProgress(),
            workers=access.at_once,
        )


@contextmanager
def open_fetcher(base_url: str, access: Access) -> Iterator[WorkflowLogFetcher]:
    """Open the app alone; no wait is slept."""
    options = SessionOptions(
        http=HttpOptions(deadline_s=access.deadline_s),
        retry=RetryPolicy(tries=access.tries, sleep=access.waits.append, jitter=lambda: 1.0),
        now=lambda: access.now,
    )
    with bootstrap.open_dify(
        AppKey("dify", access.app_id),
        name="simulated",
        base_url=base_url,
        api_token=SecretStr(access.token),
        credentials=access.console,
        options=options,
        most_at_once=access.at_once,
    ) as source:
        yield source


def order(**words: Any) -> ReportRequest:
    """Ask for the whole day."""
    bounds = {"after": DAY.isoformat(), "before": END.isoformat(), **words}
    return request_of(RunOrder(**bounds), instant=NOW, tz=UTC_ZONE, formats=("json",))


def run_all(pipeline: Pipeline, request: ReportRequest | None = None) -> dict[str, Any]:
    """Run all stages and return the result as JSON values."""
    result = pipeline.run(request or order(), run_id="test", started=time.monotonic())
    return result.to_json()


def stored_entries(folder: Path, app_id: str = credentials.WORKFLOW_APP_ID) -> list[Entry]:
    """Give what the ledger in a folder holds of the day."""
    with bootstrap.open_ledger_at(f"sqlite:///{folder}/ledger.db") as ledger:
        return list(ledger.entries(Scope(AppKey("dify", app_id), order().window)))


def log_ids(entries: list[Entry]) -> list[str]:
    """Give the log ids, sorted, each as often as it is held."""
    return sorted(str(entry.run.log_id) for entry in entries)


def whole(entries: list[Entry]) -> list[Entry]:
    """Give the entries whose node executions are there."""
    return [entry for entry in entries if isinstance(entry.detail, Detailed) and entry.detail.nodes]


def reasons(entries: list[Entry]) -> set[str]:
    """Give why details, or node executions in them, are missing."""
    found = {entry.detail.reason for entry in entries if isinstance(entry.detail, Missing)}
    for entry in entries:
        if isinstance(entry.detail, Detailed) and isinstance(entry.detail.nodes, Missing):
            found.add(entry.detail.nodes.reason)
    return found
