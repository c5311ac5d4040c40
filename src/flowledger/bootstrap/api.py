"""What the HTTP API stands on, opened from settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

from flowledger.bootstrap import clock
from flowledger.bootstrap.ledgers import opened_ledger
from flowledger.bootstrap.stores import check_storage, open_store, storage_prefixes
from flowledger.coze.client import CozeClient
from flowledger.domain.record_checks import MEBIBYTE
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import zone
from flowledger.ports import Ledger
from flowledger.services.stream_records import ExecutionRecords
from flowledger.services.streaming import StreamLimits, Streams
from flowledger.settings import Settings
from flowledger.storage.service import StorageService


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


OUTPUT_MB = 4


def open_streams(settings: Settings, records: ExecutionRecords, ledger: Ledger) -> Streams | None:
    """Give what runs workflows in Coze and keeps their ``records``, over ``ledger``; None without a token."""
    if settings.coze_api_token is None:
        return None
    client = CozeClient(settings.coze_base_url, settings.coze_api_token)
    # Half of what a record may have: the rest is for parameters.
    output_bytes = int(min(OUTPUT_MB, settings.records_max_mb / 2) * MEBIBYTE)
    return Streams(
        prepare=client.prepare,
        records=records,
        ledger=ledger,
        clock=lambda: clock.utc_now(),  # noqa: PLW0108  tests put another clock there
        limits=StreamLimits(output_bytes=output_bytes),
    )
