"""Every registered storage keeps the same promises."""

from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from bucket_servers import BUCKETS, new_bucket

from flowledger.errors import StorageError
from flowledger.plugins import STORAGES, load
from flowledger.ports import StorageBackend


@pytest.fixture(params=sorted(STORAGES))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> StorageBackend:
    """Each storage in turn, empty; a storage with other options needs a branch here."""
    if request.param in BUCKETS:
        return new_bucket(request.param, "some/prefix")
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
    return sorted(each.name for each in backend.names(""))


def test_keeps_files(backend: StorageBackend, source: Path) -> None:
    """What was kept is read back, listed with an aware time, replaced and removed."""
    assert backend.put("reports/x.txt", source) == backend.location("reports/x.txt")
    source.write_bytes(b"new")
    backend.put("reports/x.txt", source)
    assert backend.read("reports/x.txt") == b"new"
    ((name, at, size),) = backend.names("reports/")
    assert (name, at.utcoffset() is not None, size) == ("reports/x.txt", True, 3)
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
    assert [each.name for each in backend.names("a/t")] == ["a/two"]
    assert sorted(each.name for each in backend.names("a/")) == ["a/one", "a/two"]
    assert list(backend.names("c/")) == []


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "/abs", "CON", "x" * 255, "é" * 200, ".hidden", ""]
)
def test_names_stay_inside(backend: StorageBackend, source: Path, name: str, tmp_path: Path) -> None:
    """No name leads outside or is refused, and it reads back under the name it was given."""
    backend.put(name, source)
    assert backend.read(name) == b"content"
    assert {path.name for path in tmp_path.iterdir()} <= {"source.txt", "store"}
    (kept,) = seen(backend)
    assert backend.read(kept) == b"content"


def test_missing_things_are_named(backend: StorageBackend, tmp_path: Path) -> None:
    """A name that is not there, and a source that is not there, are in the error."""
    with pytest.raises(StorageError, match=r"read .*r/none"):
        backend.read("r/none")
    with pytest.raises(StorageError, match=r"store r/new"):
        backend.put("r/new", tmp_path / "none")
    assert seen(backend) == []


def test_removes_many_at_once(backend: StorageBackend, source: Path) -> None:
    """Several names go together, those that are not there too."""
    for name in ("a/one", "a/two", "b"):
        backend.put(name, source)
    backend.remove("a/one", "none", "b")
    backend.remove()
    assert seen(backend) == ["a/two"]


def test_gives_links(backend: StorageBackend, source: Path) -> None:
    """A link opens the file without a log-in; a local one is its path."""
    name = "reports/csv/昨天 50%+?.csv"
    backend.put(name, source)
    link = backend.link(backend.names("")[0].name, timedelta(hours=1))
    if link.startswith("/"):
        assert Path(link).read_bytes() == b"content"
        return
    with urlopen(link) as answer:
        assert answer.read() == b"content"


def test_keeps_empty_files(backend: StorageBackend, tmp_path: Path) -> None:
    """A file without content is a file."""
    (tmp_path / "empty").touch()
    backend.put("empty", tmp_path / "empty")
    assert (backend.read("empty"), backend.names("")[0].size_bytes) == (b"", 0)


def test_no_proxy_stands_before_loopback(
    backend: StorageBackend, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket on this machine is reached directly, whatever proxy the environment names."""
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    backend.put("x.txt", source)
    assert backend.read("x.txt") == b"content"
