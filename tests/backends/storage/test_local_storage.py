"""What a local disk may do to a storage."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from flowledger.errors import StorageError
from flowledger.ports import StorageBackend
from flowledger.storage.local import LocalStorage
from flowledger.storage.workspace import FOLDER, remove_leftovers, workspace


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to keep."""
    path = tmp_path / "source.txt"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory to keep."""
    path = tmp_path / "set"
    (path / "inner").mkdir(parents=True)
    (path / "a.csv").write_bytes(b"a")
    (path / "inner" / "b.csv").write_bytes(b"b")
    return path


def seen(backend: StorageBackend) -> list[str]:
    """All names kept."""
    return sorted(each.name for each in backend.names(""))


def no_space(*_: Any, **__: Any) -> Any:
    """Act as a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.fault(25)
@pytest.mark.parametrize("broken", ["os.fsync", "shutil.copyfileobj", "pathlib.Path.replace"])
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_full_disk_shows_nothing(
    broken: str, kind: str, source: Path, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the disk is full, the name is in the error, what was there stays, and nothing is left over."""
    storage = LocalStorage(tmp_path / "store")
    wanted = source if kind == "file" else directory
    storage.put("r/old", wanted)
    before = seen(storage)
    with monkeypatch.context() as patch:
        patch.setattr(broken, no_space)
        with pytest.raises(StorageError, match=r"r/new .*No space left"):
            storage.put("r/new", wanted)
        with pytest.raises(StorageError, match=r"r/old .*No space left"):
            storage.put("r/old", wanted)
    assert seen(storage) == before
    assert list((tmp_path / "store" / FOLDER).iterdir()) == []


@pytest.mark.fault(25)
def test_a_directory_comes_back_when_its_successor_fails(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a new directory cannot take its name, the old one takes it again."""
    storage = LocalStorage(tmp_path / "store")
    storage.put("set", directory)
    replace = Path.replace
    calls: list[Path] = []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(self)
        return no_space() if len(calls) == 2 else replace(self, target)

    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(StorageError, match="No space left"):
        storage.put("set", directory)
    assert seen(storage) == ["set/a.csv", "set/inner/b.csv"]


@pytest.mark.fault(26)
def test_leftovers_go_and_living_work_stays(tmp_path: Path, source: Path) -> None:
    """What a killed process left is removed at the next start; what is being written is not."""
    folder = tmp_path / FOLDER
    (folder / "dead").mkdir(parents=True)
    (folder / "dead" / "payload").write_bytes(b"half")
    (folder / "dead.lock").touch()
    with workspace(tmp_path) as living:
        (living / "payload").write_bytes(b"half")
        LocalStorage(tmp_path)
        assert [path.name for path in folder.glob("*") if path.suffix != ".lock"] == [living.name]
    assert list(folder.iterdir()) == []


def test_two_threads_put_and_clean(tmp_path: Path, source: Path) -> None:
    """Cleaning while others write takes nothing away from them."""
    storage = LocalStorage(tmp_path / "store")
    done = threading.Event()

    def clean() -> None:
        while not done.is_set():
            remove_leftovers(tmp_path / "store")

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        for number in range(25):
            storage.put(f"r/{number}", source)
    finally:
        done.set()
        cleaner.join()
    assert len(seen(storage)) == 25
