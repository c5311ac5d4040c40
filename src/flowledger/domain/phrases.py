"""What people read outside of the reports' own catalogues: one table a language, by code."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation

from flowledger.domain.costs import amount_text

_ZH: Mapping[str, str] = {
    "language": "zh",
    "cost_unknown": "未知",
    "cost_at_least": "≥ {cost}（{runs} 次运行中 {known} 次费用已知）",
    "comma": "，",
    **{"status_success": "成功", "status_partial": "部分成功", "status_failed": "失败"},
    **{"status_cancelled": "已停止", "status_interrupted": "中断", "status_running": "运行中"},
    **{"status_paused": "暂停", "status_pending": "等待中"},
    # Words of Dify, of runs and of node executions
    **{"status_succeeded": "成功", "status_partial-succeeded": "部分成功", "status_stopped": "已停止"},
    **{"status_exception": "异常", "status_retry": "重试"},
    **{"period_yesterday": "昨天", "period_today": "今天", "period_last_week": "上周"},
    **{"period_last_month": "上月", "period_last_24h": "过去 24 小时", "period_custom": "指定时段"},
    **{"report_yesterday": "日报 {days}", "report_last_week": "周报 {days}"},
    **{"report_last_month": "月报 {days}", "report_custom": "报告 {days}"},
}
_EN: Mapping[str, str] = {
    "language": "en",
    "cost_unknown": "unknown",
    "cost_at_least": "≥ {cost} (known for {known} of {runs} runs)",
    "comma": ", ",
    **{"status_success": "success", "status_partial": "partial", "status_failed": "failed"},
    **{"status_cancelled": "cancelled", "status_interrupted": "interrupted", "status_running": "running"},
    **{"status_paused": "paused", "status_pending": "pending"},
    **{"status_succeeded": "succeeded", "status_partial-succeeded": "partial-succeeded"},
    **{"status_stopped": "stopped", "status_exception": "exception", "status_retry": "retry"},
    **{"period_yesterday": "yesterday", "period_today": "today", "period_last_week": "last week"},
    **{
        "period_last_month": "last month",
        "period_last_24h": "last 24 hours",
        "period_custom": "custom period",
    },
    **{"report_yesterday": "daily report {days}", "report_last_week": "weekly report {days}"},
    **{"report_last_month": "monthly report {days}", "report_custom": "report {days}"},
}
PHRASES: Mapping[str, Mapping[str, str]] = {"zh": _ZH, "en": _EN}


def phrase(code: str, language: str, **values: object) -> str:
    """Return the phrase of a code in a language, with values in its places."""
    return PHRASES[language][code].format(**values)


def status_word(status: str, language: str) -> str:
    """Return the word of a status (``RunStatus``, or one of Dify's), any other text as it is."""
    return PHRASES[language].get(f"status_{status}", status)


def period_word(period: str, language: str) -> str:
    """Return the word of a period, any other text as it is."""
    return PHRASES[language].get(f"period_{period}", period)


def report_name(period: str, first: date, last: date, language: str) -> str:
    """Name a report of the past by its kind and days: "yesterday" means another day by now."""
    days = f"{first}" if first == last else f"{first} – {last}"
    phrases = PHRASES[language]
    return phrases.get(f"report_{period}", phrases["report_custom"]).format(days=days)


def result_cost(cost: Mapping[str, str] | None, known: int | None, runs: int, language: str) -> str:
    """Return what a result says its runs cost (``RunResult.cost``), for people.

    ``known`` is the number of runs whose cost is known, None in results that do not say.
    """
    if cost is None:
        return phrase("cost_unknown", language)
    amounts = [f"{_rounded(amount)} {currency}".strip() for currency, amount in cost.items()]
    text = PHRASES[language]["comma"].join(amounts) or "0"
    if known is None or known >= runs:
        return text
    return phrase("cost_at_least", language, cost=text, known=known, runs=runs)


def _rounded(amount: str) -> str:
    try:
        return amount_text(Decimal(amount))
    except InvalidOperation:
        return amount
