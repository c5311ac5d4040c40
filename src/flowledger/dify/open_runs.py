"""Which open runs are still as they were, by the console's lists of each status."""

from collections.abc import Sequence

from loguru import logger

from flowledger import errors
from flowledger.dify import list_answers, parsing
from flowledger.dify.endpoints import Console
from flowledger.domain.runs import AppKey, Run
from flowledger.domain.windows import Window

MOST_STATUS_PAGES = 5
"""Beyond these, reading the runs one by one costs less than their lists."""


def unmoved(console: Console, app: AppKey, window: Window, runs: Sequence[Run]) -> frozenset[str] | None:
    """Return the ids of the runs that are still in their status; None where the lists cannot be had.

    Rows that move between pages while these are read may be missed.
    """
    words = sorted({run.source_status for run in runs})
    try:
        lists = {word: _listed_with(console, app, window, word) for word in words}
    except (errors.AuthenticationError, errors.SourceRefusedError, errors.RetriableError) as error:
        logger.info("app {}: open runs are read one by one: {}", app, error)
        return None
    complete = {word: listed for word, listed in lists.items() if listed is not None}
    if len(complete) < len(lists):
        return None
    return frozenset(run.run_id for run in runs if run.run_id in complete[run.source_status])


def _listed_with(console: Console, app: AppKey, window: Window, status: str) -> set[str] | None:
    """Return the ids of a window's runs with a status; None where they are too many, or not as asked."""
    ids: set[str] = set()
    for page in range(1, MOST_STATUS_PAGES + 1):
        body = console.app_logs(app.app_id, window, status, page)
        rows = parsing.page_rows(body, f"app {app}, status {status}")
        runs, unreadable = list_answers.read_rows(app, rows, parsing.log_run)
        problem = list_answers.error_in(body) or unreadable
        if problem or not all(list_answers.fits(run, {"status": status}) for run in runs):
            return None
        ids |= {run.run_id for run in runs}
        if not body.get("has_more"):
            return ids
    return None
