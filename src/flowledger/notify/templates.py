"""Messages from templates: files that people may replace, with the packaged ones behind them.

A channel's body is ``<channel>.<language>.md.j2`` or ``.txt.j2``, its HTML ``.html.j2`` where it takes both;
the subject is ``subject.<language>.txt.j2``.
"""

import traceback
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateNotFound
from loguru import logger

from flowledger.domain.messages import Message, Notice
from flowledger.domain.texts import one_line
from flowledger.errors import SettingsError
from flowledger.notify.sandbox import BoundedEnvironment, limited_steps
from flowledger.notify.template_filters import HTML, filters_for, markup_of
from flowledger.notify.views import data_of, view_of

PACKAGED = Path(__file__).parent / "templates"
SUFFIX = ".j2"
BODIES = ("md", "txt")
_MACHINES = frozenset({"webhook"})
"""Channels that are told values as well."""


@dataclass(frozen=True, slots=True)
class Templates:
    """Makes a channel's message of a notice; ``folder`` holds the templates that replace packaged ones."""

    folder: Path | None = None
    packaged: Path = field(default=PACKAGED, repr=False)

    def message(self, notice: Notice, channel: str) -> Message:
        """Write a notice for a type of channel; a template that fails gives way to the packaged one.

        :raises SettingsError: with file and line, when that fails as well.
        """
        try:
            return self.strictly(notice, channel)
        except SettingsError as error:
            logger.error("{}; the packaged template is used instead", one_line(str(error)))
            return Templates(None, self.packaged).strictly(notice, channel)

    def strictly(self, notice: Notice, channel: str) -> Message:
        """Write a notice for a type of channel.

        :raises SettingsError: with file and line, when a template cannot be used.
        """
        body = self._body(channel, notice.language)
        html = f"{channel}.{notice.language}.html{SUFFIX}"
        return Message(
            message_id=notice.notice_id,
            subject=one_line(self._render("subject", f"subject.{notice.language}.txt{SUFFIX}", notice)),
            body=self._render(channel, body, notice),
            html=self._render(channel, html, notice) if self._has(html) else "",
            urgent=notice.occasion.is_trouble,
            attachments=notice.attachments,
            data=data_of(notice) if channel in _MACHINES else {},
        )

    def _body(self, channel: str, language: str) -> str:
        names = [f"{channel}.{language}.{extension}{SUFFIX}" for extension in BODIES]
        known = next((name for name in names if self._has(name)), None)
        if known is None:
            raise SettingsError([f"no template for {channel}: {' or '.join(names)} is missing in {self}"])
        return known

    def _has(self, name: str) -> bool:
        return any((folder / name).is_file() for folder in self._folders)

    def _render(self, channel: str, name: str, notice: Notice) -> str:
        extension = name.removesuffix(SUFFIX).rpartition(".")[2]
        environment = _environment(self._folders, markup_of(channel, extension))
        try:
            with limited_steps():
                return environment.get_template(name).render(view_of(notice)).strip()
        except Exception as error:  # named boundary: a template is somebody's program
            raise SettingsError([f"{_place(error, name, self)}: {_reason(error)}"]) from error

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.folder, self.packaged) if self.folder else (self.packaged,)

    def __str__(self) -> str:
        return " and ".join(map(str, self._folders))


@lru_cache(maxsize=32)
def _environment(folders: tuple[Path, ...], markup: str) -> BoundedEnvironment:
    """Make the surroundings of templates: their markup's filters, and no way out of the sandbox."""
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
    """Say where a template failed: the innermost line that lies in a template."""
    if isinstance(error, TemplateNotFound):
        return f"{name}: includes or imports what is not in {templates}"
    file, line = getattr(error, "filename", None), getattr(error, "lineno", None)
    if file and line:
        return f"{file}, line {line}"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename.endswith(SUFFIX)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else name


def _reason(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")
