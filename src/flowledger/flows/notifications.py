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
from flowledger.domain.phrases import period_word, result_cost, status_word
from flowledger.domain.reasons import reason_text
from flowledger.domain.texts import clip, one_line
from flowledger.errors import FlowledgerError
from flowledger.flows.backfill_runs import report_instant, with_origin
from flowledger.flows.flow_retries import failed_tries
from flowledger.flows.logs import forwarded_to, note_app
from flowledger.services import report_requests
from flowledger.services.retries import tries_of
from flowledger.services.run_result import RunResult
from flowledger.settings import Settings

TASK = "fetch-workflow-logs"


def notify_result(order: report_requests.RunOrder, result: RunResult) -> bool:
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
        order = report_requests.order_from(flow_run.parameters)
        instant = report_instant(flow_run.tags, flow_run.expected_start_time or datetime.now(UTC))
        order = with_origin(order, flow_run.tags)
        partial = report_requests.partial_result(order, _request(order, instant)) if flow_name == TASK else {}
        if tries := tries_of(failed_tries(flow_run), _zone_of(settings, order)):
            partial = {**partial, "tries": tries}
        about = _attempt(settings, str(flow_run.id), flow_run.run_count)
        with notifications.open_notifications(settings, order, about) as service:
            return service.notify_problem(occasion, flow_run.name or TASK, error, partial)

    return _guarded(notify, flow_run.name or str(flow_run.id))


def _zone_of(settings: Settings, order: report_requests.RunOrder) -> tzinfo:
    try:
        return settings.app(order.app).tz
    except FlowledgerError:
        return UTC


def send_waiting() -> bool:
    """Send the messages that could not be sent before; whether this could be tried."""

    def notify() -> bool:
        with notifications.open_notifications(
            bootstrap.rescued_settings(), report_requests.RunOrder(), report_requests.RunAttempt()
        ) as service:
            service.send_waiting()
        return True

    return _guarded(notify, "the messages that wait")


def _request(order: report_requests.RunOrder, instant: datetime) -> report_requests.ReportRequest | None:
    # Only what decides the window is read: a wrong status or format may be why the run failed.
    bounds = replace(order, status=None, keyword=None, formats=None)
    try:
        return bootstrap.check(bounds, instant)
    except FlowledgerError:
        return None  # what is wrong with it is the error that is announced


def _attempt(settings: Settings, flow_run_id: str, run_count: int) -> report_requests.RunAttempt:
    """Return the name of one attempt at a flow run, and the page where people see it."""
    if not flow_run_id:
        return report_requests.RunAttempt()
    base = settings.prefect_ui_url
    page = f"{str(base).rstrip('/')}/runs/flow-run/{flow_run_id}" if base else None
    return report_requests.RunAttempt(
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
    note_app(str(flow_run.id), report_requests.order_from(flow_run.parameters).app)
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


_WORDS: Mapping[str, Mapping[str, str]] = {
    "zh": {
        "Window": "时间窗口",
        "Certificate": "采集证明",
        "Complete": "完整性",
        "Runs": "运行",
        "By status": "状态",
        "Open, of which stuck": "未结束（其中卡住）",
        "Detailed": "有详情",
        "Missing details": "缺少详情",
        "Users": "用户",
        "Tokens": "Token",
        "Cost": "费用",
        "Caught up": "补发的报告",
        " (late)": "（补发）",
        "Requests": "请求数",
        "Duration": "用时（秒）",
        "Reports": "报告",
        "Notes": "说明",
        "certified": "已证明完整",
        "NOT certified": "未证明",
        "no total": "无总数",
        "{proof}: {reason} (source {expected}, seen {distinct})": (
            "{proof}：{reason}（来源 {expected}，读到 {distinct}）"
        ),
        "failed, partial and interrupted runs": "失败、部分成功与中断的运行",
        "run": "运行",
        "at": "时间",
        "status": "状态",
        "node": "节点",
        "error": "错误",
        "none failed": "没有失败的运行",
        "only the newest {shown} of {total} are listed": "共 {total} 次，仅列出最新的 {shown} 次",
    },
    "en": {},
}
"""Language → English word of an artifact → its word; English has no need of any."""


def _word(english: str, language: str) -> str:
    return _WORDS[language].get(english, english)


def publish_artifacts(result: RunResult, figures: Figures, language: str = "en") -> None:
    """Publish both artifacts of one finished run in the Prefect UI, in a language."""
    app = result.app
    create_markdown_artifact(
        markdown_of(result, language),
        key=artifact_key("report", app),
        description=f"{app}: {_period(result, language)}",
    )
    create_table_artifact(
        failure_table(figures, _zone_of_result(result), language),
        key=artifact_key("failures", app),
        description=f"{app}: {_word('failed, partial and interrupted runs', language)}",
    )


def markdown_of(result: RunResult, language: str = "en") -> str:
    """Write the figures of a result as Markdown, in a language."""
    certificate = result.certificate
    proof = _word("certified" if certificate.certified else "NOT certified", language)
    expected = _word("no total", language) if certificate.expected is None else str(certificate.expected)
    reasons = {reason_text(why, language): count for why, count in result.missing_reasons.items()}
    statuses = {status_word(status, language): count for status, count in result.by_status.items()}
    rows = {
        "Window": f"{result.window.after} – {result.window.before}",
        "Certificate": _word("{proof}: {reason} (source {expected}, seen {distinct})", language).format(
            proof=proof,
            reason=reason_text(certificate.reason, language),
            expected=expected,
            distinct=certificate.distinct,
        ),
        "Complete": result.completeness or proof,
        "Runs": result.logs_count,
        "By status": _pairs(statuses),
        "Open, of which stuck": f"{result.open}, {result.stuck}",
        "Detailed": result.detailed,
        "Missing details": f"{result.missing} {_pairs(reasons)}".strip(),
        "Users": result.users,
        "Tokens": result.total_tokens,
        "Cost": result_cost(result.cost, result.cost_known_runs, result.logs_count, language),
        **({"Caught up": result.caught_up} if result.caught_up else {}),
        "Requests": result.requests,
        "Duration": f"{result.duration} s",
    }
    lines = [f"# {_cell(result.app)}: {_period(result, language)}", "", "| | |", "|---|---|"]
    lines += [f"| {_word(name, language)} | {_cell(str(value))} |" for name, value in rows.items()]
    lines += ["", f"## {_word('Reports', language)}", ""] + [f"- `{path}`" for path in result.report_paths]
    if result.notes:
        notes = [reason_text(note, language) for note in result.notes]
        lines += ["", f"## {_word('Notes', language)}", ""] + [f"- {_cell(note)}" for note in notes]
    return "\n".join(lines) + "\n"


def _period(result: RunResult, language: str) -> str:
    """Name the period of a result; by its date where it comes late, when "yesterday" was another day."""
    name = period_word(result.period, language) if language == "zh" else result.period
    if not result.late:
        return name
    return f"{name} {result.window.after[:10]}{_word(' (late)', language)}"


def failure_table(figures: Figures, tz: tzinfo | None, language: str = "en") -> list[dict[str, str]]:
    """Return the rows of the failures table, and one that says how many more there are."""
    rows = [failure_row(failure, tz, language) for failure in figures.failures]
    if figures.failed > len(rows):
        text = _word("only the newest {shown} of {total} are listed", language)
        rows.append({"run": text.format(shown=len(rows), total=figures.failed)})
    rows = rows or [{"run": _word("none failed", language)}]
    return [{_word(name, language): cell for name, cell in row.items()} for row in rows]


def _zone_of_result(result: RunResult) -> tzinfo | None:
    return datetime.fromisoformat(result.window.after).tzinfo


def failure_row(failure: ProblemRun, tz: tzinfo | None, language: str = "en") -> dict[str, str]:
    """Return one row of the failures table; its time is in the zone."""
    return {
        "run": failure.run_id,
        "at": failure.at.astimezone(tz).isoformat(sep=" ", timespec="seconds"),
        "status": status_word(failure.source_status, language),
        "node": failure.node or "",
        "error": clip(failure.error, LONGEST_ERROR),
    }


def _cell(text: str) -> str:
    """Keep a text inside its table cell, and HTML in it inert."""
    return one_line(text).replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;")


def _pairs(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
