"""Texts in the markup of chat bots: foreign text escaped, long text cut where it does no damage."""

import json
import re
from collections.abc import Callable, Mapping

from flowledger.domain.texts import mend, show_controls

Measure = Callable[[str], int]
"""Returns how many bytes a text takes where it is sent."""

MORE = "…"
_FENCE = "```"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that make the rest of a line read in another order, so that it says what it does not."""
_WIDE = str.maketrans("<>[]*`|~", "＜＞［］＊｀｜～")
_FEISHU = {sign: f"&#{ord(sign)};" for sign in "<>[]*`|~_#()!\\"}
_LINE_START = re.compile(r"^(\s*)([#\-+=]|\d+\.)(?=\s|#|-|=|$)", re.MULTILINE)
_MENTION = re.compile(r"@(?=\S)")
_OPEN_LINK = re.compile(r"!?\[[^\[\]\n]*(?:\]\([^()\n]*)?$|<[^<>\n]*$")


def utf8_size(text: str) -> int:
    """Return the number of bytes of a text in UTF-8."""
    return len(text.encode())


def json_size(text: str) -> int:
    """Return the number of bytes of a text inside a JSON string, without the quotation marks."""
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


def escape_wide(text: str) -> str:
    """Show a text as it is in DingTalk's or WeCom's Markdown, which know no dependable way to escape.

    What would become markup is written in its full-width form; a mention gets a full-width ``＠``.
    """
    plain = _plain(text).translate(_WIDE)
    return _LINE_START.sub("\\1\u200b\\2", _MENTION.sub("＠", plain))


def escape_feishu(text: str) -> str:
    """Show a text as it is in a Feishu card, which reads character references as HTML does."""
    plain = _plain(text).replace("&", "&amp;")
    return _LINE_START.sub("\\1\u200b\\2", "".join(_FEISHU.get(sign, sign) for sign in plain))


ESCAPES: Mapping[str, Callable[[str], str]] = {
    "dingtalk": escape_wide,
    "wechat": escape_wide,
    "feishu": escape_feishu,
}
"""Type of a channel → the function that escapes foreign text for its markup."""


def cut(text: str, limit_bytes: int, measure: Measure = utf8_size) -> str:
    """Return a text of at most so many bytes, cut at the end of a line, with an ellipsis as its last line.

    A line that is too long by itself is cut between characters, and before a link that would be left open.
    """
    text = mend(text)
    if measure(text) <= limit_bytes:
        return text
    ending = f"\n{MORE}"
    beginning = _longest(text, limit_bytes - measure(ending), measure)
    # A fenced block that is cut open needs its closing fence, which may push its opening one out again.
    if beginning.count(_FENCE) % 2:
        ending = f"\n{_FENCE}\n{MORE}"
        beginning = _longest(text, limit_bytes - measure(ending), measure)
        ending = ending if beginning.count(_FENCE) % 2 else f"\n{MORE}"
    return beginning + ending if beginning else MORE


def _longest(text: str, limit_bytes: int, measure: Measure) -> str:
    """Return the longest beginning of a text that fits; whole lines where that is at least half of it."""
    # Bisected, since a character takes one to six bytes, depending on how it is escaped.
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(text[:middle]) <= limit_bytes else (low, middle - 1)
    fitting = text[:low]
    lines = fitting if text[low : low + 1] == "\n" else fitting.rpartition("\n")[0]
    return (lines if len(lines) * 2 >= low else _OPEN_LINK.sub("", fitting)).rstrip()


def _plain(text: str) -> str:
    return _DIRECTIONS.sub(_REPLACEMENT, show_controls(text))
