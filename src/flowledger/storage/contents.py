"""Files as a bucket sees them: keys, digests, media types, and directories as sets of objects."""

import hashlib
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowledger.domain.names import safe_path
from flowledger.errors import StorageError

MULTIPART_FROM = 16 << 20
"""Bytes from which a file goes up in parts."""

_PART = 8 << 20
_MOST_PARTS = 9_000
_CHUNK = 1 << 20
_TEXT_TYPES = frozenset({".csv", ".md", ".json", ".jsonl", ".txt", ".html"})


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file's content is: its size, SHA-256 and MD5 (for the protocol, not for safety)."""

    size_bytes: int
    sha256: str
    md5: bytes


def part_size(size_bytes: int) -> int:
    """Choose the size of a part, so that there are never more parts than buckets take."""
    return max(_PART, -(-size_bytes // _MOST_PARTS))


def digest_of(path: Path) -> Digest:
    """Read a file once, in flat memory, for its digests."""
    size, sha, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            size += len(chunk)
            sha.update(chunk)
            md5.update(chunk)
    return Digest(size, sha.hexdigest(), md5.digest())


def media_type(name: str) -> str:
    """Name the media type of a file; texts are UTF-8."""
    suffix = Path(name).suffix.lower()
    known = {".md": "text/markdown", ".jsonl": "application/jsonl"}.get(suffix) or mimetypes.guess_type(name)[
        0
    ]
    return f"{known or 'application/octet-stream'}{'; charset=utf-8' if suffix in _TEXT_TYPES else ''}"


def key_of(prefix: str, name: str) -> str:
    """Make the key of a name: every part safe, below the prefix."""
    return f"{folder_of(prefix)}{safe_path(name)}"


def folder_of(prefix: str) -> str:
    """Give a prefix as keys begin with it, empty or ending in one slash."""
    return f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def start_of(prefix: str, wanted: str) -> str:
    """Give what keys begin with whose names begin with ``wanted``, as far as whole parts are known."""
    whole, _, _ = wanted.rpartition("/")
    return folder_of(prefix) + (f"{safe_path(whole)}/" if whole else "")


def files_of(name: str, source: Path) -> Iterator[tuple[str, Path]]:
    """Give the names and files of a file or a whole directory, in order.

    :raises StorageError: when there is no such file.
    """
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                yield f"{name}/{path.relative_to(source).as_posix()}", path
    elif source.is_file():
        yield name, source
    else:
        raise StorageError(f"cannot keep {name}: there is no file {source}; run again")
