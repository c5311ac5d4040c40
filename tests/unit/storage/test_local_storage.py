"""Every registered storage, and what a local disk may do to one."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from flowledger.errors import StorageError
from flowledger.plugins import STORAGES, load
from flowledger.ports import StorageBackend
from flowledger.storage.local import LocalStorage
from flowledger.storage.workspace import FOLDER, remove_leftovers, workspace


@pytest.fixture(params=sorted(STORAGES))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> StorageBackend:
    """Each storage in turn, empty; a storage with other options needs a branch here."""
    storage: StorageBackend = load("storage", request.param)(root=tmp_path / "store")
    return storage


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
    return sorted(name for name, _ in backend.names(""))


def test_keeps_files(backend: StorageBackend, source: Path) -> None:
    """What was kept is read back, listed with an aware time, replaced and removed."""
    assert backend.put("reports/x.txt", source) == backend.location("reports/x.txt")
    source.write_bytes(b"new")
    backend.put("reports/x.txt", source)
    assert backend.read("reports/x.txt") == b"new"
    ((name, at),) = backend.names("reports/")
    assert (name, at.utcoffset() is not None) == ("reports/x.txt", True)
    backend.remove("reports/x.txt")
    backend.remove("reports/x.txt")
    assert seen(backend) == []


def test_keeps_directories(backend: StorageBackend, directory: Path) -> None:
    """A directory is kept whole, and replaced whole."""
    backend.put("r/set", directory)
    assert seen(backend) == ["r/set/a.csv", "r/set/inner/b.csv"]
    (directory / "a.csv").unlink()
    backend.put("r/set", directory)
    assert seen(backend) == ["r/set/inner/b.csv"]


def test_prefixes(backend: StorageBackend, source: Path) -> None:
    """A prefix may end within a name; one that nothing has gives nothing."""
    for name in ("a/one", "a/two", "b/one"):
        backend.put(name, source)
    assert [name for name, _ in backend.names("a/t")] == ["a/two"]
    assert sorted(name for name, _ in backend.names("a/")) == ["a/one", "a/two"]
    assert list(backend.names("c/")) == []


@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "/abs", "CON", "x" * 255, "é" * 200, ".hidden", ""]
)
def test_names_stay_inside(backend: StorageBackend, source: Path, name: str, tmp_path: Path) -> None:
    """No name leads outside or is refused, and it reads back under the name it was given."""
    backend.put(name, source)
    assert backend.read(name) == b"content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.txt", "store"]
    (kept,) = seen(backend)
    assert backend.read(kept) == b"content"


def test_missing_things_are_named(backend: StorageBackend, tmp_path: Path) -> None:
    """A name that is not there, and a source that is not there, are in the error."""
    with pytest.raises(StorageError, match=r"read r/none"):
        backend.read("r/none")
    with pytest.raises(StorageError, match=r"keep r/new"):
        backend.put("r/new", tmp_path / "none")
    assert seen(backend) == []


def no_space(*_: Any, **__: Any) -> Any:
    """Act as a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
