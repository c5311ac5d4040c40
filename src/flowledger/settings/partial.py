"""Settings as they would be without the wrong values, so that more can be checked at once."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from flowledger.settings.apps import AppSettings
from flowledger.settings.channels import variable_field
from flowledger.settings.model import Settings
from flowledger.settings.references import Way
from flowledger.settings.sources import APPS, CHANNELS

STAND_INS = {"id": "unknown-{}", "base_url": "http://unknown.invalid", "api_token": "stands-in-for-no-token"}
"""The token counts as a secret and is hidden wherever it is said, so it is nobody's word."""


def salvage(values: Mapping[str, Any], error: ValidationError) -> Settings:
    """Give the settings as they would be without the wrong values."""
    ways = {detail["loc"] for detail in error.errors(include_url=False, include_input=False)}
    wrong = {way[0] for way in ways}
    kept = {name: value for name, value in values.items() if name not in wrong}
    apps, channels = values.get(APPS), values.get(CHANNELS)
    if APPS in wrong and isinstance(apps, list):
        kept[APPS] = [_mended(app, index, {way[:3] for way in ways}) for index, app in enumerate(apps)]
    if CHANNELS in wrong:
        bad = {str(way[1]) for way in ways if way[0] == CHANNELS and len(way) > 1}
        listed = channels if isinstance(channels, Mapping) else {}
        kept[CHANNELS] = {name: each for name, each in listed.items() if name not in bad}
        starts = ("NOTIFICATION_TYPE", *(variable_field(name, "").upper() for name in bad))
        kept = {name: value for name, value in kept.items() if not name.startswith(starts)}
    try:
        return Settings(**kept)
    except ValidationError as again:
        return salvage(kept, again) if kept != values else Settings()


def is_stand_in(app: AppSettings) -> bool:
    """Tell whether an app has a stand-in for an address or a key, so that nothing is to be asked of it."""
    return app.base_url == STAND_INS["base_url"] or app.api_token.get_secret_value() == STAND_INS["api_token"]


def _mended(app: object, index: int, ways: Collection[Way]) -> object:
    """Give an app without its wrong fields, with a stand-in for what it cannot do without."""
    given = app if isinstance(app, dict) else {}
    fit = {field: value for field, value in given.items() if (APPS, index, field) not in ways}
    return {field: text.format(index) for field, text in STAND_INS.items()} | fit
