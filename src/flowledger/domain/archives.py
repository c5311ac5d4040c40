"""Which runs leave the ledger for an archive, and what an archive says of itself.

Runs go by age, number and size, whichever asks for more; in an app's history, newest first, that is always
one cut, and everything behind it goes but what may still change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flowledger.domain.history import RunSize
from flowledger.domain.retention import BYTES_IN_MB, Retention
from flowledger.domain.runs import AppKey, Run
from flowledger.domain.texts import safe_name
from flowledger.errors import StorageError

ARCHIVES = "archives"
MANIFEST = "manifest.json"
FORMAT = "flowledger runs"
VERSION = 1
_LONGEST_DAYS = 100 * 365
_NEXT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where an app's history is cut: runs listed before ``until`` (aware UTC) go, except for some by id.

    Those are the runs of the cut's own instant that lie before it.
    """

    until: datetime
    reason: str
    spared: frozenset[str] = frozenset()

    def covers(self, run: Run) -> bool:
        """Return whether a run lies behind the cut."""
        return run.listed_at < self.until and run.run_id not in self.spared


def cut_of(sizes: Iterable[RunSize], retention: Retention, now: datetime) -> Cut | None:
    """Find where to cut an app's history, given newest first; None where everything stays.

    The sizes are read no further than to the cut, and not at all where age alone decides.
    """
    too_old = None if retention.days is None else now - timedelta(days=min(retention.days, _LONGEST_DAYS))
    if too_old and retention.count is None and retention.megabytes is None:
        return Cut(too_old, f"older than {retention.days} days")
    if retention == Retention():
        return None
    size_bytes = 0
    instant, beside = now, set[str]()
    for newer, each in enumerate(sizes):
        size_bytes += each.size_bytes
        if each.listed_at != instant:
            instant, beside = each.listed_at, set()
        is_too_old = too_old is not None and instant < too_old
        if reason := _why_not(retention, newer, size_bytes, is_too_old=is_too_old):
            return Cut(instant + _NEXT, reason, frozenset(beside))
        beside.add(each.run_id)
    return None


def _why_not(retention: Retention, newer: int, size_bytes: int, *, is_too_old: bool) -> str:
    """Return why a run must go, by the number of newer runs and the bytes so far; empty where it may stay."""
    if is_too_old:
        return f"older than {retention.days} days"
    if retention.count is not None and newer >= retention.count:
        return f"more than {retention.count} runs"
    if retention.megabytes is not None and size_bytes > retention.megabytes * BYTES_IN_MB:
        return f"more than {retention.megabytes} MB"
    return ""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an archive: its name beside the manifest, how many runs, its bytes and their SHA-256."""

    name: str
    runs: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds; times are aware UTC, ``oldest`` and ``newest`` those of its runs.

    ``archive`` is its folder in the storage.  An archive is there as soon as its manifest is.
    """

    archive: str
    app: AppKey
    app_name: str
    reason: str
    created_at: datetime
    created_by: str
    oldest: datetime
    newest: datetime
    runs: int
    by_status: Mapping[str, int]
    parts: tuple[Part, ...]

    @property
    def size_bytes(self) -> int:
        """How many bytes its files have together."""
        return sum(part.size_bytes for part in self.parts)

    def document(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        values = asdict(self) | {
            name: getattr(self, name).isoformat() for name in ("created_at", "oldest", "newest")
        }
        return {"format": FORMAT, "version": VERSION, **values, "size_bytes": self.size_bytes}


def folder_of(app: AppKey) -> str:
    """Return where an app's archives are."""
    return f"{ARCHIVES}/{safe_name(f'{app.source}-{app.app_id}')}/"


def archive_name(app: AppKey, oldest: datetime, newest: datetime, at: datetime, mark: str) -> str:
    """Name an archive after its runs and its making (UTC); the mark keeps two of one second apart."""
    first, last, made = (f"{each.astimezone(UTC):%Y%m%dT%H%M%SZ}" for each in (oldest, newest, at))
    return f"{folder_of(app)}{first}-{last}_{made}-{mark}"


def manifest_of(document: Any, place: str) -> Manifest:
    """Read a manifest of JSON values; ``place`` is where it was found.

    :raises StorageError: naming the place, when it is none, or one of a newer version.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _unreadable(place, "it is something else")
    if document.get("version") != VERSION:
        raise _unreadable(place, f"its version is {document.get('version')!r:.20}, known is {VERSION}")
    try:
        return _manifest(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(place, f"{type(error).__name__}: {error}") from error


def _manifest(document: Mapping[str, Any]) -> Manifest:
    return Manifest(
        archive=str(document["archive"]),
        app=AppKey(str(document["app"]["source"]), str(document["app"]["app_id"])),
        app_name=str(document["app_name"]),
        reason=str(document["reason"]),
        created_at=_instant(document["created_at"]),
        created_by=str(document["created_by"]),
        oldest=_instant(document["oldest"]),
        newest=_instant(document["newest"]),
        runs=int(document["runs"]),
        by_status={str(word): int(count) for word, count in document["by_status"].items()},
        parts=tuple(
            Part(str(part["name"]), int(part["runs"]), int(part["size_bytes"]), str(part["sha256"]))
            for part in document["parts"]
        ),
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _unreadable(place: str, why: str) -> StorageError:
    return StorageError(
        f"{place} cannot be read as the manifest of an archive ({why}): use the version that wrote it,"
        " or bring the file back from a copy of the storage; nothing was changed"
    )
