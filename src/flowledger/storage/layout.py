"""Where everything is in a storage, by name.

::

    reports/<type>/<stem>.<extension>                        a report of one file
    reports/<type>/<stem>/<file>                             a report of several
    reports/<type>/index/<app>/<state>/<stem>.json           its entry: what it is and what files it has
    reports/<type>/latest/<app>/latest.json                  names the newest report of a type and app
    data/<file>                                              data that no report is made of

The state is ``certified`` or ``open``, and the end of the report's window where that is known, such as
``certified-20261120T155959Z``.  The entry is written when all files are there, the pointer after it.  App,
state and stem stand in the entry's name, so that a list of names is enough to know all reports: nothing has
to be read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import PurePosixPath
from typing import Any

from flowledger.domain.names import safe_name

REPORTS = "reports"
DATA = "data"
LATEST = "latest.json"

_INDEX = "index"
_CERTIFIED = "certified"
_OPEN = "open"
_STATE = re.compile(rf"({_CERTIFIED}|{_OPEN})(?:-(\d{{8}}T\d{{6}}Z))?")
_LONGEST_STEM = 185
_LONGEST_SUFFIX = 10


class Rank(IntEnum):
    """In what order names are written: whatever is named by another one comes before it."""

    CONTENT = 0
    ENTRY = 1
    POINTER = 2


@dataclass(frozen=True, slots=True)
class EntryName:
    """What the name of a report's entry says; ``app`` as names have it, ``until`` the end of its window."""

    report_type: str
    app: str
    certified: bool
    stem: str
    until: datetime | None = None


def stem_of(text: str) -> str:
    """Make a stem that every name built on it can carry whole."""
    return safe_name(text, _LONGEST_STEM)


def folder_of_type(report_type: str) -> str:
    """Give where the reports of a type are."""
    return f"{REPORTS}/{safe_name(report_type)}/"


def entry_of(report_type: str, app: str, stem: str, *, certified: bool, until: datetime | None = None) -> str:
    """Name the entry of a report."""
    state = _CERTIFIED if certified else _OPEN
    if until is not None:
        state += f"-{until.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    return f"{folder_of_type(report_type)}{_INDEX}/{app_folder(app)}/{state}/{stem}.json"


def pointer_of(report_type: str, app: str) -> str:
    """Name the pointer to the newest report of a type and app."""
    return f"{folder_of_type(report_type)}latest/{app_folder(app)}/{LATEST}"


def pointer_order(pointer: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Sort pointers by the end of the window they stand for, then by the time they were written.

    One that names no window stands for the time it was written; None for one that tells no time.
    """
    try:
        kept_at = datetime.fromisoformat(pointer["kept_at"])
        until = datetime.fromisoformat(pointer["until"]) if pointer.get("until") else kept_at
    except (KeyError, TypeError, ValueError):
        return None
    return (until, kept_at) if until.tzinfo and kept_at.tzinfo else None


def app_folder(app: str) -> str:
    """Give an app's name as names have it; a report of no app belongs to all."""
    return safe_name(app or "all")


def is_plain(suffix: str) -> bool:
    """Whether a file of this suffix can stand beside its stem, and the stem be read off its name."""
    return 1 < len(suffix) <= _LONGEST_SUFFIX


def rank_of(name: str) -> Rank:
    """Say what kind of name it is."""
    parts = name.split("/")
    if parts[0] == REPORTS and len(parts) == 5 and parts[2] == "latest" and parts[4] == LATEST:
        return Rank.POINTER
    if parts[0] == REPORTS and len(parts) == 6 and parts[2] == _INDEX and _STATE.fullmatch(parts[4]):
        return Rank.ENTRY
    return Rank.CONTENT


def read_entry_name(name: str) -> EntryName:
    """Read what an entry's name says."""
    _, report_type, _, app, state, file = name.split("/")
    kind, _, end = state.partition("-")
    return EntryName(report_type, app, kind == _CERTIFIED, file.removesuffix(".json"), _instant(end))


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def report_of(name: str) -> tuple[str, str] | None:
    """Give type and stem of the report that a content name belongs to; None where it is no report's."""
    parts = name.split("/")
    if parts[0] != REPORTS or len(parts) not in (3, 4):
        return None
    return parts[1], PurePosixPath(parts[2]).stem if len(parts) == 3 else parts[2]
