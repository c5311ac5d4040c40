"""Reports and data files over any backend, with a pointer to the newest."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from flowledger.domain.names import safe_name
from flowledger.domain.texts import mend
from flowledger.errors import StorageError, UsageError
from flowledger.ports import Clock, StorageBackend

REPORTS = "reports"
DATA = "data"
LATEST = "latest.json"

_LONGEST_DAYS = 100 * 365


@dataclass(frozen=True, slots=True)
class StorageService:
    """Keeps reports under ``reports/<type>/`` and data under ``data/``.

    ``reports/<type>/latest/<app>/latest.json`` names the newest artifacts of a report type and app; those
    are never cleaned up.  Every method may raise ``StorageError``, naming the file.
    """

    backend: StorageBackend
    clock: Clock

    def save_report(self, content: bytes | str, filename: str, report_type: str, *, app: str = "") -> str:
        """Keep one rendered report (a text in UTF-8) and give its location."""
        body = mend(content).encode() if isinstance(content, str) else content
        name = f"{REPORTS}/{safe_name(report_type)}/{safe_name(filename)}"
        location = self._put_bytes(name, body)
        self._point(report_type, app, Path(filename).stem, {name: location})
        return location

    def save_files(
        self, paths: Sequence[Path], stem: str, report_type: str, *, app: str = ""
    ) -> Sequence[str]:
        """Keep a report's artifacts and give their locations, in the same order.

        One file becomes ``<stem>`` with its own extension, several a directory ``<stem>`` that appears whole.
        """
        base = f"{REPORTS}/{safe_name(report_type)}/{safe_name(stem)}"
        if len(paths) == 1:
            names = [f"{base}{paths[0].suffix}"]
            self.backend.put(names[0], paths[0])
        elif paths:
            names = [f"{base}/{safe_name(path.name)}" for path in paths]
            with _together(paths, [name.rpartition("/")[2] for name in names]) as directory:
                self.backend.put(base, directory)
        else:
            return []
        kept = {name: self.backend.location(name) for name in names}
        self._point(report_type, app, stem, kept)
        return list(kept.values())

    def save_data(self, data: Mapping[str, Any], filename: str) -> str:
        """Keep a JSON object, readable and in UTF-8, and give its location."""
        return self._put_bytes(f"{DATA}/{safe_name(filename)}", _json(data))

    def latest(self, report_type: str, app: str = "") -> Mapping[str, Any] | None:
        """Give the pointer to the newest artifacts: stem, kept_at, names, locations; None without one."""
        name = _pointer(report_type, app)
        if not any(known == name for known, _ in self.backend.names(name)):
            return None
        pointer = orjson.loads(self.backend.read(name))
        return pointer if isinstance(pointer, dict) else None

    def list_reports(self, report_type: str, days: int) -> Sequence[str]:
        """Give the locations of the artifacts kept in the last so many days, newest first.

        :raises UsageError: for a negative number of days.
        """
        since = self.clock() - _days(days)
        kept = self.backend.names(f"{REPORTS}/{safe_name(report_type)}/")
        return [
            self.backend.location(name) for name, at in reversed(kept) if at >= since and _is_artifact(name)
        ]

    def cleanup_old_files(self, days: int) -> int:
        """Remove reports and data older than so many days, but what a pointer names; give their number.

        :raises UsageError: for a negative number of days.
        """
        until = self.clock() - _days(days)
        kept = [*self.backend.names(f"{REPORTS}/"), *self.backend.names(f"{DATA}/")]
        pointed = self._pointed([name for name, _ in kept if not _is_artifact(name)])
        old = [name for name, at in kept if at < until and _is_artifact(name) and name not in pointed]
        for name in old:
            self.backend.remove(name)
        return len(old)

    def _pointed(self, pointers: Sequence[str]) -> frozenset[str]:
        return frozenset(name for pointer in pointers for name in self._names_in(pointer))

    def _names_in(self, pointer: str) -> Sequence[str]:
        try:
            names = orjson.loads(self.backend.read(pointer))["names"]
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{self.backend.location(pointer)} cannot be read as a pointer: remove it and run again"
            ) from error
        return [str(name) for name in names]

    def _point(self, report_type: str, app: str, stem: str, kept: Mapping[str, str]) -> None:
        """Name the newest artifacts; further formats of the same report join those already named."""
        known = self.latest(report_type, app) or {}
        if known.get("stem") == stem:
            kept = {**dict(zip(known["names"], known["locations"], strict=True)), **kept}
        pointer = {
            "report_type": report_type,
            "app": app,
            "stem": stem,
            "kept_at": self.clock().isoformat(),
            "names": list(kept),
            "locations": list(kept.values()),
        }
        self._put_bytes(_pointer(report_type, app), _json(pointer))

    def _put_bytes(self, name: str, content: bytes) -> str:
        with _scratch(name) as directory:
            source = directory / "content"
            with _naming(name):
                source.write_bytes(content)
            return self.backend.put(name, source)


def _pointer(report_type: str, app: str) -> str:
    return f"{REPORTS}/{safe_name(report_type)}/latest/{safe_name(app or 'all')}/{LATEST}"


def _is_artifact(name: str) -> bool:
    parts = name.split("/")
    return not (parts[0] == REPORTS and parts[2:3] == ["latest"] and parts[-1] == LATEST)


def _days(days: int) -> timedelta:
    if days < 0:
        raise UsageError(f"days must be 0 or more, not {days}")
    return timedelta(days=min(days, _LONGEST_DAYS))


def _json(data: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(data, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        # Lone surrogates and integers beyond 64 bits; ASCII escapes carry them.
        return json.dumps(data, default=str, indent=2).encode()


@contextmanager
def _together(paths: Sequence[Path], names: Sequence[str]) -> Iterator[Path]:
    """Give a directory that holds exactly these files under these names."""
    parent = paths[0].parent
    if {path.name for path in parent.iterdir()} == set(names) and all(
        path.parent == parent for path in paths
    ):
        yield parent
        return
    with _scratch(str(parent)) as directory:
        with _naming(str(directory)):
            for path, name in zip(paths, names, strict=True):
                shutil.copyfile(path, directory / name)
        yield directory


@contextmanager
def _scratch(name: str) -> Iterator[Path]:
    with _naming(name):
        directory = Path(tempfile.mkdtemp(prefix="flowledger-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {name}: {error.strerror or error}; check free space of the temporary directory"
        ) from error
