"""What all buckets do alike; a vendor's file adds the few calls that differ."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

from flowledger.domain.names import safe_name
from flowledger.errors import StorageError
from flowledger.ports import Stored
from flowledger.storage.contents import Digest, digest_of, files_of, folder_of, key_of, start_of
from flowledger.storage.refusals import spoilt

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

    def names(self, prefix: str) -> Sequence[Stored]:
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
    def _list(self, start: str) -> Iterator[Stored]:
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
