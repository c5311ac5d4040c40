"""Texts that a spreadsheet shows and does not run."""

import re

from flowledger.domain.texts import show_controls

_FORMULA = re.compile(r"[\s\ufeff\u200b-\u200f\u2060]*[=+\-@＝＋－＠]|[\t\r]")


def defuse(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula.

    That is: one whose first sign, white space and invisible signs apart, is = + - @ or their full-width
    forms, or which begins with a tab or CR (OWASP, CSV injection).  Control characters are shown as symbols.
    """
    shown = show_controls(text)
    return f"'{shown}" if _FORMULA.match(shown) else shown
