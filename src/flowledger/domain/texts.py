"""Texts that every format can carry."""

import re

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SYMBOL_FOR_DELETE = 0x2421
_SYMBOL_FOR_NULL = 0x2400
_DELETE = 0x7F


def mend(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates with U+FFFD, which UTF-8 can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def show_controls(text: str) -> str:
    """Mend a text and show control characters but tab, LF and CR as their symbols (NUL becomes U+2400)."""
    return _CONTROLS.sub(_symbol, mend(text))


def _symbol(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(_SYMBOL_FOR_DELETE if code == _DELETE else _SYMBOL_FOR_NULL + code)


def one_line(text: str) -> str:
    """Show controls and fold every run of white space into one space."""
    return " ".join(show_controls(text).split())


def clip(text: str, length: int) -> str:
    """Cut a text to so many characters, the last one an ellipsis where something was cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


_FORMULA = re.compile(r"[\s\ufeff\u200b-\u200f\u2060]*[=+\-@＝＋－＠]|[\t\r]")


def defuse(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula.

    That is: one whose first sign, white space and invisible signs apart, is = + - @ or their full-width
    forms, or which begins with a tab or CR (OWASP, CSV injection).  Control characters are shown as symbols.
    """
    shown = show_controls(text)
    return f"'{shown}" if _FORMULA.match(shown) else shown
