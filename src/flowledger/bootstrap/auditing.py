"""The audit log of commands: what was done and changed, and by whom."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from flowledger.bootstrap.configuration import clock, inspect_settings, load_settings, user_name
from flowledger.bootstrap.ledgers import opened_ledger
from flowledger.bootstrap.schedules import load_schedules
from flowledger.domain.history import OperationQuery
from flowledger.domain.operations import Operation, differences, fingerprints
from flowledger.domain.runs import AppKey, Json
from flowledger.ports import Ledger
from flowledger.settings import Settings
from flowledger.settings.config import effective_settings

CONFIG = "CONFIG"
SETTINGS = "settings"


def record_act(
    operation_type: str,
    subject: str,
    data: Mapping[str, Json],
    *,
    settings: Settings | None = None,
    app: AppKey | None = None,
) -> None:
    """Append an operation of the user who runs this to the ledger of the settings."""
    with opened_ledger(settings or load_settings(need_app=False)) as ledger:
        _append(ledger, operation_type, subject, data, app)


def record_settings() -> None:
    """Record what changed in settings, apps, channels and schedules since they were last recorded.

    The record has names and a hash of each value; of a secret, only whether and where it is set.
    """
    inspection = inspect_settings(need_app=False)
    values: dict[str, Json] = {
        row.name: [row.value, row.origin] for row in effective_settings(inspection)
    } | {f"schedules.{key}": each.model_dump(mode="json") for key, each in load_schedules().items()}
    hashes = fingerprints(values)
    with opened_ledger(inspection.settings) as ledger:
        query = OperationQuery(types=(CONFIG,), subject=SETTINGS)
        last: Any = next((each.data.get("hashes") for each in ledger.operations(query, limit=1)), None)
        changed = differences(last if isinstance(last, dict) else {}, hashes)
        if changed:
            # The first time everything is new: a number says that better than a list of all settings.
            summary = changed if last else {"recorded": len(hashes)}
            _append(ledger, CONFIG, SETTINGS, {**summary, "hashes": hashes}, None)


def _append(
    ledger: Ledger, operation_type: str, subject: str, data: Mapping[str, Json], app: AppKey | None
) -> None:
    operation_id = f"{operation_type.lower()}-{uuid4().hex}"
    at = clock.utc_now()
    ledger.record(Operation(operation_id, operation_type, at, user_name(), app, subject, dict(data)))
