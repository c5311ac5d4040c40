"""Messages from templates in a sandbox: files that people may replace, with packaged ones behind them."""

import shlex
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateNotFound, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from loguru import logger
from markupsafe import Markup, escape

from flowledger.domain.messages import Message, Notice
from flowledger.domain.report_heading import LANGUAGES
from flowledger.domain.texts import clip, one_line
from flowledger.errors import SettingsError
from flowledger.notify.escaping import ESCAPES
from flowledger.notify.notices import data_of, sample_notices, view_of

MOST_STEPS = 20_000
"""Loop iterations and calls, in all, of one rendering: a message has hundreds."""
LARGEST = 1_000_000
"""Characters, items or digits of the result of one multiplication."""


class _Steps:
    """How many steps a rendering may still take."""

    left = MOST_STEPS


_steps: ContextVar[_Steps | None] = ContextVar("steps", default=None)


@contextmanager
def limited_steps() -> Iterator[None]:
    """Limit the steps of what is rendered inside to ``MOST_STEPS``."""
    token = _steps.set(_Steps())
    try:
        yield
    finally:
        _steps.reset(token)


def _take(count: int = 1) -> None:
    steps = _steps.get()
    if steps is None:
        return
    steps.left -= count
    if steps.left < 0:
        raise SecurityError(f"the template takes more than {MOST_STEPS:,} steps: a loop in it has no end")


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _take()
        yield item


def _counted_range(*bounds: int) -> range:
    numbers = range(*bounds)
    _take(len(numbers))
    return numbers


class BoundedEnvironment(SandboxedEnvironment):
    """Jinja's sandbox, whose loops, calls, ranges and multiplications are bounded too."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters["_counted"] = _counted
        self.globals["range"] = _counted_range
        # It makes text of any length in a single step.
        del self.globals["lipsum"]

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls, as one step."""
        _take()
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiply, or raise to a power, what stays small."""
        is_large = _is_large_power if operator == "**" else _is_large_copy
        if is_large(left, right):
            raise SecurityError(f"the template makes more than {LARGEST:,} of something")
        return super().call_binop(context, operator, left, right)

    def _generate(self, source: nodes.Template, *args: Any, **options: Any) -> str:
        # Jinja bounds only range(): the items of every loop are passed through a counter.
        for loop in list(source.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        return super()._generate(source, *args, **options)


def _is_large_power(base: Any, exponent: Any) -> bool:
    return isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > LARGEST


def _is_large_copy(left: Any, right: Any) -> bool:
    sizes = [len(each) if hasattr(each, "__len__") else abs(each) for each in (left, right)]
    return any(hasattr(each, "__len__") for each in (left, right)) and sizes[0] * sizes[1] > LARGEST


Filters = Mapping[str, Callable[..., Any]]


PLAIN, HTML = "plain", "html"


def markup_of(channel: str, extension: str) -> str:
    """Name the markup that a template of a channel is written in."""
    if extension == HTML:
        return HTML
    return channel if channel in _CHAT_BOTS and extension == "md" else PLAIN


def filters_for(markup: str) -> Filters:
    """Return the filters of a markup: ``esc``, ``link`` and ``strong`` as it needs them, and the others."""
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
_CHAT_BOTS: Mapping[str, Filters] = {name: _markdown(escape_in) for name, escape_in in ESCAPES.items()}
_BY_MARKUP: Mapping[str, Filters] = {PLAIN: _PLAIN, HTML: _HTML, **_CHAT_BOTS}


PACKAGED = Path(__file__).parent / "templates"
SUFFIX = ".j2"
BODIES = ("md", "txt")
_MACHINES = frozenset({"webhook"})
"""Channels whose messages have the values of the notice as well."""


@dataclass(frozen=True, slots=True)
class Templates:
    """Renders notices as messages of a channel; templates in ``folder`` replace the packaged ones."""

    folder: Path | None = None
    packaged: Path = field(default=PACKAGED, repr=False)

    def message(self, notice: Notice, channel: str) -> Message:
        """Return the message of a notice for a type of channel; a bad template gives way to the packaged one.

        :raises SettingsError: with file and line, when that fails as well.
        """
        try:
            return self.strictly(notice, channel)
        except SettingsError as error:
            logger.error("{}; the packaged template is used instead", one_line(str(error)))
            return Templates(None, self.packaged).strictly(notice, channel)

    def strictly(self, notice: Notice, channel: str) -> Message:
        """Return the message of a notice for a type of channel.

        :raises SettingsError: with file and line, when a template cannot be used.
        """
        body = self._body(channel, notice.language)
        html = f"{channel}.{notice.language}.html{SUFFIX}"
        return Message(
            message_id=notice.notice_id,
            subject=one_line(self._render("subject", f"subject.{notice.language}.txt{SUFFIX}", notice)),
            body=self._render(channel, body, notice),
            html=self._render(channel, html, notice) if self._has(html) else "",
            urgent=notice.occasion.needs_action,
            attachments=notice.attachments,
            data=data_of(notice) if channel in _MACHINES else {},
            recipients=notice.recipients,
        )

    def _body(self, channel: str, language: str) -> str:
        names = [f"{channel}.{language}.{extension}{SUFFIX}" for extension in BODIES]
        existing = next((name for name in names if self._has(name)), None)
        if existing is None:
            raise SettingsError([f"no template for {channel}: {' or '.join(names)} is missing in {self}"])
        return existing

    def _has(self, name: str) -> bool:
        return any((folder / name).is_file() for folder in self._folders)

    def _render(self, channel: str, name: str, notice: Notice) -> str:
        extension = name.removesuffix(SUFFIX).rpartition(".")[2]
        environment = _environment(self._folders, markup_of(channel, extension))
        try:
            with limited_steps():
                return environment.get_template(name).render(view_of(notice)).strip()
        except Exception as error:  # named boundary: a template can raise anything
            raise SettingsError([f"{_place(error, name, self)}: {_reason(error)}"]) from error

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.folder, self.packaged) if self.folder else (self.packaged,)

    def __str__(self) -> str:
        return " and ".join(map(str, self._folders))


@lru_cache(maxsize=32)
def _environment(folders: tuple[Path, ...], markup: str) -> BoundedEnvironment:
    """Return the sandbox that templates of a markup are rendered in, with its filters."""
    loaders: list[BaseLoader] = [FileSystemLoader(folder) for folder in folders]
    environment = BoundedEnvironment(
        loader=ChoiceLoader(loaders),
        undefined=StrictUndefined,
        autoescape=markup == HTML,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters_for(markup))
    return environment


def _place(error: Exception, name: str, templates: Templates) -> str:
    """Return where a template failed: the innermost line that is in a template."""
    if isinstance(error, TemplateNotFound):
        return f"{name}: includes or imports what is not in {templates}"
    file, line = getattr(error, "filename", None), getattr(error, "lineno", None)
    if file and line:
        return f"{file}, line {line}"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename.endswith(SUFFIX)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else name


def _reason(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")


PART = "_"
"""The names of templates that others include begin with this."""


def check_templates(folder: Path | None, channels: Sequence[str]) -> Iterator[str]:
    """Render every template with notices of every kind; yield a line for each problem, with its place.

    ``channels`` are the types of channels in use.
    """
    templates = Templates(folder)
    yield from _unknown(folder, channels)
    reported: set[str] = set()
    for channel, notice in product(channels, sample_notices()):
        try:
            templates.strictly(notice, channel)
        except SettingsError as error:
            new = [line for line in error.problems if line not in reported]
            reported.update(new)
            yield from new


def _unknown(folder: Path | None, channels: Sequence[str]) -> Iterator[str]:
    """Yield a line for each template that no message uses: a mistyped name would silently do nothing."""
    if folder is None or not folder.is_dir():
        return
    packaged = {path.name for path in PACKAGED.glob(f"*{SUFFIX}")}
    used = packaged | {name for channel in channels for name in _names_of(channel, packaged)}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.name not in used and not path.name.startswith(PART):
            yield f"{path}: no message uses this name; existing names are {', '.join(sorted(used))}"


def _names_of(channel: str, packaged: Collection[str]) -> Iterator[str]:
    """Yield the names that a channel without packaged templates may use."""
    if not any(name.startswith(f"{channel}.") for name in packaged):
        for language, extension in product(LANGUAGES, (*BODIES, "html")):
            yield f"{channel}.{language}.{extension}{SUFFIX}"
