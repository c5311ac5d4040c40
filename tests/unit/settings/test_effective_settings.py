"""Settings as people see them, and every secret in them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from flowledger.settings import ConfigManager, Settings
from flowledger.settings.config import MASK, effective_settings
from flowledger.settings.references import secrets_in

Load = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]
Variables = dict[str, str]

PLANTED = {
    "DIFY_API_TOKEN": "planted-token-0001",
    "DIFY_CONSOLE_EMAIL": "a@example.com",
    "DIFY_CONSOLE_PASSWORD": "planted-password-0002",
    "LEDGER_URL": "postgresql://u:planted-0003@h/x",
    "SMTP_HOST": "mail.example.com",
    "SMTP_TO": "a@example.com",
    "SMTP_PASSWORD": "planted-password-0004",
    "DINGTALK_WEBHOOK": "https://h.example.com/send?access_token=planted-token-0005",
    "FEISHU_WEBHOOK": "https://h.example.com/hook/planted-token-0006",
    "S3_SECRET_ACCESS_KEY": "planted-key-0007",
    "FLOWLEDGER_SECRET_KEY": "planted-key-0008",
}
LISTED = """
timezone: UTC
apps:
  - {id: b, base_url: "http://h", api_token: planted-token-0009, language: en}
channels:
  ops: {type: webhook, url: "https://h.example.com/planted-token-0010", secret: planted-secret-0011}
"""


@pytest.fixture
def manager(tmp_path: Path, app: Variables) -> ConfigManager:
    """A manager whose every kind of secret is planted."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/settings.yaml").write_text(LISTED, "utf-8")
    (tmp_path / ".env").write_text("LOG_LEVEL=DEBUG\n", "utf-8")
    return ConfigManager(tmp_path, app | PLANTED)


def test_no_secret_is_shown_nor_its_length(manager: ConfigManager) -> None:
    """Every secret is the same four dots."""
    rows = list(effective_settings(manager.inspect()))
    assert "planted" not in json.dumps([(row.name, row.value, row.origin) for row in rows])
    masked = {row.name for row in rows if row.value == MASK}
    assert masked >= {
        "LEDGER_URL",
        "FLOWLEDGER_SECRET_KEY",
        "apps.default.api_token",
        "apps.b.api_token",
        "channels.ops.url",
        "channels.ops.secret",
        "channels.dingtalk.webhook",
    }


def test_each_value_says_where_it_came_from(manager: ConfigManager) -> None:
    """An app's inherited value names the place of the setting it was taken from."""
    origins = {row.name: (row.value, row.origin) for row in effective_settings(manager.inspect())}
    assert origins["LOG_LEVEL"] == ("DEBUG", ".env")
    assert origins["LOG_RETENTION_DAYS"] == (30, "default")
    assert origins["apps.default.base_url"] == ("https://dify.example.com", "environment")
    assert origins["apps.b.timezone"] == ("UTC", "config/settings.yaml")
    assert origins["apps.b.language"] == ("en", "config/settings.yaml")
    assert origins["apps.b.max_concurrency"] == (32, "default")
    assert origins["channels.email.host"] == ("mail.example.com", "environment")
    assert origins["channels.ops.type"] == ("webhook", "config/settings.yaml")


def test_a_reference_is_shown_and_an_encrypted_text_is_not(tmp_path: Path, app: Variables) -> None:
    """The path of a file helps; the encrypted text does not."""
    (tmp_path / "t").write_text("planted", "utf-8")
    rows = effective_settings(ConfigManager(tmp_path, {**app, "DIFY_API_TOKEN": "file:t"}).inspect())
    (token,) = (row for row in rows if row.name == "apps.default.api_token")
    assert (token.value, token.origin) == (MASK, "environment, file:t")


def test_every_place_of_the_settings_is_shown(manager: ConfigManager) -> None:
    """Nothing that can be set is left out."""
    names = {row.name for row in effective_settings(manager.inspect())}
    fields = {name.upper() for name in Settings.model_fields} - {"APPS", "CHANNELS"}
    assert {name for name in fields - names if not name.startswith("DIFY_")} == set()


def test_neither_settings_nor_their_parts_show_a_secret(manager: ConfigManager) -> None:
    """repr and str of everything loaded are safe to log."""
    found = manager.inspect()
    parts = [found, found.settings, found.reading, manager, *found.settings.apps]
    parts += found.settings.channels.values()
    assert [part for part in parts if "planted" in repr(part) + str(part)] == []


def test_problems_show_no_secret(problems: Problems, app: Variables) -> None:
    """Wrong values beside planted secrets are described without them."""
    wrong = {"TIMEZONE": "Mars", "SMTP_PORT": "planted", "WEBHOOK_URL": "planted-url", "STORAGE_TYPE": "s3"}
    found = problems({**app, **PLANTED, **wrong, "S3_ENDPOINT": "planted"}, yaml_file=LISTED)
    assert len(found) >= 5
    assert "planted" not in "\n".join(found)


def test_every_secret_is_given_for_redaction(manager: ConfigManager) -> None:
    """Those of apps and channels too, and the keys inside addresses."""
    found = {secret.get_secret_value() for secret in manager.load().secrets()}
    numbers = {f"{number:04}" for number in range(1, 12)}
    assert {number for number in numbers if not any(number in text for text in found)} == set()
    assert {"planted-0003", "planted-token-0005", "planted-token-0006"} <= found


def test_an_address_without_a_key_is_no_secret(load: Load) -> None:
    """The path of the ledger's file may stand in a log."""
    assert list(load(need_app=False).secrets()) == []
    assert [each.get_secret_value() for each in secrets_in([SecretStr("x"), {"a": SecretStr("y")}])] == [
        "x",
        "y",
    ]
