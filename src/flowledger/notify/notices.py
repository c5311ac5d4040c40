"""Notices of what happened to one app's run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from pathlib import PurePosixPath
from typing import TypeVar

from loguru import logger

from flowledger.domain.messages import Attachment, Notice, Occasion, notice_id, occasion_of
from flowledger.domain.runs import AppKey, Json
from flowledger.errors import FlowledgerError, StorageError
from flowledger.ports import Clock, ReportShelf

Found = TypeVar("Found")
Before = Callable[[Mapping[str, Json]], Mapping[str, Json]]
"""Finds the figures of the period before a result's; empty where they are not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is told about: the app, and the run that tells; ``run_id`` names a try of it everywhere alike."""

    app: AppKey | None = None
    app_name: str = ""
    language: str = "zh"
    tz: tzinfo | None = None
    period: str = ""
    run_id: str = ""
    run_url: str = ""


@dataclass(frozen=True, slots=True)
class BareShelf:
    """Shows locations as they are, and attaches nothing."""

    def link(self, location: str) -> str:
        """Give the location itself."""
        return location

    def attachments(self, locations: Sequence[str]) -> Sequence[Attachment]:  # noqa: ARG002  # a shelf's signature
        """Attach nothing."""
        return ()

    def read(self, attachment: Attachment) -> bytes:
        """Read nothing.

        :raises StorageError: always.
        """
        raise StorageError(f"{attachment.stored_name}: no storage is at hand to read it from")


def no_figures(_: Mapping[str, Json]) -> Mapping[str, Json]:
    """Know nothing of the period before."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Makes the notices of one subject; ``hide`` takes secrets out of a text."""

    subject: Subject
    clock: Clock
    shelf: ReportShelf = field(default_factory=BareShelf)
    before: Before = no_figures
    hide: Callable[[str], str] = str

    def finished(self, task: str, result: Mapping[str, Json]) -> Notice:
        """Make the notice of a finished run of its result object; urgent where it is not certified."""
        listed = result.get("report_paths")
        paths = [str(path) for path in listed] if isinstance(listed, list | tuple) else []
        return replace(
            self._notice(occasion_of(result), task, self.subject.run_id or f"{task} {result.get('window')}"),
            app_name=str(result.get("app") or self.subject.app_name),
            period=str(result.get("period") or self.subject.period),
            result=dict(result),
            previous=_attempt("the period before", lambda: self.before(result), {}),
            # A path on this machine is of no use to whoever is told; the file is on its way to its address.
            links=self._links(filter(_is_address, paths) if result.get("kept_locally") is True else paths),
            attachments=tuple(_attempt("attachments", lambda: self.shelf.attachments(paths), ())),
        )

    def troubled(
        self, occasion: Occasion, task: str, error: str, known: Mapping[str, Json] | None = None
    ) -> Notice:
        """Make the notice of a run that did not finish; ``known`` is what is known of its result."""
        notice = self._notice(occasion, task, self.subject.run_id)
        period = str((known or {}).get("period") or self.subject.period)
        return replace(notice, error=self.hide(error), period=period, result=dict(known or {}))

    def readable(self, location: str, report_type: str) -> Notice:
        """Make the notice of one report that can be read."""
        notice = self._notice(Occasion.REPORT_READY, report_type, f"{self.subject.run_id} {location}")
        return replace(notice, links=self._links([location]))

    def trial(self, task: str) -> Notice:
        """Make a test message; no two are the same."""
        return self._notice(Occasion.TEST, task, "")

    def _notice(self, occasion: Occasion, task: str, outcome: str) -> Notice:
        """Begin a notice; what no run id names is told each time."""
        about, at = self.subject, self.clock()
        parts = (outcome,) if about.run_id and outcome else (task, outcome, at.isoformat())
        return Notice(
            notice_id=notice_id(occasion, *parts),
            occasion=occasion,
            task=task,
            at=at.astimezone(about.tz) if about.tz else at,
            language=about.language,
            app=about.app,
            app_name=about.app_name,
            period=about.period,
            run_url=about.run_url,
        )

    def _links(self, locations: Iterable[str]) -> Mapping[str, str]:
        links: dict[str, str] = {}
        for location in locations:
            name = PurePosixPath(location).name
            links[location if name in links else name] = self._link(location)
        return links

    def _link(self, location: str) -> str:
        return _attempt(f"a link to {location}", lambda: self.shelf.link(location), location)


def _is_address(location: str) -> bool:
    return "://" in location


def _attempt(what: str, find: Callable[[], Found], otherwise: Found) -> Found:
    """Find something that a message is better with; where that fails, it goes without."""
    try:
        return find()
    except (FlowledgerError, OSError) as error:
        logger.warning("the message goes without {}: {}", what, error)
        return otherwise
