"""Fill due reports one after another, each under a key that makes twice once, and say what became of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from loguru import logger

from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import iso
from flowledger.errors import FlowledgerError, UsageError
from flowledger.services.catching_up import Cadence, Due

BACKFILL, CATCH_UP = "BACKFILL", "CATCH_UP"


class Fate(StrEnum):
    """What became of a due report."""

    PLANNED = "would run"
    CREATED = "created"
    DONE = "done"
    UNPROVED = "NOT certified"
    HELD = "already there"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Filled:
    """A due report and what became of it; ``detail`` is for people."""

    due: Due
    fate: Fate
    detail: str = ""


def backfill_key(app: AppKey, cadence: Cadence, due: Due, again: datetime | None = None) -> str:
    """Give the idempotency key of a back-filled run: twice is once, unless it is wanted again."""
    key = f"backfill-{app.app_id}-{cadence.key}-{due.period.days.first}"
    return f"{key}-{again:%Y%m%dT%H%M%S%f}" if again else key


def catch_up_key(app: AppKey, cadence: Cadence, due: Due, day: date) -> str:
    """Give the idempotency key of a run that catches up: one try a day and period."""
    return f"catch-up-{app.app_id}-{cadence.key}-{due.period.days.first}-{day}"


def fill_each(dues: Iterable[Due], fill: Callable[[Due], Filled]) -> Iterator[Filled]:
    """Fill one after another; one that fails does not stop the others."""
    for due in dues:
        try:
            yield fill(due)
        except UsageError:
            # Wrong words are wrong for all of them.
            raise
        except FlowledgerError as error:
            logger.error("{} ({}): {}", due, due.period.window, error)
            yield Filled(due, Fate.FAILED, str(error))


def filling_operation(
    kind: str, app: AppKey, cadence: Cadence, filled: Sequence[Filled], *, user: str, at: datetime
) -> Operation:
    """Say for the audit trail who filled which periods, and what became of each; ``kind`` is its type."""
    return Operation(
        operation_id=f"{kind.lower()}-{app.app_id}-{cadence.key}-{at:%Y%m%dT%H%M%S%f}",
        operation_type=kind,
        at=at,
        user=user,
        app=app,
        subject=cadence.key,
        data={
            "periods": {str(each.due): each.fate.value for each in filled},
            "failures": {str(each.due): each.detail for each in filled if each.fate is Fate.FAILED},
        },
    )


def check_days(first: date, last: date, today: date, *, most: int | None) -> None:
    """Check the days a person asked for; ``most`` is how many at once need no second thought.

    :raises UsageError: for days in the wrong order, days that are not over, or too many.
    """
    if first > last:
        raise UsageError(f"--from {first} lies behind --to {last}: swap them")
    if last >= today:
        raise UsageError(
            f"--to {last} is not over yet (it is {today} there): name {today - timedelta(days=1)} at most"
        )
    count = (last - first).days + 1
    if most is not None and count > most:
        raise UsageError(
            f"{first} to {last} is {count} days: say --yes if more than {most} are really wanted"
        )


def describe(due: Due, tz: ZoneInfo) -> str:
    """Say the window of a due report, and when its run is scheduled."""
    window = due.period.window
    return f"{iso(window.after)}/{iso(window.before)}, scheduled for {due.instant.astimezone(tz).isoformat()}"
