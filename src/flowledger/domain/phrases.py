"""What people read outside of the reports' own catalogues: one table a language, by code."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from flowledger.domain.costs import amount_text

_ZH: Mapping[str, str] = {
    "cost_unknown": "未知",
    "cost_at_least": "≥ {cost}（{runs} 次运行中 {known} 次费用已知）",
    "comma": "，",
}
_EN: Mapping[str, str] = {
    "cost_unknown": "unknown",
    "cost_at_least": "≥ {cost} (known for {known} of {runs} runs)",
    "comma": ", ",
}
PHRASES: Mapping[str, Mapping[str, str]] = {"zh": _ZH, "en": _EN}


def phrase(code: str, language: str, **values: object) -> str:
    """Return the phrase of a code in a language, with values in its places."""
    return PHRASES[language][code].format(**values)


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
