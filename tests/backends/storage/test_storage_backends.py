"""Every registered storage keeps the same promises."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from bucket_servers import BUCKETS, new_bucket
from pydantic import SecretStr

from flowledger.errors import StorageError, StorageRefusedError
from flowledger.plugins import STORAGES, load
from flowledger.ports import StorageBackend
from flowledger.storage.oss import OssStorage
from flowledger.storage.s3 import S3Storage


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


def test_keys_of_ones_own_need_no_profile(
    backend: StorageBackend, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Settings beat what lies in the environment: profile, configuration, address, token, .netrc."""
    (tmp_path / "config").write_text("this [is no configuration", "utf-8")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else\n", "utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "company-sso")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somebody-else")
    backend.put("x.txt", source)
    assert backend.read("x.txt") == b"content"


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"AWS_PROFILE": "company-sso"}, "AWS_PROFILE"),
        ({"AWS_CONFIG_FILE": "{broken}"}, "AWS_CONFIG_FILE"),
    ],
)
def test_a_broken_profile_is_named_where_no_keys_are_set(
    variables: Mapping[str, str], named: str, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Waiting does not mend it, so the storage is not said to be unavailable."""
    (tmp_path / "broken").write_text("this [is no configuration", "utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(broken=tmp_path / "broken"))
    with pytest.raises(StorageRefusedError, match=named) as caught:
        S3Storage("reports", "http://127.0.0.1:9").put("x.txt", source)
    assert "unavailable" not in str(caught.value)


def bucket_at(storage: str, address: str) -> StorageBackend:
    """Return a bucket with keys at an address."""
    key = SecretStr("k")
    if storage == "s3":
        return S3Storage("bucket", address, None, key, key)
    return OssStorage(address, "bucket", key, key)


@pytest.mark.parametrize("storage", ["s3", "oss"])
def test_a_socks_proxy_of_a_bucket_is_named(
    storage: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its variable, and not as a storage that is unavailable."""
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:7890")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    bucket = bucket_at(storage, "https://storage.example.com")
    with pytest.raises(StorageRefusedError, match="ALL_PROXY: a SOCKS proxy is not supported"):
        bucket.put("x.txt", source)


@pytest.mark.parametrize(("storage", "variable"), [("s3", "AWS_CA_BUNDLE"), ("oss", "REQUESTS_CA_BUNDLE")])
def test_a_broken_file_of_authorities_is_named(
    storage: str, variable: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its variable, and not as a storage that is unavailable."""
    monkeypatch.setenv(variable, "/nonexistent/ca.pem")
    bucket = bucket_at(storage, "https://127.0.0.1:9")
    with pytest.raises(StorageRefusedError, match=f"{variable}: /nonexistent/ca.pem cannot be read"):
        bucket.put("x.txt", source)
