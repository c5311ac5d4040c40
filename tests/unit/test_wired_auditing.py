"""What changes in settings is on record by name, without values."""

from pathlib import Path

import pytest

from flowledger import bootstrap
from flowledger.bootstrap.auditing import record_act, record_settings
from flowledger.domain.operations import Operation

GIVEN = "DIFY_BASE_URL=http://127.0.0.1:1\nDIFY_API_TOKEN=app-abc\nDIFY_APP_ID=app-1\nLINK_HOURS=71\n"


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(GIVEN)
    return tmp_path / ".env"


def trail() -> list[Operation]:
    """Give what is on record, oldest first."""
    with bootstrap.opened_ledger(bootstrap.load_settings()) as ledger:
        return list(ledger.operations())[::-1]


def test_settings_are_recorded_when_they_change(env: Path) -> None:
    """The first time all are counted, later only what changed is named; unchanged ones leave nothing."""
    record_settings()
    record_settings()
    (first,) = trail()
    assert first.data["recorded"] == len(first.data["hashes"])  # type: ignore[arg-type]
    env.write_text(GIVEN.replace("71", "70") + "SMTP_PASSWORD=hush-hush\n")
    (env.parent / "config").mkdir()
    (env.parent / "config/deployments.yaml").write_text("custom_report: {enabled: false}\n")
    record_settings()
    _, second = trail()
    assert second.data["changed"] == ["LINK_HOURS", "SMTP_PASSWORD"]
    assert second.data["removed"]
    assert (second.operation_type, second.user) == ("CONFIG", bootstrap.user_name())
    assert "hush" not in str(second.data)
    assert "app-abc" not in str(second.data)


@pytest.mark.usefixtures("env")
def test_an_act_is_recorded_with_its_user() -> None:
    """Whoever runs a command is named."""
    record_act("UPLOAD", "storage", {"sent": 2})
    (operation,) = trail()
    assert (operation.operation_type, operation.user) == ("UPLOAD", bootstrap.user_name())
