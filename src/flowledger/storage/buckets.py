"""What all buckets do alike: keys, digests, errors; a vendor's file adds the few calls that differ."""

import hashlib
import mimetypes
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

from flowledger.domain.texts import clip, one_line, safe_name, safe_path
from flowledger.errors import StorageError, StorageRefusedError, StorageUnavailableError
from flowledger.ports import StoredFile

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


_LONGEST = 200
_UNTRUSTED = re.compile(r"(?:certificate verify failed:? |(?=hostname '[^']*' doesn't match))([^(\n]*)")
_RIGHTS = "let this key put, get, list and delete objects in the bucket"
_BUCKET = "make the bucket or mend {vendor}_BUCKET_NAME, {vendor}_ENDPOINT"
_CLOCK = "check the secret key, and set this machine's clock by NTP"
_SIDE = "mend {vendor}_ENDPOINT (and S3_REGION): the bucket is elsewhere"

_REFUSED = {
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "Forbidden": _RIGHTS,
    "403": _RIGHTS,
    "InvalidAccessKeyId": "check {vendor}_ACCESS_KEY_ID: the server does not know it, or it is disabled",
    "InvalidSecurity": "check the access key",
    "ExpiredToken": "give a new access key: this one has expired",
    "SignatureDoesNotMatch": _CLOCK,
    "RequestTimeTooSkewed": "set this machine's clock by NTP: it is more than 15 minutes off",
    "PermanentRedirect": _SIDE,
    "301": _SIDE,
    "IllegalLocationConstraintException": _SIDE,
    "AuthorizationHeaderMalformed": _SIDE,
    "UserDisable": "look at the account: it is disabled, often for its bills",
    "QuotaExceeded": "make room in the bucket, or raise its quota",
    "XMinioStorageFull": "make room on the server's disks",
}
_AWAY = frozenset(
    {
        "SlowDown",
        "Throttling",
        "RequestLimitExceeded",
        "QpsLimitExceeded",
        "ServiceUnavailable",
        "InternalError",
        "RequestTimeout",
        "OperationAborted",
    }
)


def refusal(
    vendor: str, act: str, place: str, *, code: str, status: int = 0, message: str = ""
) -> StorageError:
    """Make the error of a bucket's answer: it names what was wanted, where, and what to do.

    ``vendor`` begins the names of its settings (S3, OSS); ``act`` and ``place`` read as "cannot keep s3://b/x".
    """
    said = clip(one_line(f"{code or status} {message}").strip(), _LONGEST)
    wanted = f"cannot {act} {place}: {said}"
    if code in _REFUSED:
        return StorageRefusedError(f"{wanted}; {_REFUSED[code].format(vendor=vendor)}")
    if code in _AWAY or status in (408, 429) or status >= 500:
        return away(act, place, said)
    if status in (401, 403):
        return StorageRefusedError(f"{wanted}; {_RIGHTS}")
    if code in ("NoSuchKey", "404") or status == 404:
        return StorageError(f"{wanted}; it was removed, or never kept there")
    return StorageError(f"{wanted}; see what the storage's documents say about it")


def away(act: str, place: str, reason: str) -> StorageUnavailableError:
    """Make the error of a storage that cannot be reached or takes nothing for now."""
    if found := _UNTRUSTED.search(reason):
        return StorageUnavailableError(
            f"cannot {act} {place}: its certificate is not trusted ({found[1].strip(' .')}); check the"
            " endpoint, or name the file of its authority in AWS_CA_BUNDLE (S3) or REQUESTS_CA_BUNDLE (OSS)"
        )
    return StorageUnavailableError(
        f"cannot {act} {place}: {clip(one_line(reason), _LONGEST)}; the storage is away for now: "
        "try again later; if it stays so, check its address, the network and its status page"
    )


def spoilt(place: str) -> StorageUnavailableError:
    """Make the error of content that is not what was sent: damaged on its way, so worth another try."""
    return StorageUnavailableError(f"{place}: the content differs from what was sent; try again")


def not_installed(library: str) -> StorageRefusedError:
    """Make the error of a vendor's library that is not there."""
    return StorageRefusedError(
        f"this storage needs {library}, which is not installed: run scripts/setup --all, or "
        "choose another STORAGE_TYPE"
    )


_AT_ONCE = 1000
"""Keys that one request may delete."""


class BucketStorage(ABC):
    """Keeps files as objects of a bucket, below a prefix; every part of a name is made safe.

    A bucket shows an object whole or not at all, be it sent in one piece or in parts, but it has no
    directories: the objects of a directory appear one after the other.  Those of a directory that fails are
    taken back, so that nothing is left of a new name; a process that is killed meanwhile leaves some.  Who
    reads must therefore go by what is written last: the report's entry in the index and the pointer
    (``storage.layout``), which name a report only once all its files are there.
    """

    scheme: ClassVar[str]
    bucket_name: str
    prefix: str

    def put(self, name: str, source: Path) -> str:
        """Keep a file or a whole directory under a name, replacing what was there, and give its address.

        :raises StorageUnavailableError, StorageRefusedError: when the bucket is away, or refuses.
        :raises StorageError: with the name, when the source cannot be read.
        """
        if not source.is_dir():
            for each, path in files_of(name, source):
                self._put_file(each, path)
            return self.location(name)
        known = {each.name for each in self.names(f"{name}/")}
        sent = self._put_all(list(files_of(name, source)), known)
        self.remove(*(known - sent))
        return self.location(name)

    def read(self, name: str) -> bytes:
        """Give a file's content, compared with the digest that was kept with it.

        :raises StorageError: with the name, when it is not there, cannot be read or was damaged.
        """
        key = key_of(self.prefix, name)
        content, known = self._fetch(key)
        if known and sha256(content).hexdigest() != known:
            raise spoilt(self._place(key))
        return content

    def names(self, prefix: str) -> Sequence[StoredFile]:
        """List the files whose names begin with a prefix, with the time (UTC) each was kept, oldest first."""
        start, last = start_of(self.prefix, prefix), prefix.rpartition("/")[2]
        if last and safe_name(last) == last:
            start += last
        cut = len(folder_of(self.prefix))
        found = (each._replace(name=each.name[cut:]) for each in self._list(start))
        return sorted(
            (each for each in found if each.name.startswith(prefix) and not each.name.endswith("/")),
            key=lambda each: (each.kept_at, each.name),
        )

    def location(self, name: str) -> str:
        """Give the address of a name, such as ``s3://bucket/prefix/name``."""
        return self._place(key_of(self.prefix, name))

    def link(self, name: str, valid_for: timedelta) -> str:
        """Give an address that opens a file without a log-in for a while; signed here, without asking."""
        return self._sign(key_of(self.prefix, name), int(valid_for.total_seconds()))

    def remove(self, *names: str) -> None:
        """Forget files, many with each request; one that is not there is no error."""
        keys = [key_of(self.prefix, name) for name in names]
        for first in range(0, len(keys), _AT_ONCE):
            self._delete(keys[first : first + _AT_ONCE])

    def _put_all(self, files: Sequence[tuple[str, Path]], known: Iterable[str]) -> set[str]:
        sent: set[str] = set()
        try:
            for name, path in files:
                self._put_file(name, path)
                sent.add(name)
        except StorageError:
            with suppress(StorageError):  # the first error says it; a bucket that is away takes nothing back
                self.remove(*(sent - set(known)))
            raise
        return {key_of("", name) for name in sent}

    def _put_file(self, name: str, path: Path) -> None:
        with _reading(name, path):
            self._send(key_of(self.prefix, name), path, digest_of(path))

    def _place(self, key: str) -> str:
        return f"{self.scheme}://{self.bucket_name}/{key}"

    @abstractmethod
    def _send(self, key: str, path: Path, digest: Digest) -> None:
        """Upload a file, in parts where it is large, and prove that it arrived as it is."""

    @abstractmethod
    def _fetch(self, key: str) -> tuple[bytes, str]:
        """Give an object's content and the SHA-256 kept with it, empty where there is none."""

    @abstractmethod
    def _list(self, start: str) -> Iterator[StoredFile]:
        """List the objects whose keys begin with a text, page by page; their names are keys."""

    @abstractmethod
    def _delete(self, keys: Sequence[str]) -> None:
        """Delete at most 1000 objects."""

    @abstractmethod
    def _sign(self, key: str, seconds: int) -> str:
        """Sign an address that opens an object for so many seconds."""


@contextmanager
def _reading(name: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot keep {name}: cannot read {path}: {error.strerror or error}; run again"
        ) from error
