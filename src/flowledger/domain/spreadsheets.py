"""Texts as cells of CSV that every spreadsheet takes for text, digit for digit."""

import re
import unicodedata
from collections.abc import Iterator

from flowledger.domain.texts import show_controls

_FORMULA = re.compile(r"[\s\ufeff\u200b-\u200f\u2060]*[=+\-@＝＋－＠]|[\t\r]")
_SPLIT = re.compile(r"[;,|\t][\s\"']*[=+\-@＝＋－＠]")
"""Where a spreadsheet that parts cells by another sign would begin one with a formula."""
_SIGNS = r"[\d\s.,:/\-+%\u2030$€£¥₩₽₹฿()'’*#eEdD年月日时時分秒点号]"
_WORDS = r"am|pm|[ap]|上午|下午|凌晨|usd|eur|cny|rmb|gbp|jpy|hkd"
_NUMBER = re.compile(rf"(?=.*\d)(?:{_SIGNS}|(?<![a-z])(?:{_WORDS})(?![a-z]))+", re.IGNORECASE | re.DOTALL)
_NAMES = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    "|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_MONTH = re.compile(rf"[\d\s.,/\-]*(?:{_NAMES})[\d\s.,:/\-]*", re.IGNORECASE)
_LITERAL = re.compile(r"true|false|wahr|falsch|vrai|faux|真|假|#[a-z0-9/]+[!?]?", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LONGEST_LITERAL = 255
"""Characters that a text in a formula of Excel may have."""
_LONG_NUMBER = re.compile(r"[\d\s.,+\-]{,6000}")
"""What is still a number in more characters; a formula may have 8,192."""


def defuse(text: str) -> str:
    """Return a text as a cell that a spreadsheet shows as it is, whatever it looks like.

    What would become a number, a date or a logical value is written as a formula of that text
    (``="0012345"``): a spreadsheet shows it digit for digit and never counts with it.  What would run as a
    formula gets an apostrophe (``defuse_formula``).
    """
    visible = show_controls(text)
    is_short = len(visible) <= _LONGEST_LITERAL
    if (is_short or _LONG_NUMBER.fullmatch(visible)) and _looks_like_a_value(visible):
        return "=" + "&".join(map(_literal, _pieces(visible)))
    return f"'{visible}" if _FORMULA.match(visible) else visible


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _LONGEST_LITERAL):
        yield text[start : start + _LONGEST_LITERAL]


def _literal(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"'


def defuse_formula(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula.

    That is: one whose first sign, white space and invisible signs apart, is = + - @ or their full-width
    forms, or which begins with a tab or CR (OWASP, CSV injection).  Control characters are shown as symbols.
    """
    visible = show_controls(text)
    return f"'{visible}" if _FORMULA.match(visible) else visible


def needs_quotes(cell: str) -> bool:
    """Return whether a cell holds a sign by which some spreadsheets part cells."""
    return ";" in cell or "\t" in cell


def _looks_like_a_value(text: str) -> bool:
    if "\n" in text or "\r" in text:
        return False
    # Spreadsheets read full-width digits as digits.
    plain = unicodedata.normalize("NFKC", text).strip()
    if not plain or _UUID.fullmatch(plain):
        return False
    if _NUMBER.fullmatch(plain) or _MONTH.fullmatch(plain) or _LITERAL.fullmatch(plain):
        return True
    return bool(_SPLIT.search(text)) and not _FORMULA.match(text)
