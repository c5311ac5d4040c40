"""``flowledger deploy``: wrong words are refused before anything is asked."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from flowledger import bootstrap
from flowledger.cli.deploy import DeployRequest, strange_words
from flowledger.cli.main import cli
from flowledger.errors import UsageError
from flowledger.settings import ConfigManager

DEAD = {
    "DIFY_BASE_URL": "http://127.0.0.1:9",
    "DIFY_API_TOKEN": "app-simulated",
    "DIFY_APP_ID": "a-1",
    "DIFY_APP_NAME": "sales",
    "STORAGE_TYPE": "s3",
    "S3_BUCKET_NAME": "reports",
    "S3_ENDPOINT": "http://127.0.0.1:9",
    "SMTP_HOST": "127.0.0.1",
    "SMTP_PORT": "9",
    "SMTP_TO": "ops@example.com",
}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--only", "dialy"), "--only dialy: no such entry is used: one of daily_report, "),
        (("--app", "slaes"), r"unknown app 'slaes': one of sales \(a-1\)"),
    ],
)
def test_wrong_words_come_before_dead_servers(tmp_path: Path, words: tuple[str, str], line: str) -> None:
    """Who mistyped a word need not mend bucket and mail server first."""
    with bootstrap.configured(ConfigManager(tmp_path, DEAD)), pytest.raises(UsageError, match=line):
        CliRunner().invoke(cli, ["deploy", *words], catch_exceptions=False, standalone_mode=False)


def test_wrong_words_stand_beside_wrong_settings(tmp_path: Path) -> None:
    """As far as the settings tell; where an app is not whole, its name may be what is wrong."""
    wish = DeployRequest(app="slaes", only=("dialy",))
    with bootstrap.configured(ConfigManager(tmp_path, DEAD | {"LOG_TARGET": "moon"})):
        found = bootstrap.configuration.manager().examine()
        assert [line.partition(":")[0] for line in strange_words(found.settings, wish)] == [
            "unknown app 'slaes'",
            "--only dialy",
        ]
        assert list(strange_words(found.settings, DeployRequest(app="sales", only=("cleanup",)))) == []
    with bootstrap.configured(ConfigManager(tmp_path, DEAD | {"DIFY_BASE_URL": "nowhere"})):
        found = bootstrap.configuration.manager().examine()
        (line,) = strange_words(found.settings, wish)
    assert line.startswith("--only dialy")


def test_words_are_not_held_against_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Its entries are not known."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/deployments.yaml").write_text("a: [", "utf-8")
    with bootstrap.configured(ConfigManager(tmp_path, DEAD)):
        assert list(strange_words(bootstrap.load_settings(), DeployRequest(only=("dialy",)))) == []
