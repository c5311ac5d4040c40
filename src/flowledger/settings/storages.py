"""Options of the chosen storage, taken from the settings by the fields of its registered class."""

from collections.abc import Mapping
from typing import Any

from flowledger.settings.options import checked_options, options_model

COMMON: Mapping[str, str] = {"root": "output_base_dir", "prefix": "storage_prefix"}
"""Option of a storage → field of ``Settings`` that is the same for all storages."""


def storage_field(storage: str, option: str) -> str:
    """Name the field of ``Settings`` that holds an option of a storage."""
    return COMMON.get(option, f"{storage}_{option}")


def storage_options(storage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options that are set, typed.

    :raises ValidationError: with a line for each that is missing or wrong, by name of the option.
    """
    fields = options_model("storage", storage).model_fields
    found = {option: settings.get(storage_field(storage, option)) for option in fields}
    return checked_options(
        "storage", storage, {name: value for name, value in found.items() if value is not None}
    )
