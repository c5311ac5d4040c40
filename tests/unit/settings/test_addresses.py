"""Settings as offices write them: lists, addresses of every kind, paths, keys."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from flowledger import bootstrap
from flowledger.bootstrap import config_checks
from flowledger.errors import SettingsError, UsageError
from flowledger.settings import ConfigManager, Settings
from flowledger.settings.problems import readable_secret_files

Load = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]
Variables = dict[str, str]
MAIL = {"SMTP_HOST": "smtp.example.com"}


def checked(root: Path, environ: Variables) -> tuple[str, ...]:
    """Return what ``flowledger config check`` says."""
    with bootstrap.configured(ConfigManager(root, environ)):
        return config_checks.settings_problems()[1]


@pytest.mark.parametrize("separator", [",", ";", "；", "，", "、", "\n", "\r\n", " ; "])
def test_every_list_is_parted_alike(load: Load, app: Variables, separator: str) -> None:
    """Whatever a keyboard writes between two words, they are two."""
    lists = {
        "SMTP_TO": ("a@example.com", "b@example.com"),
        "DINGTALK_AT": ("13800138000", "13900139000"),
        "WECHAT_AT": ("13800138000", "all"),
        "FEISHU_AT": ("ou_1", "ou_2"),
        "REPORT_FORMATS": ("csv", "markdown"),
        "NOTIFICATION_TYPE": ("email", "webhook"),
        "LOG_TARGET": ("file", "stderr"),
        "API_CORS_ORIGINS": ("https://a.example.com", "https://b.example.com"),
    }
    texts = {name: separator.join(words) for name, words in lists.items()}
    settings = load({**app, **MAIL, "WEBHOOK_URL": "https://h/x", **texts})
    assert {name: getattr(settings, name.lower()) for name in lists} == lists
    assert settings.channels["email"].options["to"] == lists["SMTP_TO"]


def test_an_app_and_a_channel_of_a_yaml_file_part_lists_alike(load: Load) -> None:
    """Tags, formats, channels and receivers."""
    settings = load(
        yaml_file="""
channels:
  ops: {type: email, host: h, to: a@example.com；b@example.com}
apps:
  - {id: a, base_url: "http://h", api_token: t-1, tags: x；y, formats: csv，json, channels: ops、email}
channels_: null
""".replace("channels_: null\n", ""),
        environ={**MAIL, "SMTP_TO": "a@example.com"},
    )
    app = settings.app()
    assert (app.tags, app.formats, app.channels) == (("x", "y"), ("csv", "json"), ("ops", "email"))
    assert settings.channels["ops"].options["to"] == ("a@example.com", "b@example.com")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("SMTP_TO", "admin", "'admin' is not one mail address"),
        ("SMTP_TO", "a＠example.com", "has the full-width character ＠: write @"),
        ("SMTP_SENDER", "robot", "is not one mail address"),
        ("SMTP_HOST", "smtp.example.com:465", "its port is a setting of its own"),
        ("SMTP_HOST", "smtp.example.com：465", "has the full-width character ：: write :"),
        ("SMTP_HOST", "smtp://smtp.example.com", "must be the host alone"),
        ("API_HOST", "127.0.0.1:8001", "its port is a setting of its own"),
        ("S3_BUCKET_NAME", "s3://dify-reports/x", "must be the bucket's name alone"),
        ("OSS_BUCKET_NAME", "dify-reports/x", "must be the bucket's name alone"),
        ("OSS_ENDPOINT", "https：//oss-cn-hangzhou.aliyuncs.com", "has the full-width character ："),
        ("S3_ENDPOINT", "http://127.0.0.1：9000", "has the full-width character ："),
        ("S3_ENDPOINT", "s3://dify-reports", "must begin with http:// or https://"),
        ("DIFY_BASE_URL", "http：//dify.example.com", "has the full-width character ："),
        ("PREFECT_API_URL", "http://127.0.0.1：4200/api", "has the full-width character ："),
        ("PREFECT_API_URL", "http://:4200/api", "names no host"),
        ("COZE_BASE_URL", "https://api.coze．cn", "has the full-width character ．"),
        ("API_CORS_ORIGINS", "https://pages.example.com：8443", "has the full-width character ："),
        ("WEBHOOK_URL", "https://example.com：8443/planted-secret", "has the full-width character ："),
        ("DINGTALK_WEBHOOK", "https://oapi.dingtalk.com:x/planted-secret", "a port that is not a number"),
        ("TASK_RUNNER", "dask:tcp://host:８７８６", "must be threads, dask, or dask:tcp://host:port"),
    ],
)
def test_an_address_of_the_wrong_shape_is_refused_by_its_name(
    problems: Problems, app: Variables, name: str, value: str, reason: str
) -> None:
    """One line, which names the variable and quotes no key."""
    (line,) = problems({**app, **MAIL, "SMTP_TO": "a@example.com", name: value})
    assert line.startswith(f"{name} in environment: ")
    assert reason in line
    assert "planted-secret" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_HOST", "::1"),
        ("SMTP_HOST", "mail_relay"),
        ("SMTP_SENDER", "流水账 <flow@example.com>"),
        ("API_HOST", "0.0.0.0"),
        ("OSS_ENDPOINT", "oss-cn-hangzhou.aliyuncs.com"),
        ("OSS_ENDPOINT", "https://oss-cn-hangzhou-internal.aliyuncs.com"),
        ("S3_ENDPOINT", "http://[::1]:9000"),
        ("S3_BUCKET_NAME", "arn:aws:s3:eu-west-1:123456789012:accesspoint/reports"),
    ],
)
def test_right_addresses_stay_as_they_are(load: Load, app: Variables, name: str, value: str) -> None:
    """What worked goes on working."""
    assert getattr(load({**app, "SMTP_TO": "a@example.com", name: value}), name.lower()) == value


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [
        ("OSS", "dify-reports.oss-cn-hangzhou.aliyuncs.com"),
        ("OSS", "https://dify-reports.oss-cn-hangzhou.aliyuncs.com"),
        ("S3", "https://dify-reports.s3.amazonaws.com"),
        ("S3", "http://127.0.0.1:9000/dify-reports"),
    ],
)
def test_an_endpoint_that_names_its_bucket_is_refused(
    problems: Problems, app: Variables, kind: str, endpoint: str
) -> None:
    """As a vendor's console shows it; the bucket would be looked for in itself."""
    (line,) = problems({**app, f"{kind}_ENDPOINT": endpoint, f"{kind}_BUCKET_NAME": "dify-reports"})
    assert line.startswith(f"{kind}_ENDPOINT in environment: names the bucket 'dify-reports' too")


def test_one_wrong_receiver_is_named_and_stops_no_run(tmp_path: Path, app: Variables) -> None:
    """config check names it; a run goes on, since the others must have their mail."""
    environ = {**app, **MAIL, "SMTP_TO": "a@example.com；admin", "DINGTALK_AT": "13800138000；somebody"}
    environ |= {"DINGTALK_WEBHOOK": "https://oapi.dingtalk.com/robot/send?access_token=x"}
    assert ConfigManager(tmp_path, environ).load().channels["email"].options["to"] == (
        "a@example.com",
        "admin",
    )
    assert checked(tmp_path, environ) == (
        "SMTP_TO in environment: 'admin' is not one mail address such as person@example.com",
        "DINGTALK_AT in environment: 'somebody' must be a mobile number such as 13800138000, or all",
    )


def test_one_key_under_two_apps_is_named(tmp_path: Path) -> None:
    """A slip of copy and paste: every run would be reported twice; the key itself is not quoted."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/settings.yaml").write_text(
        """
apps:
  - {name: sales, id: "11111111", base_url: "http://127.0.0.1:5001", api_token: app-SameKeyForBoth00001}
  - {name: support, id: "99999999", base_url: "http://127.0.0.1:5001", api_token: app-SameKeyForBoth00001}
""",
        "utf-8",
    )
    (line,) = checked(tmp_path, {})
    assert line.startswith(
        "apps[0].api_token in config/settings.yaml, apps[1].api_token in config/settings.yaml: the same key"
    )
    assert "SameKey" not in line


def test_a_copied_server_may_know_the_same_key(tmp_path: Path) -> None:
    """A staging server made from the production database has its keys; its runs are its own."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/settings.yaml").write_text(
        """
apps:
  - {name: live, id: "11111111", base_url: "http://127.0.0.1:5001", api_token: app-SameKeyForBoth00001}
  - {name: staging, id: "99999999", base_url: "http://127.0.0.1:5002", api_token: app-SameKeyForBoth00001}
""",
        "utf-8",
    )
    assert checked(tmp_path, {}) == ()


def test_half_a_key_of_s3_is_named(tmp_path: Path, app: Variables) -> None:
    """Else the keys of the machine would be used in the place of both."""
    environ = {**app, "STORAGE_TYPE": "s3", "S3_BUCKET_NAME": "b", "S3_ACCESS_KEY_ID": "k"}
    (line,) = checked(tmp_path, environ)
    assert line.startswith("S3_SECRET_ACCESS_KEY is not set: S3_ACCESS_KEY_ID in environment needs it")


@pytest.mark.parametrize("home", ["$HOME", "${HOME}"])
def test_home_is_put_into_every_path(tmp_path: Path, app: Variables, home: str) -> None:
    """As a shell and ``~`` do it: one ledger, wherever a command is started from."""
    house = tmp_path / "house"
    house.mkdir()
    (house / "ca.pem").write_text("x", "utf-8")
    (house / "key").write_text("a-secret-password", "utf-8")
    (house / "key").chmod(0o644)
    folders = ["OUTPUT_BASE_DIR", "LOG_DIR", "TEMPLATE_DIR", "RECORDS_LOG_DIR", "RECORDS_LEGACY_DIR"]
    paths = {name: f"{home}/{name.lower()}" for name in folders}
    texts = {**paths, "DIFY_CA_BUNDLE": f"{home}/ca.pem", "SMTP_PASSWORD": f"file:{home}/key"}
    (tmp_path / ".env").write_text(
        "\n".join(f"{key}={value}" for key, value in {**app, **texts}.items()), "utf-8"
    )
    inspection = ConfigManager(tmp_path, {"HOME": str(house)}).inspect()
    settings = inspection.settings
    assert {name: getattr(settings, name.lower()) for name in folders} == {
        name: house / name.lower() for name in folders
    }
    assert settings.dify_ca_bundle == house / "ca.pem"
    assert settings.smtp_password == SecretStr("a-secret-password")
    assert settings.ledger_url.get_secret_value() == f"sqlite:///{house}/output_base_dir/ledger.db"
    assert list(readable_secret_files(inspection.reading, tmp_path)) == [house / "key"]
    for url in (f"sqlite:///{home}/x.db", f"file://{home}/x"):
        manager = ConfigManager(tmp_path, {"HOME": str(house), "LEDGER_URL": url})
        assert str(house) in manager.load().ledger_url.get_secret_value()


def test_a_path_of_a_variable_that_is_not_set_is_refused(problems: Problems, app: Variables) -> None:
    """Rather than a folder of that name, with a ledger of its own."""
    (line,) = problems({**app, "OUTPUT_BASE_DIR": "$NOWHERE/reports"})
    assert (
        line == "OUTPUT_BASE_DIR in environment: names $NOWHERE, which is not set here: write the whole path"
    )


def test_where_settings_were_looked_for_is_in_the_message(tmp_path: Path) -> None:
    """A cron job starts in another folder than the person who set it up."""
    place = re.escape(f"{tmp_path} (.env is not there, config/settings.yaml is not there)")
    with pytest.raises(SettingsError, match=f"DIFY_BASE_URL is not set(.|\n)*looked for in {place}"):
        ConfigManager(tmp_path, {}).load()
    with pytest.raises(UsageError, match=f"no app is configured.*looked for in {place}"):
        ConfigManager(tmp_path, {}).load(need_app=False).app()


@pytest.mark.parametrize(
    ("variables", "library"),
    [
        ({"STORAGE_TYPE": "s3", "S3_BUCKET_NAME": "b"}, "boto3"),
        ({"STORAGE_TYPE": "oss", "OSS_BUCKET_NAME": "b"}, "oss2"),
        ({"TASK_RUNNER": "dask"}, "prefect-dask"),
        ({"RUN_RETENTION_DAYS": "90"}, "pyarrow"),
    ],
)
def test_a_library_that_is_not_installed_is_a_setting_to_mend(
    problems: Problems, app: Variables, monkeypatch: pytest.MonkeyPatch, variables: Variables, library: str
) -> None:
    """Told before anything is collected."""
    monkeypatch.setattr("flowledger.settings.validators.find_spec", lambda _: None)
    lines = problems({**app, **variables})
    assert re.search(rf"needs? {library}, which is not installed: scripts/setup --all installs it", lines[0])
