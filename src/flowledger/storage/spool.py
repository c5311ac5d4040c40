"""A storage elsewhere, with a queue on this machine for what it cannot store now."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from loguru import logger

from flowledger.domain.messages import stored_locally_note
from flowledger.errors import StorageError, StorageRefusedError, StorageUnavailableError
from flowledger.io.locks import locked
from flowledger.ports import StorageBackend, StoredFile
from flowledger.storage.layout import Rank, pointer_order, rank_of
from flowledger.storage.local import LocalStorage

NOT_TAKEN = (StorageUnavailableError, StorageRefusedError)
"""Raised by a storage that stores nothing now; any other error is about the file, and is the caller's."""


@dataclass(slots=True)
class Spooled:
    """Stores files elsewhere or, while that is unavailable or refuses, on this machine below ``folder``.

    What waits there is uploaded before anything new: contents first, then entries, then pointers, the oldest
    first, so that nothing names what is not there.  Once the storage has failed, this object does not try it
    again.  Several processes may share a folder: one sends at a time, and a file that was replaced
    while it was sent stays for the next one.
    """

    remote: StorageBackend
    folder: Path
    sent: int = 0
    failure: StorageError | None = None
    _local: LocalStorage = field(init=False)
    _was_tried: bool = False

    def __post_init__(self) -> None:
        self._local = LocalStorage(self.folder / "files")

    @property
    def notes(self) -> tuple[str, ...]:
        """What waits on this machine, and what was uploaded that had waited, for people."""
        sent = (f"{self.sent} files that had waited on this machine were uploaded",) if self.sent else ()
        if self.failure is None:
            return sent
        why = "refuses" if isinstance(self.failure, StorageRefusedError) else "away"
        return (*sent, stored_locally_note(f"storage {why}: {self.failure}"))

    def put(self, name: str, source: Path) -> str:
        """Store a file or a directory, on this machine where that fails, and return where it is now."""
        if self._is_up():
            try:
                return self.remote.put(name, source)
            except NOT_TAKEN as error:
                self._give_up(error)
        with self._changing():
            return self._local.put(name, source)

    def read(self, name: str) -> bytes:
        """Return a file's content, from here where it waits here."""
        return self._local.read(name) if self._waits(name) else self.remote.read(name)

    def names(self, prefix: str) -> Sequence[StoredFile]:
        """List what is there and what waits here; only the latter while the storage is unavailable."""
        files = {each.name: each for each in self._there(prefix)}
        files |= {each.name: each for each in self._local.names(prefix)}
        return sorted(files.values(), key=lambda each: (each.stored_at, each.name))

    def location(self, name: str) -> str:
        """Return the location that a name has, or will have when it is uploaded."""
        return self.remote.location(name)

    def link(self, name: str, valid_for: timedelta) -> str:
        """Return an address that opens a file; of one that waits here, its path."""
        source = self._local if self._waits(name) else self.remote
        return source.link(name, valid_for)

    def remove(self, *names: str) -> None:
        """Remove files, here and there."""
        with self._changing():
            self._local.remove(*names)
        self.remote.remove(*names)

    def waiting(self) -> Sequence[StoredFile]:
        """List what waits here, in the order in which it is to be sent."""
        return sorted(self._local.names(""), key=lambda each: (rank_of(each.name), each.stored_at, each.name))

    def send(self) -> int:
        """Upload what waits here, and return how many files; nothing while another process does so.

        :raises StorageError: where it stopped; what was not sent waits on.
        """
        before = self.sent
        if not self.waiting():
            return 0
        with locked(self.folder / "sending.lock", wait=False) as is_ours:
            for each in self.waiting() if is_ours else ():
                self._send(each.name)
        return self.sent - before

    def _is_up(self) -> bool:
        if not self._was_tried:
            self._was_tried = True
            try:
                self.send()
            except StorageError as error:
                self._give_up(error)
        return self.failure is None

    def _send(self, name: str) -> None:
        path = Path(self._local.location(name))
        try:
            before = path.stat()
        except FileNotFoundError:
            return  # sent or removed by another process
        if rank_of(name) is not Rank.POINTER or not self._is_overtaken(name):
            self.remote.put(name, path)
        # Another process may have replaced the file while it was sent: that content must be sent, too.
        with self._changing():
            now = path.stat() if path.exists() else None
            if now and (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns):
                self._local.remove(name)
        self.sent += 1

    def _is_overtaken(self, pointer: str) -> bool:
        """Return whether the pointer there is of a newer window, or newer, than the one that waited here."""
        if not any(each.name == pointer for each in self.remote.names(pointer)):
            return False
        there, here = _order(self.remote.read(pointer)), _order(self._local.read(pointer))
        return there is not None and here is not None and there > here

    def _there(self, prefix: str) -> Sequence[StoredFile]:
        if not self._is_up():
            return ()
        try:
            return self.remote.names(prefix)
        except NOT_TAKEN as error:
            self._give_up(error)
            return ()

    def _give_up(self, error: StorageError) -> None:
        self.failure = error
        logger.warning("reports are stored in {} for now: {}", self._local.root, error)

    def _waits(self, name: str) -> bool:
        return Path(self._local.location(name)).is_file()

    def _changing(self) -> AbstractContextManager[bool]:
        return locked(self.folder / "changing.lock", wait=True)


def _order(pointer: bytes) -> tuple[datetime, datetime] | None:
    try:
        document = json.loads(pointer)
    except ValueError:
        return None
    return pointer_order(document) if isinstance(document, dict) else None
