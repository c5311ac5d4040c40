"""What S3 and OSS have in common: keys, digests, errors; each vendor's file adds the calls that differ."""

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
from flowledger.http.session import socks_variable, unreadable_bundle
from flowledger.ports import StoredFile

MULTIPART_FROM = 16 << 20
"""Bytes from which a file goes up in parts."""

_PART = 8 << 20
_MOST_PARTS = 9_000  # S3 and OSS take 10,000
_CHUNK = 1 << 20
_TEXT_TYPES = frozenset({".csv", ".md", ".json", ".jsonl", ".txt", ".html"})


@dataclass(frozen=True, slots=True)
class Digest:
    """A file's size, SHA-256 and MD5 (which the protocols require; nothing relies on it for safety)."""

    size_bytes: int
    sha256: str
    md5: bytes


def part_size(size_bytes: int) -> int:
    """Return the size of a part in bytes, such that there are never more parts than buckets take."""
    return max(_PART, -(-size_bytes // _MOST_PARTS))


def digest_of(path: Path) -> Digest:
    """Return a file's digests, read once in constant memory."""
    size, sha, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            size += len(chunk)
            sha.update(chunk)
            md5.update(chunk)
    return Digest(size, sha.hexdigest(), md5.digest())


def media_type(name: str) -> str:
    """Return the media type of a file by its suffix; texts are UTF-8."""
    suffix = Path(name).suffix.lower()
    own = {".md": "text/markdown", ".jsonl": "application/jsonl"}.get(suffix)  # not in every system's table
    kind = own or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}{'; charset=utf-8' if suffix in _TEXT_TYPES else ''}"


def key_of(prefix: str, name: str) -> str:
    """Return the key of a name: below the prefix, every part safe."""
    return f"{folder_of(prefix)}{safe_path(name)}"


def folder_of(prefix: str) -> str:
    """Return a prefix as keys begin with it: empty, or ending in one slash."""
    return f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def key_start(prefix: str, name_start: str) -> str:
    """Return how the keys of names that begin with ``name_start`` begin, up to its last whole part."""
    whole, _, _ = name_start.rpartition("/")
    return folder_of(prefix) + (f"{safe_path(whole)}/" if whole else "")


def files_of(name: str, source: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names and files of a file or a whole directory, in order.

    :raises StorageError: when there is no such file.
    """
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                yield f"{name}/{path.relative_to(source).as_posix()}", path
    elif source.is_file():
        yield name, source
    else:
        raise StorageError(f"cannot store {name}: there is no file {source}; run again")


_LONGEST = 200
_UNTRUSTED = re.compile(r"(?:certificate verify failed:? |(?=hostname '[^']*' doesn't match))([^(\n]*)")
_RIGHTS = "let this key put, get, list and delete objects in the bucket"
_BUCKET = "create the bucket or correct {vendor}_BUCKET_NAME, {vendor}_ENDPOINT"
_CLOCK = "check the secret key, and set this machine's clock by NTP"
_REGION = "correct {vendor}_ENDPOINT (and S3_REGION): the bucket is elsewhere"

_ADVICE = {
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "Forbidden": _RIGHTS,
    "403": _RIGHTS,
    "InvalidAccessKeyId": "check {vendor}_ACCESS_KEY_ID: it does not exist on the server, or is disabled",
    "InvalidSecurity": "check the access key",
    "ExpiredToken": "set a new access key: this one has expired",
    "SignatureDoesNotMatch": _CLOCK,
    "RequestTimeTooSkewed": "set this machine's clock by NTP: it is more than 15 minutes off",
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "UserDisable": "check the account: it is disabled, often for unpaid bills",
    "QuotaExceeded": "make room in the bucket, or raise its quota",
    "XMinioStorageFull": "make room on the server's disks",
}
_UNAVAILABLE = frozenset(
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
    """Return the error for a bucket's answer: it names what was attempted, where, and what to do.

    ``vendor`` begins the names of its settings (S3, OSS); ``act`` and ``place`` read as "cannot store s3://b/x".
    """
    reason = clip(one_line(f"{code or status} {message}").strip(), _LONGEST)
    problem = f"cannot {act} {place}: {reason}"
    if code in _ADVICE:
        return StorageRefusedError(f"{problem}; {_ADVICE[code].format(vendor=vendor)}")
    if code in _UNAVAILABLE or status in (408, 429) or status >= 500:
        return unavailable(act, place, reason)
    if status in (401, 403):
        return StorageRefusedError(f"{problem}; {_RIGHTS}")
    if code in ("NoSuchKey", "404") or status == 404:
        return StorageError(f"{problem}; it was removed, or never stored there")
    return StorageError(f"{problem}; look the error up in the storage's documentation")


def unavailable(act: str, place: str, reason: str) -> StorageError:
    """Return the error for a storage that cannot be reached or stores nothing for now."""
    if error := untrusted(act, place, reason):
        return error
    return StorageUnavailableError(
        f"cannot {act} {place}: {clip(one_line(reason), _LONGEST)}; the storage is unavailable for now: "
        "try again later; if it stays so, check its address, the network and its status page"
    )


def untrusted(act: str, place: str, reason: str) -> StorageRefusedError | None:
    """Return the error for a certificate that is not trusted; None where the reason is another."""
    match = _UNTRUSTED.search(reason)
    if match is None:
        return None
    return StorageRefusedError(
        f"cannot {act} {place}: its certificate is not trusted ({match[1].strip(' .')}); check the"
        " endpoint, or name the file of its authority in AWS_CA_BUNDLE (S3) or REQUESTS_CA_BUNDLE (OSS)"
    )


def unusable(act: str, place: str, reason: str) -> StorageRefusedError:
    """Return the error for what waiting does not mend: something on this machine or in the settings."""
    return StorageRefusedError(f"cannot {act} {place}: {clip(one_line(reason), 2 * _LONGEST)}")


def check_surroundings(url: str, *bundles: str) -> None:
    """Check what a vendor's library would take from the environment: the proxy, the file of authorities.

    ``bundles`` are the variables that it reads the file from.

    :raises StorageRefusedError: naming the variable; the library would wait for it to pass.
    """
    if variable := socks_variable(url):
        raise StorageRefusedError(
            f"{variable}: a SOCKS proxy is not supported; name one that speaks HTTP, or the storage's host in"
            " NO_PROXY"
        )
    broken = unreadable_bundle(*bundles) if url.startswith("https:") else None
    if broken:
        raise StorageRefusedError(f"{broken}; mend it, or unset the variable")


def damaged(place: str) -> StorageUnavailableError:
    """Return the error for content that is not what was sent: damaged on its way, so worth another try."""
    return StorageUnavailableError(f"{place}: the content differs from what was sent; try again")


def not_installed(library: str) -> StorageRefusedError:
    """Return the error for a vendor's library that is not installed."""
    return StorageRefusedError(
        f"this storage needs {library}, which is not installed: run scripts/setup --all, or "
        "choose another STORAGE_TYPE"
    )


_AT_ONCE = 1000
"""Keys that one request may delete."""


class BucketStorage(ABC):
    """Files as objects of a bucket, below a prefix; every part of a name is made safe.

    An object appears whole or not at all, sent in one piece or in parts, but a bucket has no directories: the
    objects of a directory appear one after the other.  When one fails, the others are removed again; a
    process that is killed meanwhile leaves some.  Readers must therefore rely on what is written last: the
    report's entry in the index and the pointer (``storage.layout``), which name a report only once all its
    files are there.
    """

    scheme: ClassVar[str]
    bucket_name: str
    prefix: str

    def put(self, name: str, source: Path) -> str:
        """Store a file or a whole directory under a name, replacing what was there, and return its address.

        :raises StorageUnavailableError, StorageRefusedError: when the bucket is unavailable, or refuses.
        :raises StorageError: with the name, when the source cannot be read.
        """
        if not source.is_dir():
            for each, path in files_of(name, source):
                self._put_file(each, path)
            return self.location(name)
        existing = {each.name for each in self.names(f"{name}/")}
        sent = self._put_all(list(files_of(name, source)), existing)
        self.remove(*(existing - sent))
        return self.location(name)

    def read(self, name: str) -> bytes:
        """Return a file's content, compared with the digest that was stored with it.

        :raises StorageError: with the name, when it is not there, cannot be read or was damaged.
        """
        key = key_of(self.prefix, name)
        content, digest = self._fetch(key)
        if digest and sha256(content).hexdigest() != digest:
            raise damaged(self._place(key))
        return content

    def names(self, prefix: str) -> Sequence[StoredFile]:
        """List the files whose names begin with a prefix, with the time (UTC) of storing, oldest first."""
        start, last = key_start(self.prefix, prefix), prefix.rpartition("/")[2]
        if last and safe_name(last) == last:
            start += last
        cut = len(folder_of(self.prefix))
        files = (each._replace(name=each.name[cut:]) for each in self._list(start))
        return sorted(
            (each for each in files if each.name.startswith(prefix) and not each.name.endswith("/")),
            key=lambda each: (each.stored_at, each.name),
        )

    def location(self, name: str) -> str:
        """Return the address of a name, such as ``s3://bucket/prefix/name``."""
        return self._place(key_of(self.prefix, name))

    def link(self, name: str, valid_for: timedelta) -> str:
        """Return an address that opens a file without a log-in for a while; made without a request."""
        return self._sign(key_of(self.prefix, name), int(valid_for.total_seconds()))

    def remove(self, *names: str) -> None:
        """Remove files, many with each request; one that is not there is no error."""
        keys = [key_of(self.prefix, name) for name in names]
        for first in range(0, len(keys), _AT_ONCE):
            self._delete(keys[first : first + _AT_ONCE])

    def _put_all(self, files: Sequence[tuple[str, Path]], existing: Iterable[str]) -> set[str]:
        sent: set[str] = set()
        try:
            for name, path in files:
                self._put_file(name, path)
                sent.add(name)
        except StorageError:
            with suppress(StorageError):  # the first error matters; this one often has the same cause
                self.remove(*(sent - set(existing)))
            raise
        return {key_of("", name) for name in sent}

    def _put_file(self, name: str, path: Path) -> None:
        with _reading(name, path):
            self._send(key_of(self.prefix, name), path, digest_of(path))

    def _place(self, key: str) -> str:
        return f"{self.scheme}://{self.bucket_name}/{key}"

    @abstractmethod
    def _send(self, key: str, path: Path, digest: Digest) -> None:
        """Upload a file, in parts where it is large, and check that it arrived undamaged."""

    @abstractmethod
    def _fetch(self, key: str) -> tuple[bytes, str]:
        """Return an object's content and the SHA-256 stored with it, empty where there is none."""

    @abstractmethod
    def _list(self, start: str) -> Iterator[StoredFile]:
        """List the objects whose keys begin with a text, page by page; their names are keys."""

    @abstractmethod
    def _delete(self, keys: Sequence[str]) -> None:
        """Delete at most 1000 objects."""

    @abstractmethod
    def _sign(self, key: str, seconds: int) -> str:
        """Return a signed address that opens an object for so many seconds."""


@contextmanager
def _reading(name: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot store {name}: cannot read {path}: {error.strerror or error}; run again"
        ) from error
