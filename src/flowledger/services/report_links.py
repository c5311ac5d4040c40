"""Stored reports as messages show them: addresses to open, and files small enough to go along."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath

from flowledger.domain.messages import Attachment
from flowledger.ports import StorageBackend

MEGABYTE = 1_000_000
_A_NAME = "reports"


@dataclass(frozen=True, slots=True)
class StoredReportLinks:
    """Shows what one storage holds; ``storage`` is its folder or prefix, as ``opened`` takes it.

    ``most_bytes`` is what the files of one message may have in all; links are good for ``valid_for``.
    ``opened`` opens the storage of an attachment that was kept under another folder or prefix.
    """

    backend: StorageBackend
    most_bytes: int
    valid_for: timedelta
    opened: Callable[[str], StorageBackend]
    storage: str = ""

    def link(self, location: str) -> str:
        """Return an address that opens a report, or the location itself, such as of one not yet uploaded."""
        name = self._name_of(location)
        return location if name is None else self.backend.link(name, self.valid_for)

    def attachments(self, locations: Sequence[str]) -> Sequence[Attachment]:
        """Choose all files, or none where they are too large together: half a report misleads."""
        if self.most_bytes <= 0:
            return ()
        chosen = [self._attachment(location) for location in locations]
        whole = [attachment for attachment in chosen if attachment is not None]
        fits = sum(attachment.size_bytes for attachment in whole) <= self.most_bytes
        return whole if fits and len(whole) == len(locations) else ()

    def read(self, attachment: Attachment) -> bytes:
        """Return a file's content, from where it was kept."""
        backend = self.backend if attachment.storage == self.storage else self.opened(attachment.storage)
        return backend.read(attachment.stored_name)

    def _attachment(self, location: str) -> Attachment | None:
        name = self._name_of(location)
        if name is None:
            return None
        files = [stored for stored in self.backend.names(name) if stored.name == name]
        if not files:
            return None
        return Attachment(dated_name(name), name, files[0].size_bytes, self.storage)

    def _name_of(self, location: str) -> str | None:
        """Find the name of a location: every location of a storage begins alike and ends with its name."""
        beginning = self.backend.location(_A_NAME).removesuffix(_A_NAME)
        name = location.removeprefix(beginning)
        is_ours = location.startswith(beginning) and self.backend.location(name) == location
        return name if is_ours else None


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def dated_name(stored_name: str) -> str:
    """Return the name of an attachment: that of the file, with the day that its folder is named by.

    Of two mails people save both into one folder, where files of one name would replace each other.
    """
    path = PurePosixPath(stored_name)
    day = _DAY.search(path.parent.name)
    if day is None or _DAY.search(path.name):
        return path.name
    return f"{path.stem}-{day[0]}{path.suffix}"
