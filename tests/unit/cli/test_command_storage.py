"""``flowledger storage`` over a local storage, and over one that is away."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flowledger import bootstrap
from flowledger.cli.main import main
from flowledger.domain.retention import ReportSubject

End = Callable[..., int]


@pytest.fixture
def end_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> End:
    """Run a command in a folder whose settings have one app, and give its exit status."""
    (tmp_path / ".env").write_text(
        "DIFY_BASE_URL=http://127.0.0.1:1\nDIFY_API_TOKEN=app-abc\nDIFY_APP_NAME=shop\n"
        "DIFY_APP_ID=11111111-1111-1111-1111-111111111111\nREPORT_RETENTION_COUNT=1\n"
    )
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(["storage", *words])
        return int(end.value.code or 0)

    return run


def keep(*stems: str) -> list[str]:
    """Keep a report of each stem, the first one certified."""
    store = bootstrap.open_store(bootstrap.load_settings())
    return [
        store.save_report(
            stem, f"{stem}.md", "markdown", app="shop", subject=ReportSubject("yesterday", "w", number == 0)
        )
        for number, stem in enumerate(stems)
    ]


def test_lists_and_counts(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """Reports are listed and counted, as a table and as JSON."""
    location, _ = keep("one", "two")
    assert end_of("list", "--json", "--app", "shop", "--type", "markdown", "--days", "1") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["names"], row["certified"]) for row in rows] == [
        (["reports/markdown/one.md"], True),
        (["reports/markdown/two.md"], False),
    ]
    assert rows[0]["locations"] == [location]
    assert end_of("list", "--type", "csv") == 0
    assert "nothing" in capsys.readouterr().err
    assert end_of("stats") == 0
    assert "shop  markdown     2        2      6" in capsys.readouterr().out


def test_cleans_after_saying_so(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run removes nothing; a cleaning spares the newest and the newest certified, and is on record."""
    kept = [Path(path) for path in keep("one", "two", "three")]
    assert end_of("cleanup", "--dry-run") == 0
    assert "two" in capsys.readouterr().out
    assert all(path.exists() for path in kept)
    assert end_of("cleanup", "--json") == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert ([each["report"] for each in result["reports"]], result["removed"]) == (["two"], 1)
    assert [path.exists() for path in kept] == [True, False, True]
    with bootstrap.opened_ledger(bootstrap.load_settings()) as ledger:
        assert [operation.operation_type for operation in ledger.operations()] == ["CLEANUP"]


def test_links(end_of: End, capsys: pytest.CaptureFixture[str]) -> None:
    """A link to a local report is its path; to nothing, a failure that says where to look."""
    (location,) = keep("one")
    assert end_of("link", "reports/markdown/one.md") == 0
    assert capsys.readouterr().out.strip() == location
    assert end_of("link", "reports/none") == 1
    assert "storage list" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("list", "--app", "nobody"), ("list", "--days", "-1"), ("link",)])
def test_wrong_words_end_with_2(end_of: End, words: tuple[str, ...]) -> None:
    """An unknown app, a negative number of days and a missing name are the caller's mistakes."""
    assert end_of(*words) == 2


def test_what_waits_is_told(
    end_of: End, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the bucket away a report waits here; sending it fails and names the bucket, no secret."""
    monkeypatch.setattr("flowledger.storage.s3.ATTEMPTS", 1)
    for name, value in {
        "STORAGE_TYPE": "s3",
        "S3_BUCKET_NAME": "bucket",
        "S3_ENDPOINT": "http://127.0.0.1:1",
        "S3_ACCESS_KEY_ID": "somebody",
        "S3_SECRET_ACCESS_KEY": "planted-for-the-test",
    }.items():
        monkeypatch.setenv(name, value)
    assert "unsent" in keep("one")[0]
    assert end_of("upload", "--json") == 1
    told = capsys.readouterr()
    assert json.loads(told.out) == [{"storage": "s3://bucket", "sent": 0, "waiting": 3}]
    assert ("s3://bucket/reports/markdown/one.md" in told.err, "planted" in told.err) == (True, False)
    monkeypatch.setenv("STORAGE_TYPE", "local")
    assert end_of("upload") == 0
    assert "not in the settings" in capsys.readouterr().err
