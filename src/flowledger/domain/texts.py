"""Texts that every format can carry."""

import re
import unicodedata
from datetime import UTC, datetime
from hashlib import sha256

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


def _symbol(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(_SYMBOL_FOR_DELETE if code == _DELETE else _SYMBOL_FOR_NULL + code)


def one_line(text: str) -> str:
    """Show controls and fold every run of white space into one space."""
    return " ".join(show_controls(text).split())


def clip(text: str, length: int) -> str:
    """Cut a text to so many characters, the last one an ellipsis where something was cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


LONGEST = 200
"""Bytes of UTF-8 in a safe name; file systems take 255, and temporary names need some of it."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u2028\u2029\u200b-\u200f\u202a-\u202e\ufeff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\.|$)", re.IGNORECASE)
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}$")
_SHORTEST_PART = 8


def safe_name(text: str, longest: int = LONGEST) -> str:
    """Make one file name of any text: no separators, no reserved or hidden names, at most ``longest`` bytes.

    A text that is safe already stays as it is; another one gets 8 hex digits of its SHA-256, so that
    two different texts keep two different names.  ``longest`` is at least 24.
    """
    plain = unicodedata.normalize("NFC", mend(text))
    cleaned = _UNSAFE.sub("_", plain).strip(" .")
    if _RESERVED.match(cleaned):
        cleaned = f"_{cleaned}"
    if text and cleaned == text and _size(cleaned) <= longest:
        return cleaned
    mark = "-" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_SHORTEST_PART]
    extension = match[0] if (match := _EXTENSION.search(cleaned)) else ""
    stem = cleaned.removesuffix(extension)
    return _cut(stem, longest - len(mark) - len(extension)).strip(" .") + mark + extension


def safe_path(name: str) -> str:
    """Make every part of a name with ``/`` safe; empty parts go, and there is always one left."""
    parts = [safe_name(part) for part in name.split("/") if part]
    return "/".join(parts) or safe_name("")


def report_stem(period: str, app_name: str, generated_at: datetime, run_id: str) -> str:
    """Name a report after period, app, time of writing (UTC) and the run that wrote it."""
    stamp = generated_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{safe_name(period, 32)}_{safe_name(app_name, 90)}_{stamp}_{safe_name(run_id, 44)}"


def _size(text: str) -> int:
    return len(text.encode())


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


_SEPARATORS = re.compile(r"[,;，；、\n\r]")
"""Keyboards in Chinese mode write the full-width ones."""


def split_list(text: str) -> list[str]:
    """Return the words of a list as people write it, between commas, semicolons or line breaks."""
    return [word.strip() for word in _SEPARATORS.split(text) if word.strip()]
