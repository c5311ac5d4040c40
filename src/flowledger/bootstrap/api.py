"""What only the HTTP API needs, opened from settings: its stores of reports, and runs streamed from Coze."""

from collections.abc import Sequence
from dataclasses import dataclass

from flowledger.bootstrap.configuration import clock
from flowledger.bootstrap.stores import open_store, storage_prefixes
from flowledger.coze.client import CozeClient
from flowledger.domain.record_checks import MEBIBYTE
from flowledger.domain.runs import AppKey
from flowledger.ports import Ledger
from flowledger.services.stream_records import ExecutionRecords
from flowledger.services.streaming import StreamLimits, Streams
from flowledger.settings import Settings
from flowledger.storage.service import StorageService

OUTPUT_MB = 4
"""Default bound of a streamed run's output; MiB."""


@dataclass(frozen=True, slots=True)
class ReportStore:
    """A storage of reports below one prefix, and the apps whose reports go there."""

    storage: StorageService
    apps: Sequence[AppKey] = ()


def report_stores(settings: Settings) -> Sequence[ReportStore]:
    """Open the storage of reports once for each prefix that the settings and their apps name."""
    return [
        ReportStore(
            open_store(settings, prefix=prefix),
            tuple(app.key for app in settings.apps if app.storage_prefix == prefix),
        )
        for prefix in storage_prefixes(settings)
    ]


def open_streams(settings: Settings, records: ExecutionRecords, ledger: Ledger) -> Streams | None:
    """Return what runs workflows in Coze and writes their ``records``; None without a token of Coze."""
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
