"""Settings, and what is kept of what the program says."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from loguru import logger
from pydantic import SecretStr

from flowledger.domain.windows import zone
from flowledger.services.log_files import LogPlan, log_context, logging_to, restrict_umask, rotation_of
from flowledger.services.secret_masking import redacted_errors, register_secrets
from flowledger.settings import AppSettings, ConfigManager, Inspection, Settings

DEFAULT_ZONE = zone("Asia/Shanghai")
LEDGER_PLACES = ("LEDGER_URL", "OUTPUT_BASE_DIR")
NOWHERE = "memory://"

_configuration: ContextVar[ConfigManager | None] = ContextVar("configuration", default=None)


@contextmanager
def configured(reader: ConfigManager) -> Iterator[None]:
    """Read settings from another place than the working directory and environment, for a while."""
    token = _configuration.set(reader)
    try:
        yield
    finally:
        _configuration.reset(token)


def manager() -> ConfigManager:
    """Give what reads the settings now."""
    return _configuration.get() or ConfigManager()


def load_settings(*, need_app: bool = True) -> Settings:
    """Read the settings, of the working directory and the environment where nothing else is configured.

    :raises SettingsError: with a line for everything that is wrong.
    """
    settings = manager().load(need_app=need_app)
    register_secrets(secret.get_secret_value() for secret in settings.secrets())
    return settings


def inspect_settings(*, need_app: bool = True) -> Inspection:
    """Read the settings with where each value came from.

    :raises SettingsError: with a line for everything that is wrong.
    """
    inspection = manager().inspect(need_app=need_app)
    register_secrets(secret.get_secret_value() for secret in inspection.settings.secrets())
    return inspection


def rescued_settings() -> Settings:
    """Read the settings as far as they are right: to tell people of trouble, which cannot wait.

    What is wrong is logged.
    """
    inspection = manager().examine(need_app=False)
    register_secrets(secret.get_secret_value() for secret in inspection.settings.secrets())
    for line in inspection.problems:
        logger.error("settings need attention: {}", line)
    return rescued(inspection)


def rescued(inspection: Inspection) -> Settings:
    """Give the settings as far as they are right; where the ledger's place is not, no other is taken."""
    settings = inspection.settings
    if inspection.is_wrong(*LEDGER_PLACES):
        return settings.model_copy(update={"ledger_url": SecretStr(NOWHERE)})
    return settings


def secret_keys() -> tuple[SecretStr, ...]:
    """Give the keys of encrypted settings, newest first.

    :raises SettingsError: when a key file cannot be read.
    """
    return manager().keys()


def settings_root() -> Path:
    """Give the folder that holds the files of settings."""
    return manager().root


@contextmanager
def kept_logs(settings: Settings, app: AppSettings | None = None) -> Iterator[None]:
    """Keep what is logged as the settings say, as lines of an app; errors leave without secrets.

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
    restrict_umask()  # here too: a scheduled run does not begin at the command line
    names = {"app": app.name, "app_id": app.id} if app else {}
    with redacted_errors(), logging_to(plan), log_context(**names):
        yield


def user_name() -> str:
    """Name who runs this, for the audit trail."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
