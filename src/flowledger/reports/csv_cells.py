"""Cells that a spreadsheet shows and does not run."""

import re

from flowledger.domain.texts import show_controls

EXCEL_LIMIT = 32_767
"""UTF-16 units that a cell of Excel holds."""

_FORMULA = re.compile(r"[\s\ufeff\u200b-\u200f\u2060]*[=+\-@＝＋－＠]|[\t\r]")


def defuse(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula.

    That is: one whose first sign, white space and invisible signs apart, is = + - @ or their full-width
    forms, or which begins with a tab or CR (OWASP, CSV injection).  Control characters are shown as symbols.
    """
    shown = show_controls(text)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def cut_cell(text: str, note: str, length: int) -> tuple[str, bool]:
    """Cut a text to Excel's limit at a character border, the note included; tell whether it was cut.

    The note says how long (``{length}``) the whole text is.
    """
    if len(text) * 2 <= EXCEL_LIMIT or _units(text) <= EXCEL_LIMIT:
        return text, False
    note = note.format(length=length)
    room = 2 * (EXCEL_LIMIT - _units(note))
    kept = text.encode("utf-16-le")[:room].decode("utf-16-le", "ignore")
    return kept + note, True


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
