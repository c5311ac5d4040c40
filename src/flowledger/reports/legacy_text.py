"""What the old script prints about rows; pure."""

import json
from collections.abc import Iterable, Iterator
from datetime import tzinfo
from typing import Any

from flowledger.domain.texts import show_controls
from flowledger.reports.cells import ABSENT, as_mapping, creator_of, moment, number
from flowledger.reports.paging import Paging
from flowledger.reports.rows import Row
from flowledger.reports.texts import ZH

HINT = (
    "\n💡 提示: 要查看完整的详细信息（包括完整的输入/输出和所有节点），请使用:\n"
    "   --format json 或 --output <filename>.json 或 --output-md <filename>.md\n"
)
EMPTY = "没有找到日志记录\n"

_WIDTH = 120
_SHOWN_NODES = 5
_SHOWN_CHARACTERS = 100


def summary_text(paging: Paging) -> str:
    """Write the summary above the table."""
    lines = [f"   {ZH[key]}: {value}" for key, value in paging.items(ZH)]
    return "\n".join(["", "📊 日志摘要:", *lines, ""])


def table_text(rows: Iterable[Row], *, details: bool, tz: tzinfo | None) -> str:
    """Write the table, with a block below each row when details were asked for.

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
