"""Settings: one frozen, typed value made of arguments, environment, ``.env`` and ``config/settings.yaml``."""

from flowledger.settings.config import ConfigManager
from flowledger.settings.model import AppSettings, Settings

__all__ = ["AppSettings", "ConfigManager", "Settings"]
