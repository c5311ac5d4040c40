"""Why something is missing or not proved: a code, its values, and a sentence in each language.

Ledgers, JSON and logs have the English sentence; a code is found by it, also in what older versions wrote.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

SENTENCES: tuple[tuple[str, str, str], ...] = (
    (
        "complete",
        "complete",
        "完整",
    ),
    (
        "complete_by_console",
        "complete by the console's counts around the window",
        "按控制台在窗口前后的计数，完整",
    ),
    (
        "counts_agree",
        "as many different rows as the source counts",
        "不同记录数与来源总数一致",
    ),
    (
        "counts_agree",
        "distinct == total",
        "不同记录数与来源总数一致",
    ),
    (
        "counts_differ",
        "the source counts {total} rows and {count} different ones were seen,"
        " after {rounds} rounds of reading what differed",
        "来源计数 {total} 条，读到 {count} 条不同记录，已重读差异部分 {rounds} 轮",
    ),
    (
        "second_too_full",
        "second {second} holds more rows than a page shows at once",
        "{second} 这一秒的记录超过一页",
    ),
    (
        "seconds_too_full",
        "several seconds hold more rows than the source would show: its totals are wrong",
        "多个秒内的记录都超过来源能显示的数量：来源的总数有误",
    ),
    (
        "none_given",
        "the source counts {total} rows in {window} and gives none",
        "来源在 {window} 计数 {total} 条却未给出",
    ),
    (
        "console_counts_differ",
        "the console counts {total} runs and {count} were seen",
        "控制台计数 {total} 次运行，读到 {count} 次",
    ),
    (
        "no_quiet_stretch",
        "no quiet stretch of {seconds} s before the window to count from",
        "窗口之前没有 {seconds} 秒的空闲段可供计数",
    ),
    (
        "console_counts_nothing",
        "the console counts no runs, or counts that contradict themselves, so nothing can be compared",
        "控制台不给计数或计数自相矛盾，无从比较",
    ),
    (
        "endless_list",
        "the list does not end: {pages} pages were read",
        "列表没有尽头：已读 {pages} 页",
    ),
    (
        "repeated_page",
        "the list repeats a page instead of going on",
        "列表重复同一页而不前进",
    ),
    (
        "far_more_pages",
        "the source answered with far more pages than it counted rows for at first, for {window}",
        "来源给出的页数远超最初计数（{window}）",
    ),
    (
        "rows_moved",
        "rows kept changing",
        "读取期间记录一直在变化",
    ),
    (
        "not_read",
        "not read yet",
        "尚未读取",
    ),
    (
        "not_asked",
        "not asked for",
        "未要求读取",
    ),
    (
        "left_out",
        "left out of this reading",
        "本次读取略过",
    ),
    (
        "no_nodes_recorded",
        "the recording program tells of no nodes",
        "记录程序没有提供节点",
    ),
    (
        "no_console",
        "no console access",
        "没有控制台权限",
    ),
    (
        "console_locked",
        "console login locked",
        "控制台登录被锁定",
    ),
    (
        "console_refused",
        "console login refused",
        "控制台登录被拒绝",
    ),
    (
        "console_silent",
        "console login unanswered",
        "控制台登录无响应",
    ),
    (
        "nodes_incomplete",
        "node executions not complete yet",
        "节点执行记录尚不完整",
    ),
    (
        "run_deleted",
        "the source has deleted the run and has only its log row",
        "来源已删除该运行，只剩日志行",
    ),
    (
        "run_unknown",
        "app {app}, run {run}: the source no longer knows the run",
        "来源已不存在该运行",
    ),
    (
        "run_unknown",
        "the source no longer knows the run",
        "来源已不存在该运行",
    ),
    (
        "unreadable",
        "its data cannot be read ({error})",
        "数据无法读取（{error}）",
    ),
    (
        "console_app_unknown",
        "the console has no app {app}: set DIFY_APP_ID to the part after /app/ in the app's address",
        "控制台中没有应用 {app}：请将 DIFY_APP_ID 设为应用地址中 /app/ 之后的部分",
    ),
    (
        "server_error",
        "{place}: the server cannot answer now ({status}): {words}",
        "{place}：服务器暂时无法应答（{status}）：{words}",
    ),
    (
        "refused",
        "{place}: refused ({status}): {words}",
        "{place}：被拒绝（{status}）：{words}",
    ),
    (
        "credentials_refused",
        "{place}: the credentials were refused (401): {words}",
        "{place}：凭据被拒绝（401）：{words}",
    ),
    (
        "timeout",
        "{place}: no complete answer in time ({connect} s to connect, {deadline} s in all); the server is"
        " overloaded or hangs (DIFY_REQUEST_DEADLINE_S)",
        "{place}：未能按时得到完整应答（连接 {connect} 秒，共 {deadline} 秒）；"
        "服务器过载或无响应（DIFY_REQUEST_DEADLINE_S）",
    ),
    (
        "cut_short",
        "{place}: the connection broke before the answer was complete",
        "{place}：应答未完，连接已断开",
    ),
    (
        "filter_note",
        "only runs with {filter}",
        "仅含 {filter} 的运行",
    ),
    (
        "settled_note",
        "ends at {end}, before which all had settled by the source's clock",
        "截止 {end}：按来源时钟，此前的记录均已稳定",
    ),
    (
        "keyword_note",
        "{count} runs are left out because inputs and outputs, where the keyword may be, are missing",
        "{count} 次运行因缺少可能含关键字的输入输出而未列入",
    ),
    (
        "chatflow_filter_note",
        "a chatflow's run list takes no filters: filtered by Flowledger",
        "对话流的运行列表不支持筛选：由 Flowledger 筛选",
    ),
    (
        "stored_locally_note",
        "kept on this machine until the storage takes it; the next run uploads it: {why}",
        "暂存本机，存储恢复后由下一次运行上传：{why}",
    ),
    (
        "cancelled",
        "the run was cancelled: {why}",
        "运行已取消：{why}",
    ),
    (
        "cancelled",
        "the run was cancelled",
        "运行已取消",
    ),
    (
        "no_reason",
        "no reason is known",
        "原因不明",
    ),
)
OTHER = "other"
"""Code of a sentence that is not in the table: a server's own words, for instance."""
_PLACE = re.compile(r"\\\{(\w+)\\\}")


class Reason(NamedTuple):
    """A code with the values of its sentence, and what it is in Chinese."""

    code: str
    values: Mapping[str, str]
    chinese: str


_PATTERNS = tuple(
    (code, re.compile(_PLACE.sub(r"(?P<\1>.+?)", re.escape(english)), re.DOTALL), chinese)
    for code, english, chinese in SENTENCES
)


@lru_cache(maxsize=4096)
def reason_of(text: str) -> Reason:
    """Return the reason that an English sentence stands for; the code is ``OTHER`` where there is none."""
    for code, pattern, chinese in _PATTERNS:
        if match := pattern.fullmatch(text):
            return Reason(code, match.groupdict(), chinese)
    return Reason(OTHER, {}, "{text}")


def reason_code(text: str) -> str:
    """Return the code of a sentence, that of its first part where several are joined."""
    whole = reason_of(text)
    return whole.code if whole.code != OTHER else reason_of(text.partition("; ")[0]).code


def reason_text(text: str, language: str) -> str:
    """Return a sentence in a language; parts that are in no table stay as they are."""
    if language != "zh" or not text:
        return text
    reason = reason_of(text)
    if reason.code == OTHER and "; " in text:
        return "；".join(_chinese(part) for part in text.split("; "))
    return _chinese(text)


def _chinese(text: str) -> str:
    reason = reason_of(text)
    return reason.chinese.format(text=text, **reason.values)
