"""Copies that survive a power cut: written elsewhere on the same file system, synced, then renamed."""

import os
import shutil
from pathlib import Path

_CHUNK = 1 << 20


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content and sync it; times and modes are new."""
    with source.open("rb") as content, target.open("xb") as out:
        shutil.copyfileobj(content, out, _CHUNK)
        out.flush()
        os.fsync(out.fileno())


def copy_any(source: Path, target: Path) -> None:
    """Copy a file or a whole directory, synced; links are followed."""
    if not source.is_dir():
        copy_file(source, target)
        return
    target.mkdir()
    for child in sorted(source.iterdir()):
        copy_any(child, target / child.name)
    sync_directory(target)


def make_directories(directory: Path) -> None:
    """Make a directory and its parents, each known to its own parent for good."""
    if directory.is_dir():
        return
    make_directories(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Make a directory's names survive a power cut, where the system can open directories."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_any(path: Path) -> None:
    """Remove a file or a whole directory; one that is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
