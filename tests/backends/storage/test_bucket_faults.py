"""What buckets and the way to them may do, and what people are told."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket_servers import (
    BUCKETS,
    KEY,
    SECRET,
    gate_of,
    large_file,
    new_bucket,
    oss_gate,
    oss_state,
    unfinished,
    without_waiting,
)
from pydantic import SecretStr

from flowledger.errors import StorageError, StorageRefusedError, StorageUnavailableError
from flowledger.storage.buckets import BucketStorage
from flowledger.storage.oss import OssStorage, region_of
from flowledger.storage.s3 import S3Storage


@pytest.fixture(params=BUCKETS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each kind of bucket; its gate lets everything through again in the end."""
    without_waiting(monkeypatch)
    gate = gate_of(request.param)
    gate.requests.clear()
    yield str(request.param)
    gate.mend()


@pytest.fixture
def bucket(kind: str) -> BucketStorage:
    """An empty bucket."""
    return new_bucket(kind, "p")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to keep."""
    path = tmp_path / "source.txt"
    path.write_bytes(b"content")
    return path


REFUSALS = {
    "NoSuchBucket": (404, "BUCKET_NAME"),
    "AccessDenied": (403, "let this key"),
    "InvalidAccessKeyId": (403, "ACCESS_KEY_ID"),
    "SignatureDoesNotMatch": (403, "clock"),
    "RequestTimeTooSkewed": (403, "NTP"),
}


@pytest.mark.fault(30)
@pytest.mark.parametrize("code", REFUSALS)
def test_refusals_say_what_to_do(bucket: BucketStorage, kind: str, source: Path, code: str) -> None:
    """A refusal names bucket and key, says what to mend, shows no secret, and is not tried again."""
    status, remedy = REFUSALS[code]
    gate_of(kind).fail(code, status)
    with pytest.raises(StorageRefusedError) as caught:
        bucket.put("reports/x.csv", source)
    said = str(caught.value)
    assert f"{bucket.bucket_name}/p/reports/x.csv" in said
    assert (code in said, remedy in said, SECRET in said, SECRET in repr(bucket)) == (
        True,
        True,
        False,
        False,
    )
    assert len(gate_of(kind).requests) == 1


@pytest.mark.fault(30)
@pytest.mark.parametrize("fault", ["reset", "SlowDown", "InternalError"])
def test_passing_trouble_is_outlasted(bucket: BucketStorage, kind: str, source: Path, fault: str) -> None:
    """What passes within a few tries is not noticed."""
    gate_of(kind).fail(fault, 0 if fault == "reset" else 503, times=2)
    bucket.put("x", source)
    assert bucket.read("x") == b"content"


@pytest.mark.fault(30)
@pytest.mark.parametrize("fault", ["reset", "SlowDown"])
def test_lasting_trouble_is_unavailability(
    bucket: BucketStorage, kind: str, source: Path, fault: str
) -> None:
    """The error says that the storage is unavailable, after a bounded number of tries."""
    gate_of(kind).fail(fault, 0 if fault == "reset" else 503)
    with pytest.raises(StorageUnavailableError, match=r"p/x: .*unavailable for now"):
        bucket.put("x", source)
    assert len(gate_of(kind).requests) == 3
    for act in (lambda: bucket.read("x"), lambda: bucket.names(""), lambda: bucket.remove("x")):
        with pytest.raises(StorageUnavailableError):
            act()


def test_nobody_there_is_unavailability(kind: str, source: Path) -> None:
    """A closed port is a storage that is unavailable; the address is named."""
    secret = SecretStr(SECRET)
    nowhere = "http://127.0.0.1:1"
    bucket = (
        S3Storage("bucket", nowhere, None, secret, secret, "path")
        if kind == "s3"
        else OssStorage(nowhere, "bucket", secret, secret)
    )
    with pytest.raises(StorageUnavailableError, match=r"127\.0\.0\.1"):
        bucket.put("x", source)


def test_large_files_go_in_parts(bucket: BucketStorage, kind: str, tmp_path: Path) -> None:
    """A large file arrives whole and proved, and leaves no parts."""
    large = large_file(tmp_path / "large", 40)
    bucket.put("large", large)
    assert bucket.read("large") == large.read_bytes()
    assert unfinished(kind, bucket) == 0
    assert any("partNumber=5" in path for _, path in gate_of(kind).requests)


@pytest.mark.fault(30)
def test_a_failed_part_leaves_nothing(bucket: BucketStorage, kind: str, tmp_path: Path) -> None:
    """When one part fails for good, no object, no part and no upload stays."""
    gate_of(kind).fail("AccessDenied", 403, wanted=lambda method, path: "partNumber=2" in path)
    with pytest.raises(StorageRefusedError):
        bucket.put("large", large_file(tmp_path / "large", 20))
    assert (unfinished(kind, bucket), list(bucket.names(""))) == (0, [])


def test_a_set_that_fails_is_taken_back(bucket: BucketStorage, kind: str, tmp_path: Path) -> None:
    """When one file of a directory fails, those sent before go again."""
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_bytes(b"x")
    gate_of(kind).fail("AccessDenied", 403, wanted=lambda method, path: path.endswith(("set/b", "set%2Fb")))
    with pytest.raises(StorageRefusedError, match="set/b"):
        bucket.put("set", folder)
    gate_of(kind).mend()
    assert list(bucket.names("")) == []


def test_damage_is_seen_on_reading(bucket: BucketStorage, kind: str, source: Path) -> None:
    """A content that comes back changed or cut is an error, never a report."""
    bucket.put("x", source)
    for fault in ("spoil", "cut"):
        gate_of(kind).fail(fault)
        with pytest.raises(StorageUnavailableError):
            bucket.read("x")


def test_many_names_come_in_pages(
    bucket: BucketStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of more names than one page holds is whole."""
    monkeypatch.setattr(oss_state(), "page", 3)
    for number in range(8):
        bucket.put(f"a/{number}", source)
    assert [each.name for each in bucket.names("a/")] == [f"a/{number}" for number in range(8)]
    bucket.remove(*(each.name for each in bucket.names("a/")))
    assert list(bucket.names("")) == []


def test_prefixes_do_not_meet(kind: str, source: Path) -> None:
    """Two prefixes of one bucket see nothing of each other, even when one begins like the other."""
    one = new_bucket(kind, "team")
    other = new_bucket(kind, "team-two", bucket=one.bucket_name)
    one.put("x", source)
    other.put("y", source)
    assert [[each.name for each in backend.names("")] for backend in (one, other)] == [["x"], ["y"]]


@pytest.mark.parametrize(("key", "secret"), [("somebody", SECRET), (KEY, "another")])
def test_oss_checks_the_signature(key: str, secret: str, source: Path) -> None:
    """A wrong key and a wrong secret are refused by the server, each with its own remedy."""
    bucket = new_bucket("oss")
    wrong = OssStorage(oss_gate().endpoint, bucket.bucket_name, SecretStr(key), SecretStr(secret))
    with pytest.raises(StorageRefusedError, match=r"InvalidAccessKeyId|SignatureDoesNotMatch"):
        wrong.put("x", source)


def test_oss_signs_by_version_4_where_the_region_is_known(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a region, requests carry the signature of version 4, and the server takes it."""
    monkeypatch.setattr("flowledger.storage.oss.region_of", lambda endpoint: "cn-hangzhou")
    oss_state().versions_seen.clear()
    bucket = new_bucket("oss", "前缀")
    bucket.put("目录/a b+c.csv", source)
    bucket.put("large", large_file(tmp_path / "large", 17))
    assert bucket.read("目录/a b+c.csv") == b"content"
    assert len(bucket.names("")) == 2
    bucket.remove("large")
    assert oss_state().versions_seen == {"v4"}


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("https://oss-cn-hangzhou.aliyuncs.com", "cn-hangzhou"),
        ("https://oss-cn-shanghai-internal.aliyuncs.com/", "cn-shanghai"),
        ("oss-us-west-1.aliyuncs.com", "us-west-1"),
        ("https://files.example.com", None),
        ("http://127.0.0.1:9000", None),
    ],
)
def test_regions_are_read_off_endpoints(endpoint: str, region: str | None) -> None:
    """The vendor's endpoints name their region; others do not."""
    assert region_of(endpoint) == region


def test_bad_names_of_buckets_are_refused(source: Path) -> None:
    """A bucket's name that cannot be is the settings' fault, not the network's."""
    secret = SecretStr(SECRET)
    for bucket in (
        OssStorage(oss_gate().endpoint, "No_Such", secret, secret),
        S3Storage("no such/../bucket", oss_gate().endpoint, None, secret, secret),
    ):
        with pytest.raises(StorageRefusedError, match="BUCKET_NAME"):
            bucket.put("x", source)


def test_a_library_that_is_not_there_is_named(
    bucket: BucketStorage, kind: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the vendor's library the error says how to get it."""
    library = {"s3": "boto3", "oss": "oss2"}[kind]
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StorageRefusedError, match=f"needs {library}, .*scripts/setup --all"):
        bucket.put("x", source)


def test_a_missing_source_is_no_fault_of_the_bucket(bucket: BucketStorage, tmp_path: Path) -> None:
    """A file that is not there is said so, and nothing is asked of the bucket."""
    with pytest.raises(StorageError, match="no file") as caught:
        bucket.put("x", tmp_path / "none")
    assert not isinstance(caught.value, (StorageRefusedError, StorageUnavailableError))
