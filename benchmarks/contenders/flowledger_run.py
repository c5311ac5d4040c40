"""Flowledger: collected with a certificate, enriched, kept in SQLite, reported as CSV."""

import importlib
import os
from collections.abc import Callable

from contender import Result, Task, compete
from loguru import logger

from flowledger import bootstrap
from flowledger.cli.main import tune_garbage_collector
from flowledger.domain.runs import Detailed, Missing
from flowledger.domain.windows import parse_instant, zone
from flowledger.services.report_requests import RunOrder

LOADED_WHEN_NEEDED = ("flowledger.ledger.sql.ledger", "flowledger.reports.csv_files", "alembic.command")
"""What a program begins with anyway; imports are counted for nobody."""


def fetch(task: Task) -> Callable[[], Result]:
    """Do what ``flowledger run --direct`` does."""
    os.environ.update(settings_of(task))
    before = parse_instant(task.before, zone("UTC"))
    order = RunOrder(period="custom", after=task.after, before=task.before, formats="csv")
    with bootstrap.open_pipeline(order, before) as (pipeline, request):
        collected = pipeline.collect(request)
        enriched = pipeline.enrich(collected, request)
        pipeline.report(collected, request, enriched, run_id="race")
    assert collected.certificate.certified, collected.certificate.reason

    def count_results() -> Result:
        runs = nodes = 0
        with bootstrap.opened_ledger(bootstrap.load_settings()) as ledger:
            for entry in ledger.entries(collected.certificate.scope):
                detail = entry.detail
                runs += not entry.run.gone
                if isinstance(detail, Detailed) and not isinstance(detail.nodes, Missing):
                    nodes += len(detail.nodes)
        return Result(collected.requests + enriched.requests, runs, nodes)

    return count_results


def settings_of(task: Task) -> dict[str, str]:
    """Return the variables that a person would set."""
    most = {"DIFY_MAX_CONCURRENCY": str(task.concurrency)} if task.concurrency else {}
    return {
        "DIFY_BASE_URL": task.base_url,
        "DIFY_API_TOKEN": task.token,
        "DIFY_APP_ID": task.app,
        "DIFY_CONSOLE_EMAIL": task.email,
        "DIFY_CONSOLE_PASSWORD": task.password,
        "OUTPUT_BASE_DIR": task.folder,
        "TIMEZONE": "UTC",
        **most,
    }


if __name__ == "__main__":
    logger.remove()
    for module in LOADED_WHEN_NEEDED:
        importlib.import_module(module)
    tune_garbage_collector()
    compete(fetch)
