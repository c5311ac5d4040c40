"""Notify people how a run ended: one message for each outcome and channel.

Nothing here raises into the run: every problem is logged, and the method returns ``False``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loguru import logger

from flowledger.domain.messages import Message, Notice, Occasion, OutboxMessage
from flowledger.domain.runs import Json
from flowledger.domain.texts import clip, one_line
from flowledger.errors import FlowledgerError, UsageError
from flowledger.notify.escaping import ESCAPES
from flowledger.notify.notices import BareLinks, NoticeBuilder, PreviousFigures, Subject, data_of, no_figures
from flowledger.notify.outbox import DeliveryRound, MessageSender, error_origin
from flowledger.notify.templates import Templates
from flowledger.ports import Channel, Clock, Outbox, ReportLinks

_SHOWS_SUBJECT = ("email", "feishu", "webhook")
"""Types of channels that show a message's subject beside its body."""


@dataclass(frozen=True, slots=True)
class Addressee:
    """A channel, and its type, which chooses the templates."""

    type: str
    channel: Channel = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationService:
    """Sends notices through channels; the outbox stores what cannot be sent yet.

    ``addressees`` are all channels by name, ``notified`` the names of those that get the notices of this
    subject; waiting messages of the others are sent as well.  ``outbox`` is None where messages cannot wait.
    """

    addressees: Mapping[str, Addressee]
    notified: Sequence[str]
    clock: Clock
    templates: Templates = field(default_factory=Templates)
    outbox: Outbox | None = None
    subject: Subject = field(default_factory=Subject)
    report_links: ReportLinks = field(default_factory=BareLinks)
    previous_figures: PreviousFigures = no_figures
    hide: Callable[[str], str] = str

    def notify_success(self, task_name: str, result: Mapping[str, Json]) -> bool:
        """Notify of a finished run by its result object; urgently where it is not certified complete."""
        return self._notify(task_name, lambda builder: builder.finished_run(task_name, result))

    def notify_failure(self, task_name: str, error: BaseException | str) -> bool:
        """Notify urgently that something failed; the text of the error says what to do."""
        text = error if isinstance(error, str) else text_of(error)
        return self._notify(task_name, lambda builder: builder.problem(Occasion.FAILURE, task_name, text))

    def notify_report_ready(self, report_path: str, report_type: str) -> bool:
        """Notify that one report is ready; ``notify_success`` announces all reports of a run at once."""
        return self._notify(report_path, lambda builder: builder.report_ready(report_path, report_type))

    def notify_problem(
        self, occasion: Occasion, task_name: str, error: str, partial: Mapping[str, Json] | None = None
    ) -> bool:
        """Notify that a run did not finish; ``partial`` has what a result would have, such as the window."""
        return self._notify(task_name, lambda builder: builder.problem(occasion, task_name, error, partial))

    def announce(self, notice: Notice) -> bool:
        """Send a notice to every notified channel; return whether all have it now.

        Messages that wait are sent, too.
        """
        return self._notify(notice.notice_id, lambda _: notice)

    def store(self, notice: Notice, channels: Sequence[str]) -> int:
        """Store the messages of a notice for some channels, to be sent later; return how many are new.

        :raises LedgerError: when they cannot be stored.
        """
        letters = replace(self, notified=channels)._letters(notice)
        return 0 if self.outbox is None else self.outbox.enqueue(letters)

    def post(self, channel: str, message: Message) -> OutboxMessage:
        """Store a message whose body is plain text for one channel, and try to send it.

        :raises UsageError: when there is no such channel; LedgerError: when it cannot be stored.
        """
        return self._sender.post(self._plain_letter(channel, message))

    def _plain_letter(self, channel: str, message: Message) -> OutboxMessage:
        if channel not in self.addressees:
            names = ", ".join(self.addressees) or "none"
            raise UsageError(f"there is no channel {channel!r:.80}: one of {names}")
        kind, at = self.addressees[channel].type, self.clock()
        subject, text = one_line(self.hide(message.subject)), self.hide(message.body)
        if kind not in _SHOWS_SUBJECT:
            text = f"{subject}\n\n{text}"
        return OutboxMessage(
            letter_id=f"{message.message_id}:{channel}",
            channel=channel,
            message=replace(message, subject=subject, body=ESCAPES.get(kind, str)(text)),
            posted_at=at,
            not_before=at,
        )

    def try_channel(self, name: str) -> str:
        """Send a test message through one channel, past the outbox; return the problem, or an empty text."""
        if name not in self.addressees:
            return f"no such channel: one of {', '.join(self.addressees) or 'none'}"
        addressee = self.addressees[name]
        letter = self._letter(self._builder.test_notice("flowledger notify test"), name, addressee)
        delivery = DeliveryRound({name: addressee.channel}, self.clock, self.report_links.read)
        return delivery.tried(letter).problem

    def send_waiting(self) -> int:
        """Send the waiting messages whose time for another try has come; return how many were sent."""
        try:
            return self._sender.send_waiting()
        except FlowledgerError as error:
            logger.error("waiting messages cannot be sent: {}", error)
        except Exception as error:  # noqa: BLE001  # named boundary: notifying never fails the run
            logger.error("waiting messages cannot be sent: unexpected {}", error_origin(error))
        return 0

    def _notify(self, what: str, notice_of: Callable[[NoticeBuilder], Notice]) -> bool:
        try:
            letters = self._letters(notice_of(self._builder))
            sent = self._sender.send(letters)
            # A notified channel that is not set up has no message that could fail, but it was not notified.
            return sent and len(letters) == len(set(self.notified))
        except Exception as error:  # noqa: BLE001  # named boundary: notifying never fails the run
            logger.error("cannot notify of {}: unexpected {}", what, error_origin(error))
            return False

    def _letters(self, notice: Notice) -> Sequence[OutboxMessage]:
        recipients = {name: self.addressees[name] for name in self.notified if name in self.addressees}
        for name in set(self.notified) - recipients.keys():
            logger.error("{} is not sent through {!r}: no such channel is set up", notice.notice_id, name)
        return [self._letter(notice, name, addressee) for name, addressee in recipients.items()]

    def _letter(self, notice: Notice, name: str, addressee: Addressee) -> OutboxMessage:
        at = self.clock()
        fitting = notice if addressee.channel.takes_files else replace(notice, attachments=())
        return OutboxMessage(
            letter_id=f"{notice.notice_id}:{name}",
            channel=name,
            message=self._message(fitting, addressee.type),
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
    def _builder(self) -> NoticeBuilder:
        return NoticeBuilder(
            subject=self.subject,
            clock=self.clock,
            report_links=self.report_links,
            previous_figures=self.previous_figures,
            hide=self.hide,
        )

    @property
    def _sender(self) -> MessageSender:
        channels = {name: addressee.channel for name, addressee in self.addressees.items()}
        return MessageSender(channels, self.clock, self.outbox, self.report_links.read)


def text_of(error: BaseException) -> str:
    """Return an error's text; an unexpected error is named by its class as well."""
    return str(error) if isinstance(error, FlowledgerError) else f"{type(error).__name__}: {error}"


def bare_message(notice: Notice, escape: Callable[[str], str] = str) -> Message:
    """Return a message made without any template, for when none works: bad news must still arrive."""
    words = (str(notice.occasion).upper(), notice.app_name or notice.task, notice.period)
    subject = one_line("[Flowledger] " + " ".join(filter(None, words)))
    lines = [escape(subject), escape(clip(one_line(notice.error), 1000)), notice.run_url]
    return Message(
        message_id=notice.notice_id,
        subject=subject,
        body="\n".join(filter(None, lines)),
        urgent=notice.occasion.needs_action,
        attachments=notice.attachments,
        data=data_of(notice),
        recipients=notice.recipients,
    )
