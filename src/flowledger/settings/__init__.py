"""Settings: one frozen, typed value from arguments, environment, ``.env`` and ``config/settings.yaml``."""

from flowledger.settings.apps import AppSettings
from flowledger.settings.config import ConfigManager, Inspection
from flowledger.settings.model import Settings
from flowledger.settings.options import ChannelSettings

__all__ = ["AppSettings", "ChannelSettings", "ConfigManager", "Inspection", "Settings"]
