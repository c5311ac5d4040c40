"""Single values as text in reports."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any

from flowledger.domain.costs import amount_text, is_unknown
from flowledger.domain.figures import Figures
from flowledger.reports.catalogue import Texts

ABSENT = "N/A"


def moment(value: Any, tz: tzinfo | None) -> str:
    """Show epoch seconds in a zone (None: the machine's); None is N/A, anything else is shown as it is."""
    if value is None:
        return ABSENT
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    try:
        return at(datetime.fromtimestamp(value, UTC), tz)
    except (ValueError, OverflowError, OSError):
        return str(value)


def at(instant: datetime, tz: tzinfo | None) -> str:
    """Show an aware time in a zone (None: the machine's), to the second."""
    return instant.astimezone(tz).replace(tzinfo=None).isoformat(" ", "seconds")


def number(value: Any) -> float:
    """Return a number, or that of a text; anything else, NaN and infinity are 0."""
    try:
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return read if math.isfinite(read) else 0.0


def as_mapping(value: Any) -> dict[str, Any]:
    """Return an object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def creator_of(row: dict[str, Any]) -> tuple[str | None, str]:
    """Return the kind (``account``, ``end_user`` or None) and the name of who started a run."""
    if account := as_mapping(row.get("created_by_account")):
        return "account", str(account.get("email", ABSENT))
    if user := as_mapping(row.get("created_by_end_user")):
        return "end_user", str(user.get("session_id", ABSENT))
    return None, ABSENT


EXCEL_LIMIT = 32_767
"""UTF-16 units that a cell of Excel can have."""


def cut_cell(text: str, note: str, length: int) -> tuple[str, bool]:
    """Return a text cut to Excel's limit, the note included, and whether it was cut.

    It is cut between characters; ``{length}`` in the note becomes the length of the whole text.
    """
    # A character is at most two units, so most texts are short enough without encoding them.
    if len(text) * 2 <= EXCEL_LIMIT or _units(text) <= EXCEL_LIMIT:
        return text, False
    note = note.format(length=length)
    room = 2 * (EXCEL_LIMIT - _units(note))
    beginning = text.encode("utf-16-le")[:room].decode("utf-16-le", "ignore")
    return beginning + note, True


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def cost_text(texts: Texts, figures: Figures, *, named: bool = False) -> str:
    """Write what runs cost: the bare number of a single currency, else each with its currency.

    ``named`` names the currency of a single one too.  What is known in part is a lower bound, with the number
    of runs whose cost is known.
    """
    cost = figures.cost
    if is_unknown(cost, figures.costed, figures.runs):
        return texts["cost_unknown"]
    bare = len(cost) == 1 and not named
    amounts = [
        amount_text(price) if bare else f"{amount_text(price)} {currency}".strip()
        for currency, price in cost.items()
    ]
    text = "; ".join(amounts) or amount_text(Decimal(0))
    if figures.costed >= figures.runs:
        return text
    return texts["cost_at_least"].format(cost=text, known=figures.costed, runs=figures.runs)


def old_cost_text(cost: Mapping[str, Decimal]) -> str:
    """Write costs as the old script did: to six places, nothing as zero."""
    if len(cost) <= 1:
        return f"{next(iter(cost.values()), Decimal(0)):.6f}"
    return "; ".join(f"{price:.6f} {currency}".strip() for currency, price in cost.items())


def speed_text(texts: Texts, figures: Figures) -> str:
    """Write the speed of output with its unit."""
    speed = figures.tokens_per_second
    return texts["speed_unknown"] if speed is None else f"{speed:.2f} {texts['speed_unit']}"


def old_speed_text(texts: Texts, figures: Figures) -> str:
    """Write the speed as the old script counts it: tokens of the input are in it, too."""
    return f"{figures.total_tokens_per_second:.2f} {texts['speed_unit']}"


def seconds_text(texts: Texts, seconds: float | None) -> str:
    """Write a duration with its unit; empty for None."""
    return "" if seconds is None else f"{seconds:.2f} {texts['seconds']}"
