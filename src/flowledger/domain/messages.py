"""What is told to people: notices, the messages made of them, and letters that wait to be sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flowledger.domain.runs import AppKey, Json


class Occasion(StrEnum):
    """Why something is told."""

    SUCCESS = "success"
    UNCERTIFIED = "uncertified"
    FAILURE = "failure"
    CRASH = "crash"
    REPORT_READY = "report_ready"
    TEST = "test"

    @property
    def is_trouble(self) -> bool:
        """Whether somebody has to do something."""
        return self in (Occasion.UNCERTIFIED, Occasion.FAILURE, Occasion.CRASH)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A stored file that goes with a message: its name for people, its name in the storage, its size."""

    file_name: str
    stored_name: str
    size_bytes: int
    storage: str = ""
    """The prefix or folder of the storage it is in, where that is not the settings' own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One outcome, once; channels and languages make messages of it.

    ``notice_id`` is the same for the same outcome, so that whoever tells it twice tells it once.
    ``result`` is the result object of a run (``services.pipeline.outcome``), empty where there is none;
    ``previous`` the figures of the period before.  ``links`` are addresses by label (run, report names).
    """

    notice_id: str
    occasion: Occasion
    task: str
    at: datetime
    language: str = "zh"
    app: AppKey | None = None
    app_name: str = ""
    period: str = ""
    result: Mapping[str, Json] = field(default_factory=dict)
    previous: Mapping[str, Json] = field(default_factory=dict)
    error: str = ""
    run_url: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A finished message for one channel; ``body`` is in the channel's own markup.

    ``html`` is there for channels that take both (mail), ``data`` for those that take values (webhook).
    An urgent one mentions the people that the channel names.
    """

    message_id: str
    subject: str
    body: str
    html: str = ""
    urgent: bool = False
    attachments: tuple[Attachment, ...] = ()
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message on its way through one channel; kept until it is sent, and afterwards as proof.

    ``letter_id`` is one for each notice and channel: the same letter is never posted twice.  ``not_before``
    is when it may be tried (again); times are aware UTC.
    """

    letter_id: str
    channel: str
    message: Message
    posted_at: datetime
    not_before: datetime
    app: AppKey | None = None
    tries: int = 0
    problem: str = ""
    sent_at: datetime | None = None
    given_up: bool = False
