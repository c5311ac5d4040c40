"""The runs of Coze workflows that the API streams, from settings."""

from flowledger.coze.client import CozeClient
from flowledger.domain.record_checks import MEBIBYTE
from flowledger.ports import Ledger
from flowledger.services.stream_records import ExecutionRecords
from flowledger.services.streaming import StreamLimits, Streams
from flowledger.settings import Settings
from flowledger.wiring import clock

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
