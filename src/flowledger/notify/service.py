"""Tell people how a run ended: one message for each outcome and channel.

Nothing here ever raises into the run that is told about: every problem is logged, and is the ``False``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loguru import logger

from flowledger.domain.messages import Letter, Message, Notice, Occasion
from flowledger.domain.runs import Json
from flowledger.domain.texts import clip, one_line
from flowledger.errors import FlowledgerError
from flowledger.notify.escaping import ESCAPES
from flowledger.notify.notices import BareShelf, Before, Outcomes, Subject, data_of, no_figures
from flowledger.notify.outbox import Delivery, Postbox, whence
from flowledger.notify.templates import Templates
from flowledger.ports import Channel, Clock, Outbox, ReportShelf


@dataclass(frozen=True, slots=True)
class Addressee:
    """A channel that can be told through, and its type, which chooses the templates."""

    type: str
    channel: Channel = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationService:
    """Tells outcomes through channels, and keeps in the outbox what cannot be sent yet.

    ``addressees`` are all channels by name, ``told`` those that hear of this subject; waiting letters of the
    others are carried as well.  ``outbox`` is None where letters cannot wait.
    """

    addressees: Mapping[str, Addressee]
    told: Sequence[str]
    clock: Clock
    templates: Templates = field(default_factory=Templates)
    outbox: Outbox | None = None
    subject: Subject = field(default_factory=Subject)
    shelf: ReportShelf = field(default_factory=BareShelf)
    before: Before = no_figures
    hide: Callable[[str], str] = str

    def notify_success(self, task_name: str, result: Mapping[str, Json]) -> bool:
        """Tell the result object of a finished run, reports and all; urgently where it is not certified."""
        return self._tell(task_name, lambda outcomes: outcomes.finished(task_name, result))

    def notify_failure(self, task_name: str, error: BaseException | str) -> bool:
        """Tell that something failed, urgently, and what to do."""
        text = error if isinstance(error, str) else text_of(error)
        return self._tell(task_name, lambda known: known.troubled(Occasion.FAILURE, task_name, text))

    def notify_report_ready(self, report_path: str, report_type: str) -> bool:
        """Tell that one report can be read; a finished run is told as a whole by ``notify_success``."""
        return self._tell(report_path, lambda outcomes: outcomes.readable(report_path, report_type))

    def notify_trouble(
        self, occasion: Occasion, task_name: str, error: str, known: Mapping[str, Json] | None = None
    ) -> bool:
        """Tell that a run did not finish; ``known`` is what a result would hold, such as the window."""
        return self._tell(task_name, lambda outcomes: outcomes.troubled(occasion, task_name, error, known))

    def announce(self, notice: Notice) -> bool:
        """Tell a notice to everyone who is told; whether everyone has it now.  Whatever waits goes along."""
        return self._tell(notice.notice_id, lambda _: notice)

    def try_channel(self, name: str) -> str:
        """Send a test message through one channel, past the ledger; give the problem, empty for none."""
        if name not in self.addressees:
            return f"no such channel: one of {', '.join(self.addressees) or 'none'}"
        letter = self._letter(self._outcomes.trial("flowledger notify test"), name, self.addressees[name])
        after = Delivery({name: self.addressees[name].channel}, self.clock, self.shelf.read).tried(letter)
        return after.problem

    def send_waiting(self) -> int:
        """Carry the letters that wait and may be tried by now; give how many were sent."""
        try:
            return self._postbox.send_waiting()
        except FlowledgerError as error:
            logger.error("waiting messages cannot be sent: {}", error)
        except Exception as error:  # noqa: BLE001  # named boundary: telling never fails the run
            logger.error("waiting messages cannot be sent: unexpected {}", whence(error))
        return 0

    def _tell(self, what: str, notice_of: Callable[[Outcomes], Notice]) -> bool:
        try:
            letters = self._letters(notice_of(self._outcomes))
            sent = self._postbox.send(letters)
            return sent and len(letters) == len(set(self.told))
        except Exception as error:  # noqa: BLE001  # named boundary: telling never fails the run
            logger.error("{} cannot be told: unexpected {}", what, whence(error))
            return False

    def _letters(self, notice: Notice) -> Sequence[Letter]:
        known = {name: self.addressees[name] for name in self.told if name in self.addressees}
        for name in set(self.told) - known.keys():
            logger.error("{} is not told through {!r}: no such channel is set up", notice.notice_id, name)
        return [self._letter(notice, name, addressee) for name, addressee in known.items()]

    def _letter(self, notice: Notice, name: str, addressee: Addressee) -> Letter:
        at = self.clock()
        seen = notice if addressee.channel.takes_files else replace(notice, attachments=())
        return Letter(
            letter_id=f"{notice.notice_id}:{name}",
            channel=name,
            message=self._message(seen, addressee.type),
            posted_at=at,
            not_before=at,
            app=notice.app,
        )

    def _message(self, notice: Notice, channel_type: str) -> Message:
        try:
            return self.templates.message(notice, channel_type)
        except FlowledgerError as error:
            logger.error("{}; the message is sent without a template", one_line(str(error)))
            return bare_message(notice, ESCAPES.get(channel_type, str))

    @property
    def _outcomes(self) -> Outcomes:
        return Outcomes(
            subject=self.subject, clock=self.clock, shelf=self.shelf, before=self.before, hide=self.hide
        )

    @property
    def _postbox(self) -> Postbox:
        channels = {name: addressee.channel for name, addressee in self.addressees.items()}
        return Postbox(channels, self.clock, self.outbox, self.shelf.read)


def text_of(error: BaseException) -> str:
    """Say what an error says; one that nobody foresaw is named by its class as well."""
    return str(error) if isinstance(error, FlowledgerError) else f"{type(error).__name__}: {error}"


def bare_message(notice: Notice, escape: Callable[[str], str] = str) -> Message:
    """Write a message without any template, for when none works: bad news must still be told."""
    words = (str(notice.occasion).upper(), notice.app_name or notice.task, notice.period)
    subject = one_line("[Flowledger] " + " ".join(filter(None, words)))
    lines = [escape(subject), escape(clip(one_line(notice.error), 1000)), notice.run_url]
    return Message(
        message_id=notice.notice_id,
        subject=subject,
        body="\n".join(filter(None, lines)),
        urgent=notice.occasion.is_trouble,
        attachments=notice.attachments,
        data=data_of(notice),
    )
