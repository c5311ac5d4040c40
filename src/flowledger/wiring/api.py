"""What the HTTP API stands on, opened from settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

from flowledger.domain.runs import AppKey
from flowledger.domain.windows import zone
from flowledger.ports import Ledger
from flowledger.settings import Settings
from flowledger.storage.service import StorageService
from flowledger.wiring.ledgers import opened_ledger
from flowledger.wiring.stores import check_storage, open_store, storage_prefixes


@dataclass(frozen=True, slots=True)
class ApiParts:
    """The ledger, the configured apps by name, and each storage of reports with the apps that use it."""

    ledger: Ledger
    names: Mapping[AppKey, str]
    tz: ZoneInfo
    open_for: timedelta
    stores: Sequence[tuple[StorageService, tuple[AppKey, ...]]]
    look_at_storage: partial[str]


@contextmanager
def open_api_parts(settings: Settings) -> Iterator[ApiParts]:
    """Open all of it, and close the ledger at the end."""
    with opened_ledger(settings) as ledger:
        yield ApiParts(
            ledger=ledger,
            names={app.key: app.name for app in settings.apps},
            tz=zone(settings.timezone),
            open_for=settings.stuck_after,
            stores=[_store(settings, prefix) for prefix in storage_prefixes(settings)],
            look_at_storage=partial(check_storage, settings),
        )


def _store(settings: Settings, prefix: str) -> tuple[StorageService, tuple[AppKey, ...]]:
    apps = tuple(app.key for app in settings.apps if app.storage_prefix == prefix)
    return open_store(settings, prefix=prefix), apps
