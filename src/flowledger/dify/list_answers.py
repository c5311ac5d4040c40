"""What a list's answer says besides its rows, and whether it fits what was asked; pure."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from flowledger.dify import parsing
from flowledger.dify.parsing import integer
from flowledger.domain.cursor_scan import RunCounts
from flowledger.domain.runs import AppKey, Run
from flowledger.domain.windows import Window
from flowledger.errors import SourceGarbledError
from flowledger.ports import LogPage

ListRow = Mapping[str, Any]

COUNTED_STATUSES = ("running", "succeeded", "failed", "stopped", "partial_succeeded")
"""The parts of a count; paused runs are in its total only (docs/dify-api.md "Console")."""
FIRST_ERROR = 400


def read_rows(
    app: AppKey, rows: Sequence[ListRow], read: Callable[[AppKey, ListRow], Run], window: Window | None = None
) -> tuple[list[Run], str]:
    """Return the runs of a list's rows, and what is wrong with the first row that cannot be filed.

    One bad row stops nothing: it is left out, or filed by its run's own time where that lies in the window.
    """
    runs: list[Run] = []
    problem = ""
    for row in rows:
        try:
            run = read(app, row)
        except SourceGarbledError as error:
            problem = problem or unfiled(error)
            continue
        if parsing.instant(row.get("created_at")) is None:
            problem = problem or f"listed run {run.run_id} without a usable time"
            if window is not None and run.listed_at not in window:
                continue
        runs.append(run)
    return runs, problem


def log_page(app: AppKey, body: ListRow, window: Window, remote: Mapping[str, str]) -> LogPage:
    """Return a page of the log list, without rows that do not fit its filter.

    :raises SourceGarbledError: when the answer is no list.
    """
    where = f"app {app}, window {window}"
    runs, problem = read_rows(app, parsing.page_rows(body, where), parsing.log_run, window)
    fitting = [run for run in runs if fits(run, remote)]
    problem = error_in(body) or problem
    if len(fitting) < len(runs):
        problem = problem or filter_problem(remote)
    total, has_more = parsing.total(body, where), body.get("has_more") is True
    return LogPage(fitting, total, has_more, echo(body, "page"), echo(body, "limit"), problem)


def unfiled(error: SourceGarbledError) -> str:
    """Return what is wrong with an answer that holds a row which cannot be read."""
    return f"listed a row that cannot be filed ({error})"


def error_in(body: Mapping[str, Any]) -> str:
    """Return what an answer with status 200 says of an error, as a proxy may put it; empty for none."""
    status = integer(body.get("status"))
    is_error = (status or 0) >= FIRST_ERROR or any(body.get(name) for name in ("error", "errors", "code"))
    if not is_error:
        return ""
    text = next((body[name] for name in ("message", "code", "error", "errors") if body.get(name)), status)
    return f"answered with an error beside the rows ({str(text)[:80]})"


def echo(body: Mapping[str, Any], name: str) -> int | None:
    """Return what an answer says of its own page or limit; None where it says nothing."""
    return None if body.get(name) is None else (integer(body[name]) or 0)


def wrong_echo(body: Mapping[str, Any], limit: int, page: int | None = None) -> str:
    """Return how an answer's own limit or page differs from what was asked; empty where neither does."""
    if echo(body, "limit") not in (None, limit):
        return f"answered with a limit of {body.get('limit')} where {limit} was asked"
    if page is not None and echo(body, "page") not in (None, page):
        return f"answered with page {body.get('page')}, not {page}"
    return ""


def fits(run: Run, remote: Mapping[str, str]) -> bool:
    """Return whether a row is one that the filter asks for, as far as a row tells (not of a keyword)."""
    status, session = remote.get("status"), remote.get("created_by_end_user_session_id")
    if status is not None and (run.gone or run.source_status != status):
        return False
    return session is None or (run.creator is not None and run.creator.session_id == session)


def filter_problem(remote: Mapping[str, str]) -> str:
    """Return what is wrong with an answer that holds rows which do not fit."""
    names = " and ".join(f"{name}={value}" for name, value in remote.items())
    return f"listed rows that do not fit {names}, as if it ignored the filter"


def cursor_problem(body: Mapping[str, Any], runs: Sequence[Run], limit: int) -> str:
    """Return what contradicts itself in a page of the list without total; empty where nothing does."""
    ids = {run.run_id for run in runs}
    more, shown = body.get("has_more") is True, len(runs)
    problems = {
        error_in(body): bool(error_in(body)),
        wrong_echo(body, limit): bool(wrong_echo(body, limit)),
        "listed one run twice on a page": len(ids) != shown,
        f"showed {shown} rows on a page of {limit}": shown > limit,
        f"said that more follow a page of {shown} rows where {limit} were asked": more and shown < limit,
        "answered with rows that are not in the order of their times": any(
            newer.listed_at < older.listed_at for newer, older in pairwise(runs)
        ),
    }
    return next((text for text, is_so in problems.items() if is_so), "")


def trusted_count(body: Mapping[str, Any]) -> RunCounts | None:
    """Return the total of a count and its parts; None where they do not agree."""
    total = integer(body.get("total"))
    parts = {name.replace("_", "-"): integer(body.get(name)) or 0 for name in COUNTED_STATUSES}
    if total is None or total < sum(parts.values()) or error_in(body):
        return None
    return RunCounts(total, parts)
