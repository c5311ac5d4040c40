"""How much slower than bare GETs is collecting, enriching, keeping and reporting?

Everything in one run on one machine: the simulator in a process of its own, first the same number of bare
``requests`` GETs at the same concurrency, then Flowledger, then Flowledger again over the unchanged window.
Prints ratios; asserts nothing.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import local
from zoneinfo import ZoneInfo

import requests
from loguru import logger
from pydantic import SecretStr
from results import at_least_one
from simulated import simulated_dify

from flowledger import bootstrap
from flowledger.cli.main import tune_garbage_collector
from flowledger.dify.concurrency import AdaptiveLimiter
from flowledger.dify.credentials import EmailPassword
from flowledger.dify.endpoints import Console, ServiceApi
from flowledger.dify.fetcher import WorkflowLogFetcher
from flowledger.dify.login import ConsoleLogin
from flowledger.dify.session import DifySession
from flowledger.domain.runs import AppKey
from flowledger.ports import SilentProgress
from flowledger.services.pipeline import Pipeline
from flowledger.services.report_requests import ReportRequest
from flowledger.storage.local import LocalStorage
from flowledger.storage.service import StorageService

UTC_ZONE = ZoneInfo("UTC")
Question = tuple[str, Mapping[str, str]]
"""A URL and the headers that open it."""


def main() -> None:
    """Measure and print."""
    options = parse()
    tune_garbage_collector()
    logger.remove()
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    arguments = [
        "--runs",
        str(options.runs),
        "--latency-ms",
        str(options.latency_ms),
        "--end",
        end.isoformat(),
    ]
    with simulated_dify(*arguments) as settings, tempfile.TemporaryDirectory() as scratch:
        request = ReportRequest("custom", end, UTC_ZONE, ("csv",), after=end - timedelta(days=3), before=end)
        rows = [measure(settings, request, limit, Path(scratch)) for limit in options.concurrency]
    print(json.dumps(rows, indent=2) if options.json else table(rows))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=at_least_one, default=2000)
    parser.add_argument("--latency-ms", type=float, default=10.0)
    parser.add_argument("--concurrency", type=at_least_one, nargs="+", default=[4, 16])
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def measure(settings: dict[str, str], request: ReportRequest, limit: int, scratch: Path) -> dict[str, float]:
    """Time bare GETs, a first and a second run, at one concurrency; seconds and ratios."""
    place = scratch / str(limit)
    with opened(settings, request, limit, scratch / f"urls-{limit}") as pipeline:
        questions = urls_of(pipeline, settings, request)
    bare_s = timed(lambda: fetch_bare(questions, limit))
    first = run(settings, request, limit, place)
    second = run(settings, request, limit, place)
    adaptive = run(settings, request, 0, scratch / f"adaptive-{limit}")
    return {
        "concurrency": limit,
        "requests": first["requests"],
        "bare_s": bare_s,
        **{f"{stage}_s": first[stage] for stage in ("collect", "enrich", "report")},
        "first_s": first["all"],
        "ratio": first["all"] / bare_s,
        "ratio_without_report": (first["collect"] + first["enrich"]) / bare_s,
        "second_s": second["all"],
        "second_requests": second["requests"],
        "second_ratio": second["all"] / bare_s,
        "adaptive_s": adaptive["all"],
        "certified": first["certified"],
    }


@contextmanager
def opened(settings: dict[str, str], request: ReportRequest, limit: int, place: Path) -> Iterator[Pipeline]:
    """Open all parts by hand, so that the limiter can be fixed; 0 lets it adapt."""
    limiter = AdaptiveLimiter.fixed(limit) if limit else AdaptiveLimiter()
    place.mkdir(exist_ok=True)
    with (
        DifySession(settings["DIFY_BASE_URL"], limiter=limiter) as session,
        bootstrap.open_ledger_at(f"sqlite:///{place}/ledger.db") as ledger,
    ):
        password = SecretStr(settings["DIFY_CONSOLE_PASSWORD"])
        console = Console(ConsoleLogin(session, EmailPassword(settings["DIFY_CONSOLE_EMAIL"], password)))
        service = ServiceApi(session, SecretStr(settings["DIFY_API_TOKEN"]), "benchmark")
        yield Pipeline(
            app_name="benchmark",
            language="zh",
            source=WorkflowLogFetcher(AppKey("dify", settings["DIFY_APP_ID"]), service, console),
            ledger=ledger,
            store=StorageService(LocalStorage(root=place), bootstrap.clock.utc_now),
            formats=bootstrap.report_formats(request.formats),
            clock=bootstrap.clock.utc_now,
            progress=SilentProgress(),
            workers=limit or 32,
        )


def run(settings: dict[str, str], request: ReportRequest, limit: int, place: Path) -> dict[str, float]:
    """Run all stages, and time each."""
    with opened(settings, request, limit, place) as pipeline:
        began = time.perf_counter()
        collected = pipeline.collect(request)
        collected_at = time.perf_counter()
        enriched = pipeline.enrich(collected, request)
        enriched_at = time.perf_counter()
        report = pipeline.report(collected, request, enriched, run_id="benchmark")
        ended = time.perf_counter()
    assert report.figures.missing <= report.figures.gone
    return {
        "collect": collected_at - began,
        "enrich": enriched_at - collected_at,
        "report": ended - enriched_at,
        "all": ended - began,
        "requests": collected.requests + enriched.requests,
        "certified": collected.certificate.certified,
    }


def urls_of(pipeline: Pipeline, settings: dict[str, str], request: ReportRequest) -> Sequence[Question]:
    """Return the requests that Flowledger will make: log pages, and node executions of every run."""
    source = pipeline.source
    assert isinstance(source, WorkflowLogFetcher)
    assert source.console is not None
    base, app = settings["DIFY_BASE_URL"], settings["DIFY_APP_ID"]
    certificate = pipeline.collect(request).certificate
    key: Mapping[str, str] = {"Authorization": f"Bearer {settings['DIFY_API_TOKEN']}"}
    pages: list[Question] = [
        (f"{base}/v1/workflows/logs?limit=100&page={n + 1}", key)
        for n in range(certificate.distinct // 100 + 2)
    ]
    cookies = source.console.login.sign_in().headers()
    runs = [entry.run for entry in pipeline.ledger.entries(certificate.scope, with_details=False)]
    return pages + [
        (f"{base}/console/api/apps/{app}/workflow-runs/{run.run_id}/node-executions", cookies)
        for run in runs
        if not run.gone
    ]


def fetch_bare(questions: Sequence[Question], limit: int) -> None:
    """Get every URL with a plain session per thread and drop the bodies."""
    own = local()

    def get(question: Question) -> None:
        session = getattr(own, "session", None)
        if session is None:
            session = own.session = requests.Session()
        url, headers = question
        session.get(url, headers=headers, timeout=60).raise_for_status()

    with ThreadPoolExecutor(limit) as pool:
        for _ in pool.map(get, questions):
            pass


def timed(work: Callable[[], None]) -> float:
    """Return the seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def table(rows: list[dict[str, float]]) -> str:
    """Write one column per concurrency."""
    names = list(rows[0])
    width = max(map(len, names))
    return "\n".join(f"{name:<{width}}" + "".join(f"{row[name]:>12.3g}" for row in rows) for name in names)


if __name__ == "__main__":
    main()
