"""How the end of a flow run reaches people: artifacts in the Prefect UI, messages, hooks of failures."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from hashlib import sha256
from typing import Any

from loguru import logger
from prefect import Flow, runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.logging.loggers import flow_run_logger
from prefect.utilities.urls import url_for

from flowledger import bootstrap
from flowledger.bootstrap import notifications
from flowledger.domain.figures import Figures, ProblemRun
from flowledger.domain.messages import Occasion
from flowledger.domain.phrases import result_cost
from flowledger.domain.texts import clip, one_line
from flowledger.errors import FlowledgerError
from flowledger.flows.backfill_runs import report_instant, with_origin
from flowledger.flows.flow_retries import failed_tries
from flowledger.flows.logs import forwarded_to, note_app
from flowledger.services.pipeline import RunResult
from flowledger.services.report_requests import (
    ReportRequest,
    RunAttempt,
    RunOrder,
    order_from,
    partial_result,
)
from flowledger.services.retries import tries_of
from flowledger.settings import Settings

TASK = "fetch-workflow-logs"


def notify_result(order: RunOrder, result: RunResult) -> bool:
    """Notify people of the result of the flow run under way, and send the messages that still wait."""

    def notify() -> bool:
        settings = bootstrap.rescued_settings()  # they may have broken since the run began
        about = _attempt(settings, str(runtime.flow_run.id or ""), int(runtime.flow_run.run_count or 0))
        with notifications.open_notifications(settings, order, about) as service:
            return service.notify_success(TASK, result.to_json())

    return _guarded(notify, result.app)


def notify_trouble(occasion: Occasion, flow_name: str, flow_run: FlowRun, error: str) -> bool:
    """Notify people that a flow run did not finish, with its app and window as far as its parameters say.

    Only a report has a period and a window; ``flow_name`` tells which kind of run it is.
    """

    def notify() -> bool:
        settings = bootstrap.rescued_settings()  # broken ones may be why the run failed
        order = order_from(flow_run.parameters)
        instant = report_instant(flow_run.tags, flow_run.expected_start_time or datetime.now(UTC))
        order = with_origin(order, flow_run.tags)
        partial = partial_result(order, _request(order, instant)) if flow_name == TASK else {}
        if tries := tries_of(failed_tries(flow_run), _zone_of(settings, order)):
            partial = {**partial, "tries": tries}
        about = _attempt(settings, str(flow_run.id), flow_run.run_count)
        with notifications.open_notifications(settings, order, about) as service:
            return service.notify_problem(occasion, flow_run.name or TASK, error, partial)

    return _guarded(notify, flow_run.name or str(flow_run.id))


def _zone_of(settings: Settings, order: RunOrder) -> tzinfo:
    try:
        return settings.app(order.app).tz
    except FlowledgerError:
        return UTC


def send_waiting() -> bool:
    """Send the messages that could not be sent before; whether this could be tried."""

    def notify() -> bool:
        with notifications.open_notifications(
            bootstrap.rescued_settings(), RunOrder(), RunAttempt()
        ) as service:
            service.send_waiting()
        return True

    return _guarded(notify, "the messages that wait")


def _request(order: RunOrder, instant: datetime) -> ReportRequest | None:
    # Only what decides the window is read: a wrong status or format may be why the run failed.
    bounds = replace(order, status=None, keyword=None, formats=None)
    try:
        return bootstrap.check(bounds, instant)
    except FlowledgerError:
        return None  # what is wrong with it is the error that is announced


def _attempt(settings: Settings, flow_run_id: str, run_count: int) -> RunAttempt:
    """Return the name of one attempt at a flow run, and the page where people see it."""
    if not flow_run_id:
        return RunAttempt()
    base = settings.prefect_ui_url
    page = f"{str(base).rstrip('/')}/runs/flow-run/{flow_run_id}" if base else None
    return RunAttempt(
        run_id=f"{flow_run_id}-{max(run_count, 1)}", url=page or url_for("flow-run", obj_id=flow_run_id) or ""
    )


def _guarded(notify: Callable[[], bool], what: str) -> bool:
    try:
        return notify()
    except FlowledgerError as error:
        logger.error("people cannot be notified of {}: {}", what, error)
    except Exception as error:  # noqa: BLE001  # named boundary: notifying never fails a run
        logger.error("people cannot be notified of {}: unexpected {}", what, type(error).__name__)
    return False


NO_REASON = "no reason is known"


def announce_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Announce that a flow run failed, crashed or was cancelled: Prefect's hook."""
    note_app(str(flow_run.id), order_from(flow_run.parameters).app)
    with forwarded_to(flow_run_logger(flow_run, flow)):
        notify_trouble(occasion_of(state), flow.name, current(flow_run), reason_of(state))


def occasion_of(state: State[Any]) -> Occasion:
    """Return how an end is announced: a process that died left no error of its own."""
    return Occasion.CRASH if state.type is StateType.CRASHED else Occasion.FAILURE


def reason_of(state: State[Any]) -> str:
    """Return why a run did not finish, as its state has it."""
    message = (state.message or "").removeprefix("Flow run encountered an exception: ").strip()
    if state.type in (StateType.CANCELLED, StateType.CANCELLING):
        return f"the run was cancelled: {message}" if message else "the run was cancelled"
    return message or NO_REASON


def current(flow_run: FlowRun) -> FlowRun:
    """Read a flow run anew: a hook's own copy may be older than its last try."""
    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(flow_run.id)
    except Exception as error:  # noqa: BLE001  # named boundary: what the hook was given must do then
        logger.warning("flow run {} cannot be read anew: {}", flow_run.id, type(error).__name__)
        return flow_run


LONGEST_ERROR = 300


def artifact_key(name: str, app: str) -> str:
    """Return a key that Prefect accepts: lower-case letters, digits and dashes, one for each app."""
    slug = re.sub(r"[^a-z0-9]+", "-", app.lower()).strip("-")
    if slug and slug == app:
        return f"{name}-{slug}"
    distinct = sha256(app.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return "-".join(part for part in (name, slug, distinct) if part)


def publish_artifacts(result: RunResult, figures: Figures) -> None:
    """Publish both artifacts of one finished run in the Prefect UI."""
    app = result.app
    create_markdown_artifact(
        markdown_of(result), key=artifact_key("report", app), description=f"{app}: {_period(result)}"
    )
    create_table_artifact(
        failure_table(figures, _zone_of(result)),
        key=artifact_key("failures", app),
        description=f"{app}: failed, partial and interrupted runs",
    )


def markdown_of(result: RunResult) -> str:
    """Write the figures of a result as Markdown."""
    certificate = result.certificate
    proof = "certified" if certificate.certified else "NOT certified"
    rows = {
        "Window": f"{result.window.after} to {result.window.before}",
        "Certificate": f"{proof}: {certificate.reason}"
        f" (source {_total(certificate.expected)}, seen {certificate.distinct})",
        "Complete": result.completeness or proof,
        "Runs": result.logs_count,
        "By status": _pairs(result.by_status),
        "Open, of which stuck": f"{result.open}, {result.stuck}",
        "Detailed": result.detailed,
        "Missing details": f"{result.missing} {_pairs(result.missing_reasons)}".strip(),
        "Users": result.users,
        "Tokens": result.total_tokens,
        "Cost": result_cost(result.cost, result.cost_known_runs, result.logs_count, "en"),
        **({"Caught up": f"{result.caught_up} missed reports"} if result.caught_up else {}),
        "Requests": result.requests,
        "Duration": f"{result.duration} s",
    }
    lines = [f"# {_cell(result.app)}: {_period(result)}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(str(value))} |" for name, value in rows.items()]
    lines += ["", "## Reports", ""] + [f"- `{path}`" for path in result.report_paths]
    if result.notes:
        lines += ["", "## Notes", ""] + [f"- {_cell(note)}" for note in result.notes]
    return "\n".join(lines) + "\n"


def _period(result: RunResult) -> str:
    """Name the period of a result; by its date where it comes late, when "yesterday" was another day."""
    return f"{result.period} {result.window.after[:10]} (late)" if result.late else result.period


def failure_table(figures: Figures, tz: tzinfo | None) -> list[dict[str, str]]:
    """Return the rows of the failures table, and one that says how many more there are."""
    rows = [failure_row(failure, tz) for failure in figures.failures]
    if figures.failed > len(rows):
        rows.append({"run": f"only the newest {len(rows)} of {figures.failed} are listed"})
    return rows or [{"run": "none failed"}]


def _zone_of(result: RunResult) -> tzinfo | None:
    return datetime.fromisoformat(result.window.after).tzinfo


def failure_row(failure: ProblemRun, tz: tzinfo | None) -> dict[str, str]:
    """Return one row of the failures table; its time is in the zone."""
    return {
        "run": failure.run_id,
        "at": failure.at.astimezone(tz).isoformat(sep=" ", timespec="seconds"),
        "status": failure.source_status,
        "node": failure.node or "",
        "error": clip(failure.error, LONGEST_ERROR),
    }


def _cell(text: str) -> str:
    """Keep a text inside its table cell, and HTML in it inert."""
    return one_line(text).replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;")


def _total(expected: int | None) -> str:
    return "no total" if expected is None else str(expected)


def _pairs(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
