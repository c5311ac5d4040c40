"""Folders for a while, whose left-overs the next one removes where a process was killed.

Beside each folder is a lock file, held open and locked as long as its process lives.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from flowledger.io.atomic import remove_any
from flowledger.io.locks import lock_file

PREFIX = "flowledger-"
_LOCK_SUFFIX = ".lock"


@contextmanager
def scratch_folder(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """Yield an empty folder, for its owner alone, removed in the end; those of killed processes go before.

    It is below ``parent``, by default the system's folder for scratch files (``TMPDIR``).

    :raises OSError: when it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    remove_leftovers(parent, prefix)
    with _claimed(parent, prefix) as lock:
        path = _folder_of(Path(lock.name))
        try:
            path.mkdir(0o700)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            Path(lock.name).unlink(missing_ok=True)


def remove_leftovers(parent: Path, prefix: str = PREFIX) -> None:
    """Remove the scratch folders of dead processes; what is in use, or another user's, stays."""
    for path in parent.glob(f"{prefix}*{_LOCK_SUFFIX}"):
        # Gone meanwhile, or not ours to remove: whoever may will do it.
        with suppress(OSError):
            if _is_own(path):
                with path.open("rb") as lock:
                    if _locked(lock, wait=False):
                        remove_any(_folder_of(path))
                        path.unlink(missing_ok=True)


def _is_own(path: Path) -> bool:
    return not hasattr(os, "geteuid") or path.lstat().st_uid == os.geteuid()


def _folder_of(lock: Path) -> Path:
    return lock.with_suffix("")


def _claimed(parent: Path, prefix: str) -> BinaryIO:
    """Return a new, locked lock file; made again where another process removed it as a left-over."""
    while True:
        path = parent / f"{prefix}{uuid4().hex}{_LOCK_SUFFIX}"
        lock = path.open("xb")
        if _locked(lock, wait=True):
            return lock
        lock.close()


def _locked(lock: BinaryIO, *, wait: bool) -> bool:
    """Lock a file and return whether it still exists (on Windows it does: an open file cannot be removed)."""
    return lock_file(lock, wait=wait) and os.fstat(lock.fileno()).st_nlink > 0
