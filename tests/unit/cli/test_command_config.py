"""``flowledger config``: show, check and schema."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flowledger import bootstrap
from flowledger.cli.main import cli
from flowledger.settings import ConfigManager
from flowledger.settings.schema import SCHEMAS, schema_text

APP = {"DIFY_BASE_URL": "http://127.0.0.1:9", "DIFY_API_TOKEN": "planted-token", "DIFY_APP_ID": "a-1"}


def run(root: Path, environ: dict[str, str], *words: str) -> Result:
    """Call the command line with settings of a folder and an environment of its own."""
    with bootstrap.configured(ConfigManager(root, environ)):
        return CliRunner().invoke(cli, ["config", *words], standalone_mode=False)


def test_show_lists_values_and_places_without_secrets(tmp_path: Path) -> None:
    """A line holds name, value and place; the key is masked."""
    found = run(tmp_path, APP, "show")
    lines = [line.split() for line in found.output.splitlines()]
    assert ["apps.default.base_url", "http://127.0.0.1:9", "environment"] in lines
    assert ["apps.default.api_token", "••••", "environment"] in lines
    assert ["LOG_LEVEL", "INFO", "default"] in lines
    assert "planted" not in found.output


def test_show_needs_no_app_and_speaks_json(tmp_path: Path) -> None:
    """The document gives value and place by name."""
    document = json.loads(run(tmp_path, {"TIMEZONE": "UTC"}, "show", "--json").output)
    assert document["TIMEZONE"] == {"value": "UTC", "from": "environment"}
    assert document["apps"] == {"value": [], "from": "default"}


def test_check_says_ok_where_all_is_right(tmp_path: Path) -> None:
    """Settings, storage, channels, schedules and templates each have their line."""
    found = run(tmp_path, APP, "check")
    assert (found.return_value, found.output.splitlines()) == (
        0,
        [
            "ok    settings: 1 app(s), time zone Asia/Shanghai",
            "ok    storage: local",
            "ok    channels: none",
            "ok    schedules and templates",
        ],
    )


def test_check_says_everything_wrong_at_once(tmp_path: Path) -> None:
    """Settings, deployments and templates are looked at though the settings are wrong already."""
    (tmp_path / "config/templates").mkdir(parents=True)
    (tmp_path / "config/templates/dingtalk.md.j2").write_text("{{ nothing.at.all", "utf-8")
    (tmp_path / "config/deployments.yaml").write_text("daily_report: {schedule: '99 2 * * *'}", "utf-8")
    wrong = {**APP, "TIMEZONE": "Mars", "STORAGE_TYPE": "s3", "SMTP_HOST": "h", "LOG_TARGET": "moon"}
    found = run(tmp_path, wrong, "check")
    assert found.return_value == 1
    text = found.output
    assert all(line.startswith("MEND  ") for line in text.splitlines())
    for word in ("TIMEZONE", "S3_BUCKET_NAME", "SMTP_TO", "LOG_TARGET", "config/deployments.yaml", ".j2"):
        assert word in text
    assert "planted" not in text


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_check_notes_a_secret_that_others_can_read(tmp_path: Path, mode: int) -> None:
    """An open file is no failure, but it is said."""
    (tmp_path / "t").write_text("app-1\n", "utf-8")
    (tmp_path / "t").chmod(mode)
    found = run(tmp_path, {**APP, "DIFY_API_TOKEN": "file:t"}, "check")
    assert found.return_value == 0
    assert ("note  " in found.output) == (mode == 0o644)


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_printed_or_written(tmp_path: Path, name: str) -> None:
    """What is printed is what the file holds."""
    printed = run(tmp_path, {}, "schema", name).output
    assert run(tmp_path, {}, "schema", "--write").return_value == 0
    assert printed == schema_text(name) == (tmp_path / f"config/{name}.schema.json").read_text("utf-8")
