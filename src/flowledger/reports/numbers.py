"""Figures as text."""

from collections.abc import Mapping
from decimal import Decimal

from flowledger.domain.figures import Figures
from flowledger.reports.texts import Texts


def cost_text(cost: Mapping[str, Decimal], *, named: bool = False) -> str:
    """Write costs to six places: the bare number of a single currency, else each with its currency.

    ``named`` names the currency of a single one too.
    """
    if not cost:
        return f"{Decimal(0):.6f}"
    if len(cost) == 1 and not named:
        return f"{next(iter(cost.values())):.6f}"
    return "; ".join(f"{price:.6f} {currency}".strip() for currency, price in cost.items())


def speed_text(texts: Texts, figures: Figures) -> str:
    """Write the token speed with its unit."""
    return f"{figures.tokens_per_second:.2f} {texts['speed_unit']}"


def seconds_text(texts: Texts, seconds: float | None) -> str:
    """Write a duration with its unit; empty for None."""
    return "" if seconds is None else f"{seconds:.2f} {texts['seconds']}"
