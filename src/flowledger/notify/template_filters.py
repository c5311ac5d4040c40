"""What templates can do with a value: make it harmless in the channel's markup, and show numbers."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from flowledger.domain.texts import clip, one_line
from flowledger.notify.markup import ESCAPES

Filters = Mapping[str, Callable[..., Any]]


PLAIN, HTML = "plain", "html"


def markup_of(channel: str, extension: str) -> str:
    """Name the markup that a template of a channel is written in."""
    if extension == HTML:
        return HTML
    return channel if channel in _ROBOTS and extension == "md" else PLAIN


def filters_for(markup: str) -> Filters:
    """Give the filters of a markup: ``esc``, ``link`` and ``strong`` as it needs them, and the others."""
    return {**_COMMON, **_BY_MARKUP[markup]}


def show_number(value: float) -> str:
    """Write a whole number with thousands separated: 1,234,567."""
    return f"{value:,}"


def show_signed(value: float) -> str:
    """Write a difference with its sign: +12, -3, ±0."""
    return f"{value:+,}" if value else "±0"


def show_percent(value: float) -> str:
    """Write a change in per cent with its sign: +12.5%; beyond a thousand without decimals."""
    return f"{value:+,.1f}%" if abs(value) < 1000 else f"{value:+,.0f}%"


def show_duration(seconds: float) -> str:
    """Write seconds as people read them: 0.8 s, 3 min 5 s, 2 h 4 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _is_web(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return False


def _markdown_link(escaped: Callable[[str], str]) -> Callable[[str, str], str]:
    def link(url: str, label: str) -> str:
        if not _is_web(url):
            return escaped(url)
        safe = "".join(_URL_ESCAPES.get(sign, sign) for sign in url)
        return f"[{escaped(label)}]({safe})"

    return link


_URL_ESCAPES = {sign: f"%{ord(sign):02X}" for sign in " ()<>[]\n\r\t"}


def _plain_link(url: str, label: str) -> str:
    return url if label == url or not _is_web(url) else f"{label}: {url}"


def _html_link(url: str, label: str) -> Markup:
    if not _is_web(url):
        return escape(url)
    return Markup('<a href="{}">{}</a>').format(url, label)


def _markdown(escaped: Callable[[str], str]) -> Filters:
    return {
        "esc": lambda value: escaped(str(value)),
        "strong": lambda value: f"**{escaped(str(value))}**",
        "link": _markdown_link(escaped),
    }


_COMMON: Filters = {
    "number": show_number,
    "signed": show_signed,
    "percent": show_percent,
    "duration": show_duration,
    "clip": clip,
    "oneline": one_line,
    "shell": shlex.quote,
}
_PLAIN: Filters = {"esc": str, "strong": str, "link": _plain_link}
_HTML: Filters = {
    "esc": escape,
    "strong": lambda value: Markup("<b>{}</b>").format(value),
    "link": _html_link,
}
_ROBOTS: Mapping[str, Filters] = {name: _markdown(escape_in) for name, escape_in in ESCAPES.items()}
_BY_MARKUP: Mapping[str, Filters] = {PLAIN: _PLAIN, HTML: _HTML, **_ROBOTS}
