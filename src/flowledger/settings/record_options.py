"""What the record services can be given, typed; the settings say the rest."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError

from flowledger.errors import SettingsError
from flowledger.settings.model import Settings
from flowledger.settings.types import AtLeastOne, Folder, FolderName, Frozen, NotEmpty, ZoneName
from flowledger.settings.validators import check_ledger_url

_SETTINGS: Mapping[str, str] = {
    "storage_type": "records_storage_type",
    "log_dir": "records_log_dir",
    "workflow_execution_dir": "records_execution_dir",
    "workflow_operation_dir": "records_operation_dir",
    "max_log_entries": "records_max_entries",
    "enable_operation_logging": "records_operation_logging",
    "enable_execution_logging": "records_execution_logging",
    "log_retention_days": "records_retention_days",
    "max_record_mb": "records_max_mb",
    "legacy_dir": "records_legacy_dir",
    "timezone": "timezone",
    "ledger_url": "ledger_url",
}
"""Option → the field of ``Settings`` that it comes from."""


class RecordOptions(Frozen):
    """Options of ``LogService`` and ``ExecutionHistoryService`` by their own names; folders are absolute.

    ``timezone`` is that of times without one.
    """

    storage_type: NotEmpty
    log_dir: Folder
    workflow_execution_dir: FolderName
    workflow_operation_dir: FolderName
    max_log_entries: AtLeastOne
    enable_operation_logging: bool
    enable_execution_logging: bool
    log_retention_days: AtLeastOne
    max_record_mb: Annotated[float, Field(gt=0, le=1024)]
    legacy_dir: Folder | None
    timezone: ZoneName
    ledger_url: Annotated[SecretStr, AfterValidator(check_ledger_url)]


def record_options(settings: Settings, given: Mapping[str, Any]) -> RecordOptions:
    """Give the options of the settings, those that are given before them.

    :raises SettingsError: with a line for each that is unknown or wrong; no value is quoted.
    """
    said = {name: getattr(settings, field) for name, field in _SETTINGS.items()}
    try:
        return RecordOptions(**{**said, **given})
    except ValidationError as error:
        raise SettingsError([_line(detail) for detail in error.errors(include_url=False)]) from None


def _line(detail: Mapping[str, Any]) -> str:
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"{name} is no option of the record services: one of {', '.join(_SETTINGS)}"
    return f"{name}: {str(detail['msg']).removeprefix('Value error, ')}"
