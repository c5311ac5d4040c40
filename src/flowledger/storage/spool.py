"""A storage elsewhere with a place on this machine for what it does not take."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
"""What a storage says when it takes nothing; any other error is about the file, and goes on to the caller."""


@dataclass(slots=True)
class Spooled:
    """Keeps files in a storage elsewhere, or, while that takes nothing, on this machine below ``folder``.

    What waits there goes up before anything new: contents first, then entries, then pointers, the oldest
    first, so that nothing names what is not there.  Once the storage has failed, it is not asked again by
    this object.  Several processes may share a folder: one sends at a time, and a file that was replaced
    while it was sent stays for the next one.
    """

    remote: StorageBackend
    folder: Path
    sent: int = 0
    trouble: StorageError | None = None
    _kept: LocalStorage = field(init=False)
    _was_tried: bool = False

    def __post_init__(self) -> None:
        self._kept = LocalStorage(self.folder / "files")

    @property
    def notes(self) -> tuple[str, ...]:
        """Say what waits on this machine, and what was sent that had waited."""
        sent = (f"{self.sent} files that had waited on this machine were uploaded",) if self.sent else ()
        if self.trouble is None:
            return sent
        why = "refuses" if isinstance(self.trouble, StorageRefusedError) else "away"
        return (*sent, stored_locally_note(f"storage {why}: {self.trouble}"))

    def put(self, name: str, source: Path) -> str:
        """Keep a file or a whole directory, here where it cannot be kept there, and give where it is now."""
        if self._is_up():
            try:
                return self.remote.put(name, source)
            except NOT_TAKEN as error:
                self._give_up(error)
        with self._changing():
            return self._kept.put(name, source)

    def read(self, name: str) -> bytes:
        """Give a file's content, from here where it waits here."""
        return self._kept.read(name) if self._waits(name) else self.remote.read(name)

    def names(self, prefix: str) -> Sequence[StoredFile]:
        """List what is there and what waits here; while the storage is away, only this."""
        found = {each.name: each for each in self._there(prefix)}
        found |= {each.name: each for each in self._kept.names(prefix)}
        return sorted(found.values(), key=lambda each: (each.kept_at, each.name))

    def location(self, name: str) -> str:
        """Give the location a name has or will have when it is sent."""
        return self.remote.location(name)

    def link(self, name: str, valid_for: timedelta) -> str:
        """Give an address that opens a file; of one that waits here, its path."""
        source = self._kept if self._waits(name) else self.remote
        return source.link(name, valid_for)

    def remove(self, *names: str) -> None:
        """Forget files, here and there."""
        with self._changing():
            self._kept.remove(*names)
        self.remote.remove(*names)

    def waiting(self) -> Sequence[StoredFile]:
        """List what waits here, in the order in which it is to be sent."""
        return sorted(self._kept.names(""), key=lambda each: (rank_of(each.name), each.kept_at, each.name))

    def send(self) -> int:
        """Send what waits here, and give how many files; another process that is at it is left alone.

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
        return self.trouble is None

    def _send(self, name: str) -> None:
        path = Path(self._kept.location(name))
        try:
            before = path.stat()
        except FileNotFoundError:
            return  # sent or removed by another process
        if rank_of(name) is not Rank.POINTER or not self._is_overtaken(name):
            self.remote.put(name, path)
        with self._changing():
            now = path.stat() if path.exists() else None
            if now and (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns):
                self._kept.remove(name)
        self.sent += 1

    def _is_overtaken(self, pointer: str) -> bool:
        """Whether the pointer there is of a newer window, or newer, than the one that waited here."""
        if not any(each.name == pointer for each in self.remote.names(pointer)):
            return False
        there, here = _order(self.remote.read(pointer)), _order(self._kept.read(pointer))
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
        self.trouble = error
        logger.warning("reports are kept in {} for now: {}", self._kept.root, error)

    def _waits(self, name: str) -> bool:
        return Path(self._kept.location(name)).is_file()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with locked(self.folder / "changing.lock", wait=True):
            yield


def _order(pointer: bytes) -> tuple[datetime, datetime] | None:
    try:
        found = json.loads(pointer)
    except ValueError:
        return None
    return pointer_order(found) if isinstance(found, dict) else None
