"""When a failed run is tried again: for what may pass, as often as set, never for a refused key."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest

from flowledger.errors import (
    AuthenticationError,
    LedgerError,
    LedgerVersionError,
    LoginLockedError,
    SchedulerError,
    SettingsError,
    SourceBusyError,
    SourceRefusedError,
    SourceUnreachableError,
    StorageRefusedError,
    StorageUnavailableError,
    UsageError,
)
from flowledger.services.retries import FailedTry, may_pass, next_delay, tries_of

DELAYS = [timedelta(minutes=each) for each in (1, 5, 15, 30)]
PASSING = [
    SourceUnreachableError("dify.example.com does not answer"),
    SourceBusyError("502", status=502),
    StorageUnavailableError("the bucket does not answer"),
    LedgerError("the database is away"),
    SchedulerError("Prefect does not answer"),
    httpx.ConnectError("refused"),
    ConnectionResetError(),
    TimeoutError(),
]
LASTING = [
    AuthenticationError("401"),
    LoginLockedError("locked"),
    SettingsError(["DIFY_API_TOKEN is missing"]),
    SourceRefusedError("404", status=404),
    StorageRefusedError("no such bucket"),
    LedgerVersionError("newer"),
    UsageError("unknown period"),
    TypeError("a defect"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_what_may_pass_is_tried_again_after_longer_and_longer_waits(error: Exception) -> None:
    """After 1, 5, 15 and 30 minutes; the fifth try is the last."""
    assert may_pass(error)
    assert [next_delay(error, DELAYS, tries) for tries in (1, 2, 3, 4, 5)] == [*DELAYS, None]
    assert next_delay(error, [], 1) is None


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_what_a_person_has_to_mend_is_not_tried_again(error: Exception) -> None:
    """A refused key offered again locks accounts, and a wrong setting stays wrong."""
    assert not may_pass(error)
    assert next_delay(error, DELAYS, 1) is None


def test_what_was_tried_is_named_by_its_time_of_day() -> None:
    """In the zone of the app, on one line each."""
    failed = [FailedTry(datetime(2026, 11, 21, 18, 0, tzinfo=UTC), "no answer\nfrom dify.example.com")]
    (row,) = tries_of(failed, ZoneInfo("Asia/Shanghai"))
    assert row["at"] == "02:00"
    assert row["error"] == "no answer from dify.example.com"
