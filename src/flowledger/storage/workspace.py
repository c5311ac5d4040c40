"""Temporary directories for files on their way into a storage, and removing those of dead processes."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flowledger.errors import StorageError
from flowledger.io import scratch_folders
from flowledger.io.atomic import make_directories
from flowledger.io.scratch_folders import scratch_folder

FOLDER = ".incoming"
"""The folder of workspaces; no stored name begins with a dot."""


@contextmanager
def workspace(root: Path) -> Iterator[Path]:
    """Yield an empty directory on the root's file system, removed in the end."""
    folder = root / FOLDER
    make_directories(folder)
    with scratch_folder(folder, "") as path:
        yield path


def remove_leftovers(root: Path) -> None:
    """Remove the workspaces of dead processes; those in use, or being removed by another process, stay."""
    scratch_folders.remove_leftovers(root / FOLDER, "")


@contextmanager
def written(name: str, content: bytes) -> Iterator[Path]:
    """Yield a temporary file with this content.

    :raises StorageError: with the name it is meant for, when it cannot be written.
    """
    with _directory(name) as directory:
        source = directory / "content"
        with _naming(name):
            source.write_bytes(content)
        yield source


@contextmanager
def together(paths: Sequence[Path], names: Sequence[str]) -> Iterator[Path]:
    """Yield a directory that holds exactly these files under these names."""
    parent = paths[0].parent
    if {path.name for path in parent.iterdir()} == set(names) and all(
        path.parent == parent for path in paths
    ):
        yield parent
        return
    with _directory(str(parent)) as directory:
        with _naming(str(directory)):
            for path, name in zip(paths, names, strict=True):
                shutil.copyfile(path, directory / name)
        yield directory


@contextmanager
def _directory(name: str) -> Iterator[Path]:
    with ExitStack() as stack:
        with _naming(name):
            directory = stack.enter_context(scratch_folder())
        yield directory


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {name}: {error.strerror or error}; check free space of the temporary directory"
        ) from error
