"""The settings, the clock, the program's log: what everything else is built with."""

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loguru import logger
from pydantic import SecretStr

from flowledger.domain.runs import AppKey
from flowledger.domain.windows import zone
from flowledger.errors import StorageError, UsageError
from flowledger.io.scratch import provide_scratch
from flowledger.services.log_files import LogPlan, log_context, logging_to, restrict_umask, rotation_of
from flowledger.services.secret_masking import redacted_errors, register_secrets
from flowledger.settings import AppSettings, ConfigManager, Inspection, Settings

DEFAULT_ZONE = zone("Asia/Shanghai")
LEDGER_SETTINGS = ("LEDGER_URL", "OUTPUT_BASE_DIR")
MEMORY_LEDGER = "memory://"


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Clock:
    """The clock of the program; ``utc_now`` returns the present, aware, in UTC."""

    utc_now: Callable[[], datetime] = _utc_now
    """A field, so that tests can set another clock for the whole program."""


clock = Clock()
_configuration: ContextVar[ConfigManager | None] = ContextVar("configuration", default=None)


@contextmanager
def configured(reader: ConfigManager) -> Iterator[None]:
    """Read settings with another reader than that of the working directory and environment, for a while."""
    token = _configuration.set(reader)
    try:
        yield
    finally:
        _configuration.reset(token)


def manager() -> ConfigManager:
    """Return the reader of the settings in force."""
    return _configuration.get() or ConfigManager()


def load_settings(*, need_app: bool = True) -> Settings:
    """Return the settings, from the working directory and the environment unless ``configured`` otherwise.

    :raises SettingsError: with a line for everything that is wrong.
    """
    settings = manager().load(need_app=need_app)
    with suppress(StorageError):  # ``check_machine`` raises it where scratch files are needed
        provide_scratch(settings.output_base_dir)
    register_secrets(secret.get_secret_value() for secret in settings.secrets())
    return settings


def inspect_settings(*, need_app: bool = True) -> Inspection:
    """Return the settings with where each value came from.

    :raises SettingsError: with a line for everything that is wrong.
    """
    inspection = manager().inspect(need_app=need_app)
    register_secrets(secret.get_secret_value() for secret in inspection.settings.secrets())
    return inspection


def rescued_settings() -> Settings:
    """Return the settings as far as they are right, for notifications, which must go out even then.

    What is wrong is logged.
    """
    inspection = manager().examine(need_app=False)
    register_secrets(secret.get_secret_value() for secret in inspection.settings.secrets())
    for line in inspection.problems:
        logger.error("settings need attention: {}", line)
    return rescued(inspection)


def rescued(inspection: Inspection) -> Settings:
    """Return the settings as far as they are right; with a ledger in memory where its URL is wrong.

    A default in its place would create a ledger that nobody looks for.
    """
    settings = inspection.settings
    if inspection.is_wrong(*LEDGER_SETTINGS):
        return settings.model_copy(update={"ledger_url": SecretStr(MEMORY_LEDGER)})
    return settings


def secret_keys() -> tuple[SecretStr, ...]:
    """Return the keys of encrypted settings, newest first.

    :raises SettingsError: when a key file cannot be read.
    """
    return manager().keys()


def settings_root() -> Path:
    """Return the folder that holds the files of settings."""
    return manager().root


@contextmanager
def kept_logs(settings: Settings, app: AppSettings | None = None) -> Iterator[None]:
    """Write the log as the settings have it, lines with the app's name; errors leave without secrets.

    :raises SettingsError: when LOG_DIR cannot be written.
    """
    plan = LogPlan(
        settings.log_dir,
        settings.log_level,
        settings.log_retention_days,
        settings.log_target,
        rotation_of(settings.log_rotation),
        zone(settings.timezone),
    )
    restrict_umask()  # here too: a scheduled run does not start at the command line
    names = {"app": app.name, "app_id": app.id} if app else {}
    with redacted_errors(), logging_to(plan), log_context(**names):
        yield


def user_name() -> str:
    """Return the name of the user who runs this, for the audit log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def app_key(settings: Settings, text: str) -> AppKey:
    """Return the key of an app: one of the settings by name or id, or any other as source:id.

    :raises UsageError: with how to write it.
    """
    for app in settings.apps:
        if text in (app.name, app.id):
            return app.key
    source, colon, app_id = text.partition(":")
    if not (source and colon and app_id):
        names = ", ".join(app.name for app in settings.apps) or "none in the settings"
        raise UsageError(f"unknown app {text!r:.200}: one of {names}, or source:id, such as log:my-workflow")
    return AppKey(source, app_id)
