"""Channels that remember, fail or refuse, a clock to wind, and a service over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flowledger.domain.messages import Message
from flowledger.domain.runs import AppKey
from flowledger.errors import ChannelBusyError, LedgerError, MessageRefusedError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.notify.notices import Subject
from flowledger.notify.service import Addressee, NotificationService

NOON = datetime(2026, 1, 6, 12, 0, tzinfo=UTC)
APP = AppKey("dify", "app-1")
RESULT: Mapping[str, Any] = {
    "app": "sales",
    "app_id": "app-1",
    "period": "yesterday",
    "window": {"after": "2026-01-05T00:00:00+08:00", "before": "2026-01-05T23:59:59+08:00"},
    "logs_count": 12,
    "report_paths": ["/reports/a.csv", "/reports/a.md"],
    "certificate": {"certified": True, "reason": "counts agree", "expected": 12, "distinct": 12},
    "by_status": {"success": 10, "failed": 2},
    "total_tokens": 4200,
}
UNCERTIFIED = {**RESULT, "certificate": {**RESULT["certificate"], "certified": False, "reason": "rows moved"}}


@dataclass
class Clock:
    """A clock that stands still until it is wound."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        """Give the present."""
        return self.now

    def wind(self, **by: float) -> None:
        """Let time pass."""
        self.now += timedelta(**by)


@dataclass
class Remembering:
    """Accepts every message and keeps it."""

    takes_files: bool = False
    sent: list[Message] = field(default_factory=list)
    files: list[Sequence[tuple[str, bytes]]] = field(default_factory=list)

    def send(self, message: Message, files: Sequence[tuple[str, bytes]] = ()) -> None:
        """Keep the message."""
        self.sent.append(message)
        self.files.append(files)


@dataclass
class Failing(Remembering):
    """Raises its error as long as it has one; then it accepts."""

    error: Exception | None = None
    tried: int = 0

    def send(self, message: Message, files: Sequence[tuple[str, bytes]] = ()) -> None:
        """Fail, or keep the message."""
        self.tried += 1
        if self.error is not None:
            raise self.error
        super().send(message, files)


def busy(retry_after_s: float | None = None) -> Failing:
    """Give a channel that cannot take messages now."""
    return Failing(error=ChannelBusyError("the server is away", retry_after_s=retry_after_s))


def refusing() -> Failing:
    """Give a channel that will never take a message."""
    return Failing(error=MessageRefusedError("the robot knows no such key: check the webhook"))


@dataclass(frozen=True)
class BrokenOutbox:
    """An outbox whose disk is full."""

    def enqueue(self, letters: object) -> int:
        """Fail."""
        raise LedgerError("disk full")

    def claim(self, at: object, lease: object, *, limit: int = 100) -> Any:
        """Fail."""
        raise LedgerError("disk full")

    def complete(self, letter: object) -> None:
        """Fail."""
        raise LedgerError("disk full")

    def outbox_messages(self, *, waiting: bool | None = None, limit: int = 100) -> Any:
        """Fail."""
        raise LedgerError("disk full")


def service(
    channels: Mapping[str, Remembering], *, notified: Sequence[str] | None = None, **parts: Any
) -> NotificationService:
    """Build a service over channels whose type is their name up to a dash."""
    addressees = {name: Addressee(name.partition("-")[0], channel) for name, channel in channels.items()}
    names = tuple(channels) if notified is None else notified
    subject = Subject(app=APP, app_name="sales", language="en", period="yesterday", run_id="run-1")
    defaults: dict[str, Any] = {
        "clock": Clock(),
        "outbox": SqlLedger.open("memory://", {}),
        "subject": subject,
        **parts,
    }
    return NotificationService(addressees=addressees, notified=names, **defaults)
