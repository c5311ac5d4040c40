"""When a run that failed is tried again, which errors may pass by waiting, and what was tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from flowledger import errors
from flowledger.domain.runs import Json
from flowledger.domain.texts import clip, one_line

LONGEST_REASON = 600


def may_pass(error: BaseException) -> bool:
    """Return whether waiting may mend what failed: a server that restarts, but no refused key or setting.

    Of errors that are not ours only those of connections and files are such; a defect stays one.
    """
    if isinstance(error, errors.FlowledgerError):
        passing = (
            errors.RetriableError,
            errors.StorageUnavailableError,
            errors.SchedulerError,
            errors.LedgerError,
        )
        return isinstance(error, passing) and not isinstance(error, errors.LedgerVersionError)
    # By name, since this layer knows no HTTP client: httpx.ConnectError and its like.
    names = {each.__name__ for each in type(error).__mro__}
    return isinstance(error, OSError) or "TransportError" in names


def next_delay(error: BaseException, delays: Sequence[timedelta], tries: int) -> timedelta | None:
    """Return how long to wait before the next try; None where there is none.

    ``tries`` counts those that have failed, this one too.
    """
    if not may_pass(error) or not 1 <= tries <= len(delays):
        return None
    return delays[tries - 1]


@dataclass(frozen=True, slots=True)
class FailedTry:
    """A try that failed: when (aware), and why."""

    at: datetime
    reason: str


def tries_of(failed: Sequence[FailedTry], tz: tzinfo) -> Sequence[Mapping[str, Json]]:
    """Return the tries as a notice has them, with the time of day in a zone."""
    return [
        {"at": each.at.astimezone(tz).strftime("%H:%M"), "error": clip(one_line(each.reason), LONGEST_REASON)}
        for each in failed
    ]
