"""Files on their way into a storage, in a temporary directory that goes in the end."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flowledger.errors import StorageError


@contextmanager
def written(name: str, content: bytes) -> Iterator[Path]:
    """Give a file with this content.

    :raises StorageError: with the name it is meant for, when it cannot be written.
    """
    with _directory(name) as directory:
        source = directory / "content"
        with _naming(name):
            source.write_bytes(content)
        yield source


@contextmanager
def together(paths: Sequence[Path], names: Sequence[str]) -> Iterator[Path]:
    """Give a directory that holds exactly these files under these names."""
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
    with _naming(name):
        directory = Path(tempfile.mkdtemp(prefix="flowledger-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {name}: {error.strerror or error}; check free space of the temporary directory"
        ) from error
