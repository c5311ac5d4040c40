"""The old script's files and printed texts, from rows of the service API (``rows.joined_row``)."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

from flowledger.domain.costs import CONTAINERS, Cost, metadata_price, parents_of, summed
from flowledger.domain.figures import FiguresCounter
from flowledger.domain.numbers import decimal_of
from flowledger.domain.runs import (
    AppKey,
    Creator,
    Detail,
    Detailed,
    Entry,
    Missing,
    NodeExecution,
    Run,
    RunStatus,
)
from flowledger.domain.texts import show_controls
from flowledger.io.atomic import naming_file
from flowledger.io.json_text import JsonStyle, loads
from flowledger.io.scratch_folders import scratch_folder
from flowledger.reports import markdown
from flowledger.reports.artifacts import replacing, spool
from flowledger.reports.catalogue import ZH
from flowledger.reports.cells import ABSENT, as_mapping, creator_of, moment, number
from flowledger.reports.csv_files import OLD_SCRIPT, CsvSet
from flowledger.reports.json_file import write_document
from flowledger.reports.markdown import VERBATIM, MarkdownDocument, RunSection
from flowledger.reports.rows import Paging, Row

_APP = AppKey("dify", "")
_JSON = JsonStyle(bare=True)
_NO_DETAIL = "not asked for"


def save_json(path: Path, rows: Iterable[Row], *, before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    """Write rows under ``data`` between outer keys, whole or not at all, and return their number.

    Everything: ``before={"total": n}, after={"has_more": False}``.  One page: ``before`` with page, limit,
    total and has_more, ``after={}``.

    :raises StorageError: when the file cannot be written.
    """
    with replacing(path) as out, naming_file(path):
        return write_document(out, rows, before=before, after=after, style=_JSON)


def json_text(rows: Sequence[Row], *, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what ``save_json`` writes as a text for the console, without a line end."""
    with tempfile.SpooledTemporaryFile(max_size=1 << 24) as out:
        write_document(out, rows, before=before, after=after, style=_JSON)  # type: ignore[arg-type]
        out.seek(0)
        return out.read().decode()


def save_markdown(
    path: Path, rows: Iterable[Row], paging: Paging, *, generated_at: datetime, tz: tzinfo | None
) -> int:
    """Write the old document, whole or not at all, and return the number of runs.

    Times are shown in ``tz`` (None: the machine's zone).

    :raises StorageError: when the file cannot be written.
    """
    with replacing(path) as out, spool(path) as body, naming_file(path):
        document = MarkdownDocument(RunSection(ZH, VERBATIM, tz), body)
        for row in rows:
            document.add(row)
        summary = [
            *markdown.title(ZH, generated_at, tz),
            *markdown.totals(ZH, VERBATIM, paging, dict(sorted(document.statuses.items()))),
        ]
        document.finish(summary, out)
        return document.count


def save_csv(directory: Path, rows: Iterable[Row], *, tz: tzinfo | None) -> Sequence[Path]:
    """Write the four CSV files, each whole or not at all, in the order the old script names them.

    Days and times are of ``tz`` (None: the machine's zone).  An empty ``rows`` writes them too.

    :raises StorageError: when a file cannot be written.
    """
    with ExitStack() as stack:
        with naming_file(directory):
            directory.mkdir(parents=True, exist_ok=True)
            staging = stack.enter_context(scratch_folder(directory, ".partial-"))
        written = _write_csv(staging, rows, tz)
        with naming_file(directory):
            return [path.replace(directory / path.name) for path in written]


def _write_csv(staging: Path, rows: Iterable[Row], tz: tzinfo | None) -> Sequence[Path]:
    files = CsvSet(staging, ZH, tz, limits=OLD_SCRIPT)
    # Nothing is stuck in the old reports, and their cost is the old script's.
    counter = FiguresCounter(tz, now=datetime.fromtimestamp(0, UTC), cost_rule=_old_cost)
    try:
        for row in rows:
            entry = entry_of(row)
            files.add(entry)
            counter.add(entry)
        return files.finish(counter.figures())
    finally:
        files.close()


def _old_cost(nodes: Sequence[NodeExecution]) -> Cost:
    """Return the cost as the old script counts it: whatever is called ``usage`` is a price, too."""
    parents = parents_of(nodes)
    counted = [node for node in nodes if not (node.node_type in CONTAINERS and node.node_id in parents)]
    return Cost(summed((node, *_old_price(node)) for node in counted), whole=True)


def _old_price(node: NodeExecution) -> tuple[Decimal | None, str]:
    for payload in (node.metadata, _usage_of(node.outputs), _usage_of(node.process_data)):
        price, currency = metadata_price(payload)
        if price is not None:
            return price, currency or ""
    return None, ""


def _usage_of(payload: Any) -> Any:
    return as_mapping(payload).get("usage")


def entry_of(row: Row) -> Entry:
    """Return a row as an entry for the CSV files: only what they contain, read leniently."""
    run, detail = as_mapping(row.get("workflow_run")), as_mapping(row.get("workflow_run_detail"))
    log_id = str(row.get("id") or "")
    tokens = decimal_of(detail.get("total_tokens")) or decimal_of(run.get("total_tokens")) or Decimal(0)
    return Entry(
        Run(
            app=_APP,
            run_id=str(run.get("id") or log_id),
            listed_at=_instant(row.get("created_at")),
            status=RunStatus.SUCCESS,
            source_status=str(run.get("status") or ""),
            log_id=log_id,
            gone=not run,
            creator=_creator(row),
            elapsed_s=decimal_of(run.get("elapsed_time")),
            total_tokens=int(tokens),
        ),
        _detail(detail, row.get("node_executions")),
    )


def _detail(detail: Row, nodes: Any) -> Detail:
    if not detail and not nodes:
        return Missing(_NO_DETAIL)
    executions = [_node(at, node) for at, node in enumerate(nodes or []) if isinstance(node, dict)]
    return Detailed(_object(detail.get("inputs")), _object(detail.get("outputs")), executions, {})


def _node(position: int, node: Row) -> NodeExecution:
    return NodeExecution(
        position=position,
        execution_id=str(node.get("id") or ""),
        node_id=str(node.get("node_id") or ""),
        node_type=str(node.get("node_type") or ""),
        title=str(node.get("title") or ""),
        status=str(node.get("status") or ""),
        process_data=_object(node.get("process_data")),
        outputs=_object(node.get("outputs")),
        metadata=_object(node.get("execution_metadata")),
    )


def _creator(row: Row) -> Creator | None:
    user, account = as_mapping(row.get("created_by_end_user")), as_mapping(row.get("created_by_account"))
    if session := user.get("session_id"):
        return Creator("end_user", session_id=str(session))
    if email := account.get("email"):
        return Creator("account", email=str(email))
    return None


def _object(value: Any) -> Row:
    """Objects come as such or as JSON text, depending on the release (docs/dify-api.md "Run detail")."""
    if isinstance(value, str):
        try:
            value = loads(value)
        except ValueError:
            return {}
    return as_mapping(value)


def _instant(value: Any) -> datetime:
    return datetime.fromtimestamp(float(decimal_of(value) or 0), UTC)


HINT = (
    "\n💡 提示: 要查看完整的详细信息（包括完整的输入/输出和所有节点），请使用:\n"
    "   --format json 或 --output <filename>.json 或 --output-md <filename>.md\n"
)
EMPTY = "没有找到日志记录\n"

_WIDTH = 120
_SHOWN_NODES = 5
_SHOWN_CHARACTERS = 100


def summary_text(paging: Paging) -> str:
    """Return the summary above the table."""
    lines = [f"   {ZH[key]}: {value}" for key, value in paging.items(ZH)]
    return "\n".join(["", "📊 日志摘要:", *lines, ""])


def table_text(rows: Iterable[Row], *, details: bool, tz: tzinfo | None) -> str:
    """Return the table, with a block below each row if ``details``.

    Times are shown in ``tz`` (None: the machine's zone).
    """
    body = [line for row in rows for line in _row_lines(row, details, tz)]
    if not body:
        return EMPTY
    columns = f"{'ID':<38} {'状态':<12} {'创建时间':<20} {'耗时(秒)':<10} {'来源':<15} {'创建者':<20}"
    rule = "=" * _WIDTH
    return show_controls("\n".join(["", rule, columns, "-" * _WIDTH, *body, rule, "", ""]))


def _row_lines(row: Row, details: bool, tz: tzinfo | None) -> Iterator[str]:
    run = as_mapping(row.get("workflow_run"))
    log_id = str(row.get("id", ABSENT))[:36]
    _, creator = creator_of(row)
    yield (
        f"{log_id:<38} {run.get('status', ABSENT)!s:<12} {moment(row.get('created_at'), tz):<20} "
        f"{number(run.get('elapsed_time', 0)):<10.2f} {row.get('created_from', ABSENT)!s:<15} {creator:<20}"
    )
    if details:
        yield from ("", f"  📋 日志详情 (ID: {log_id}):")
        yield from _detail_lines(row)
        yield from _node_lines(row)
        yield ""


def _detail_lines(row: Row) -> Iterator[str]:
    detail = as_mapping(row.get("workflow_run_detail"))
    if not detail:
        reason = row.get("workflow_run_detail_error")
        yield f"    ❌ 获取工作流运行详情失败: {reason}" if reason else "    ⚠️  未获取工作流运行详情"
        return
    yield "    ✅ 工作流运行详情已获取"
    yield f"       - 状态: {detail.get('status', ABSENT)}"
    yield f"       - 耗时: {number(detail.get('elapsed_time', 0)):.2f} 秒"
    yield f"       - Token 消耗: {detail.get('total_tokens', 0)}"
    yield f"       - 总步数: {detail.get('total_steps', 0)}"
    if error := detail.get("error"):
        yield f"       - 错误: {str(error)[:_SHOWN_CHARACTERS]}"
    for label, key in (("输入", "inputs"), ("输出", "outputs")):
        if value := detail.get(key):
            yield f"       - {label}: {_short(value)}"


def _node_lines(row: Row) -> Iterator[str]:
    nodes = row.get("node_executions")
    if not nodes:
        if reason := row.get("node_executions_error"):
            yield f"    ❌ 获取节点执行详情失败: {reason}"
        elif row.get("workflow_run"):
            yield "    ⚠️  未获取节点执行详情（可能需要 --with-node-executions 和 --console-token）"
        return
    yield f"    ✅ 节点执行详情已获取 ({len(nodes)} 个节点)"
    for position, node in enumerate(map(as_mapping, nodes[:_SHOWN_NODES]), 1):
        kind, title, status = (node.get(key, ABSENT) for key in ("node_type", "title", "status"))
        elapsed = number(node.get("elapsed_time", 0))
        yield f"       {position}. [{kind}] {title} - {status} ({elapsed:.2f}s)"
    if len(nodes) > _SHOWN_NODES:
        yield f"       ... 还有 {len(nodes) - _SHOWN_NODES} 个节点"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
