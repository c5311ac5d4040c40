"""Cells that a spreadsheet shows and does not run."""

from flowledger.domain.spreadsheets import defuse

EXCEL_LIMIT = 32_767
"""UTF-16 units that a cell of Excel holds."""

__all__ = ["EXCEL_LIMIT", "cut_cell", "defuse"]


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
