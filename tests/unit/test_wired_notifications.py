"""What settings make of notifications: who is told of which app, in whose language, from which storage."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from flowledger import bootstrap
from flowledger.bootstrap import notifications
from flowledger.domain.runs import AppKey
from flowledger.errors import StorageError
from flowledger.notify.notices import BareLinks
from flowledger.notify.service import NotificationService
from flowledger.services.report_requests import RunAttempt, RunOrder
from flowledger.settings import ConfigManager, Settings

YAML = """
report_language: en
ledger_url: "{ledger}"
notification_attach_mb: 0.5
channels:
  ops: {{type: dingtalk, webhook: "http://127.0.0.1:9/robot"}}
  boss: {{type: email, host: 127.0.0.1, to: boss@example.com, security: none}}
apps:
  - {{id: app-1, name: sales, base_url: "http://127.0.0.1:9", api_token: app-simulated, channels: [ops]}}
  - {{id: app-2, name: hr, base_url: "http://127.0.0.1:9", api_token: app-simulated, language: zh,
     timezone: UTC, channels: [boss], storage_prefix: hr-reports}}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two apps with a channel each."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/settings.yaml").write_text(YAML.format(ledger="memory://"), "utf-8")
    return ConfigManager(tmp_path, {}).load()


def opened(settings: Settings, order: RunOrder) -> NotificationService:
    """Give the service as it is while it is open."""
    with notifications.open_notifications(
        settings, order, RunAttempt("run-1", "http://127.0.0.1:9/runs/1")
    ) as service:
        return service


def test_an_app_is_told_through_its_own_channels(settings: Settings) -> None:
    """In its language and zone; all channels are at hand, since letters of others may wait."""
    service = opened(settings, RunOrder(app="hr"))
    assert service.notified == ("boss",)
    assert set(service.addressees) == {"ops", "boss"}
    assert service.addressees["ops"].type == "dingtalk"
    subject = service.subject
    assert (subject.app, subject.app_name, subject.language) == (AppKey("dify", "app-2"), "hr", "zh")
    assert (str(subject.tz), subject.run_id, subject.run_url) == ("UTC", "run-1", "http://127.0.0.1:9/runs/1")


@pytest.mark.parametrize("app", [None, "gone"])
def test_of_an_unknown_app_everyone_is_told(settings: Settings, app: str | None) -> None:
    """That it is not known may be why the run failed; it is not taken for another one."""
    service = opened(settings, RunOrder(app=app))
    assert service.notified == ("ops", "boss")
    assert (service.subject.app, service.subject.app_name) == (None, app or "")


def test_switched_off_nobody_is_told(settings: Settings) -> None:
    """And nothing that waits is sent."""
    off = settings.model_copy(update={"notification_enabled": False})
    service = opened(off, RunOrder(app="hr"))
    assert (service.notified, dict(service.addressees)) == ((), {})


def test_files_come_from_the_apps_own_storage(settings: Settings, tmp_path: Path) -> None:
    """Below its prefix, or in the folder that an order names; the limit counts in megabytes."""
    links = notifications.open_report_links(settings, settings.app("hr"), None)
    assert (links.storage, links.most_bytes) == ("hr-reports", 500_000)
    assert "hr-reports" in links.backend.location("reports/a.csv")
    assert links.opened("hr-reports").location("a") == links.backend.location("a")
    elsewhere = notifications.open_report_links(settings, settings.app("hr"), str(tmp_path / "out"))
    assert elsewhere.backend.location("a") == str(tmp_path / "out" / "a")
    assert elsewhere.opened(elsewhere.storage).location("a") == elsewhere.backend.location("a")


def test_without_a_ledger_messages_cannot_wait(settings: Settings, tmp_path: Path) -> None:
    """The service is there all the same."""
    (tmp_path / "ledger.db").write_text("not a database, but long enough to be looked at " * 100)
    broken = settings.model_copy(update={"ledger_url": SecretStr(f"sqlite:///{tmp_path}/ledger.db")})
    assert opened(broken, RunOrder(app="sales")).outbox is None
    assert opened(settings, RunOrder(app="sales")).outbox is not None


def rescued(tmp_path: Path, **wrong: str) -> Settings:
    """Read the settings of the folder with something wrong in them."""
    with bootstrap.configured(ConfigManager(tmp_path, wrong)):
        return bootstrap.rescued_settings()


def test_broken_settings_still_say_who_is_told(settings: Settings, tmp_path: Path) -> None:
    """A wrong zone or a storage that lacks its bucket keeps nobody from hearing of it."""
    service = opened(rescued(tmp_path, TIMEZONE="Mars/Olympus", STORAGE_TYPE="s3"), RunOrder(app="hr"))
    assert service.notified == opened(settings, RunOrder(app="hr")).notified
    assert isinstance(service.report_links, BareLinks)


def test_a_ledger_in_a_wrong_place_is_not_made_in_another(settings: Settings, tmp_path: Path) -> None:
    """A file beside the reports would hide that the letters in it are never sent."""
    found = rescued(tmp_path, LEDGER_URL="nowhere at all")
    assert found.ledger_url.get_secret_value() == "memory://"
    assert found.app("hr").channels == settings.app("hr").channels


def test_a_channel_that_is_wrong_keeps_the_others(settings: Settings, tmp_path: Path) -> None:
    """Of an app that has no other, those of the other apps hear."""
    file = tmp_path / "config/settings.yaml"
    file.write_text(file.read_text("utf-8").replace("type: dingtalk", "type: pigeon"), "utf-8")
    service = opened(rescued(tmp_path), RunOrder(app="sales"))
    assert (set(service.addressees), service.notified) == ({"boss"}, ("boss",))


def test_a_storage_that_cannot_be_opened_keeps_nobody_from_hearing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be why the run failed."""

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("left-over files cannot be kept")

    monkeypatch.setattr(notifications, "open_store_again", refuse)
    assert isinstance(opened(settings, RunOrder(app="hr")).report_links, BareLinks)
