"""What the bounds of an old configuration mean: a pair of words such as yesterday and today is a period."""

import re
from collections.abc import Mapping
from typing import Any

AFTER, BEFORE = "created_at_after", "created_at_before"
TEMPLATE = re.compile(r"\{\{\s*(\w+)\s*\}\}")

PERIODS_OF_BOUNDS: Mapping[tuple[str | None, str | None], str] = {
    ("yesterday", "today"): "yesterday",
    ("yesterday", "yesterday"): "yesterday",
    ("today", None): "today",
    ("today", "today"): "today",
    ("today", "now"): "today",
    ("today", "tomorrow"): "today",
    ("last_week", None): "last_week",
    ("last_week", "today"): "last_week",
    ("last_week", "this_week"): "last_week",
    ("last_week", "last_week"): "last_week",
    ("week_ago", "today"): "last_week",
    ("last_month", None): "last_month",
    ("last_month", "today"): "last_month",
    ("last_month", "this_month"): "last_month",
    ("last_month", "last_month"): "last_month",
}
"""Word of ``{{ … }}`` after which, word before which → the period that is meant."""


def period_of_bounds(after: Any, before: Any) -> str | None:
    """Give the period that two bounds of an old configuration mean; None where there are none.

    :raises ValueError: for bounds that mean no period, with what to write instead.
    """
    if after in (None, "") and before in (None, ""):
        return None
    meant = PERIODS_OF_BOUNDS.get((_word(after), _word(before)))
    if meant:
        return meant
    raise ValueError(
        f"{AFTER} {after!r} and {BEFORE} {before!r} mean no period: leave both out and write"
        " period: yesterday (or today, last_week, last_month, last_24h)"
    )


def _word(bound: Any) -> str | None:
    """Give the word inside the braces, None for no bound; another bound matches nothing."""
    if bound in (None, ""):
        return None
    found = TEMPLATE.fullmatch(str(bound).strip())
    return found[1].lower() if found else f"not a template: {bound}"
