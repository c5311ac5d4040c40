"""The recorded answers of real servers, from tests/data/recordings."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from json_shapes import Shape

FOLDER = Path(__file__).parents[1] / "data" / "recordings"
MAIN_RELEASE = "1.12.1"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Recording:
    """One request and the answer a release gave."""

    name: str
    release: str
    method: str
    path: str
    query: dict[str, str]
    status: int
    headers: tuple[tuple[str, str], ...]
    body: Any

    @property
    def endpoint(self) -> str:
        """The path with ``?`` for each id."""
        return _UUID.sub("?", self.path)

    def header(self, name: str) -> list[str]:
        """Give all values of a header."""
        return [value for key, value in self.headers if key == name]


def read_recording(file: Path) -> Recording:
    """Read one file; a folder name like v1.9.1 is the release."""
    data = json.loads(file.read_text(encoding="utf-8"))
    folder = file.parent.name
    url = urlsplit(data["request"]["url"])
    return Recording(
        name=file.stem,
        release=folder.removeprefix("v") if folder.startswith("v") else MAIN_RELEASE,
        method=data["request"]["method"],
        path=url.path,
        query=dict(parse_qsl(url.query, keep_blank_values=True)),
        status=data["response"]["status"],
        headers=tuple((key, value) for key, value in data["response"]["headers"]),
        body=data["response"]["body"],
    )


@cache
def all_recordings() -> tuple[Recording, ...]:
    """Read all, in the order of their names."""
    return tuple(read_recording(file) for file in sorted(FOLDER.rglob("*.json")))


@cache
def shape_of(endpoint: str, status: int, release: str | None) -> Shape:
    """Merge all answers of an endpoint and status, of one release or (None) of all.

    Answers about unknown runs are all null and would allow anything; they are compared by value instead.
    Who ran a run has the same two fields everywhere, but only the log list recorded both kinds of people.
    """
    shape = _learn(endpoint, status, release)
    logs = _learn("/v1/workflows/logs", 200, None)
    for name in ("created_by_account", "created_by_end_user"):
        shape.adopt(name, logs.find(f"data[].{name}"))
    return shape


def _learn(endpoint: str, status: int, release: str | None) -> Shape:
    shape = Shape()
    for recording in all_recordings():
        if (recording.endpoint, recording.status) != (endpoint, status) or "unknown" in recording.name:
            continue
        if release in (None, recording.release):
            shape.learn(recording.body)
    return shape
