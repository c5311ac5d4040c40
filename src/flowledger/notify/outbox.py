"""Messages through the outbox: stored first, then sent, so that a dead channel or process loses none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from traceback import extract_tb

from loguru import logger

from flowledger.domain.messages import Attachment, Message, OutboxMessage
from flowledger.domain.texts import clip, one_line
from flowledger.errors import ChannelBusyError, FlowledgerError, MessageRefusedError
from flowledger.ports import Channel, Clock, Outbox

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)
MOST_TRIES = 20
LONGEST_LIFE = timedelta(days=7)
"""A message a week old helps nobody; those given up stay visible in the ledger."""

_LONGEST_PROBLEM = 500
_LONGEST_RETRY_AFTER_S = 24 * 3600


def sent(letter: OutboxMessage, at: datetime) -> OutboxMessage:
    """Return the message as it is once a channel has accepted it."""
    return replace(letter, tries=letter.tries + 1, problem="", sent_at=at)


def refused(letter: OutboxMessage, problem: str) -> OutboxMessage:
    """Return the message as it is once a channel has refused it for good: it is given up."""
    return replace(letter, tries=letter.tries + 1, problem=_short(problem), given_up=True)


def failed(
    letter: OutboxMessage, problem: str, at: datetime, retry_after_s: float | None = None
) -> OutboxMessage:
    """Return the message as it is after a try that failed for now; the wait doubles with each try.

    ``retry_after_s`` is the channel's own Retry-After in seconds: the least wait.  After ``MOST_TRIES`` or
    ``LONGEST_LIFE`` the message is given up.
    """
    tries = letter.tries + 1
    if tries >= MOST_TRIES or at - letter.posted_at >= LONGEST_LIFE:
        days = (at - letter.posted_at).days
        reason = f"given up after {tries} tries in {days} days: {problem}"
        return replace(letter, tries=tries, problem=_short(reason), given_up=True)
    return replace(letter, tries=tries, problem=_short(problem), not_before=at + _wait(tries, retry_after_s))


def put_off(letter: OutboxMessage, problem: str, until: datetime) -> OutboxMessage:
    """Return a message that was not tried, because its channel had just failed with another one."""
    return replace(letter, problem=_short(letter.problem or problem), not_before=until)


def _wait(tries: int, retry_after_s: float | None) -> timedelta:
    grown: timedelta = min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT)
    return max(grown, timedelta(seconds=min(max(retry_after_s or 0, 0), _LONGEST_RETRY_AFTER_S)))


def _short(problem: str) -> str:
    return clip(one_line(problem), _LONGEST_PROBLEM)


ReadFile = Callable[[Attachment], bytes]


@dataclass(frozen=True, slots=True)
class DeliveryRound:
    """One round through the channels, by name; one that fails is not tried again in the same round."""

    channels: Mapping[str, Channel]
    clock: Clock
    read_file: ReadFile
    _resting: dict[str, OutboxMessage] = field(default_factory=dict)

    def deliver(self, letter: OutboxMessage) -> OutboxMessage:
        """Try to send a message once, log the result and return the message as it is then; never raises."""
        if letter.channel in self._resting:
            failed = self._resting[letter.channel]
            return put_off(letter, failed.problem, failed.not_before)
        after = self.tried(letter)
        _log(after)
        if after.sent_at is None and not after.given_up:
            self._resting[letter.channel] = after
        return after

    def tried(self, letter: OutboxMessage) -> OutboxMessage:
        """Try to send a message once and return it as it is then; never raises."""
        channel = self.channels.get(letter.channel)
        if channel is None:
            return failed(letter, f"no channel {letter.channel!r} is set up here", self.clock())
        try:
            channel.send(letter.message, list(self._files(letter.message)) if channel.takes_files else ())
        except MessageRefusedError as error:
            return refused(letter, str(error))
        except ChannelBusyError as error:
            return failed(letter, str(error), self.clock(), error.retry_after_s)
        except Exception as error:  # noqa: BLE001  # named boundary: no channel ever keeps another from sending
            return failed(letter, f"unexpected {error_origin(error)}", self.clock())
        return sent(letter, self.clock())

    def _files(self, message: Message) -> Iterator[tuple[str, bytes]]:
        for attachment in message.attachments:
            try:
                yield attachment.file_name, self.read_file(attachment)
            except (FlowledgerError, OSError) as error:
                logger.warning("{} is not attached, only linked: {}", attachment.file_name, error)


def error_origin(error: BaseException) -> str:
    """Return class and place of an unexpected error, without its text, which may contain a secret."""
    frames = extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _log(letter: OutboxMessage) -> None:
    name = f"message {letter.message.message_id} through {letter.channel}"
    if letter.sent_at is not None:
        logger.info("{}: sent", name)
    elif letter.given_up:
        logger.error("{}: given up: {}; see flowledger notify list", name, letter.problem)
    else:
        logger.warning("{}: waits until {:%F %H:%M:%S} UTC: {}", name, letter.not_before, letter.problem)


LEASE = timedelta(minutes=15)
"""Longer than a round through slow channels takes, so that nobody sends the same message meanwhile."""
BATCH = 50
MOST_BATCHES = 40
"""Enough for 2,000 waiting messages; the next run sends what is left."""
RETENTION = timedelta(days=90)
"""Messages that were sent or given up are deleted after that, so that the ledger does not grow for ever."""
_LOOKED_BACK = 500


@dataclass(frozen=True, slots=True)
class MessageSender:
    """Sends messages through channels, by name; without an outbox each is tried once, at once."""

    channels: Mapping[str, Channel]
    clock: Clock
    outbox: Outbox | None
    read_file: ReadFile

    def send(self, letters: Sequence[OutboxMessage]) -> bool:
        """Store messages and send all that wait; return whether these have all arrived, now or before.

        Where the ledger cannot store them they are sent directly: better twice than not at all.
        """
        if self.outbox is None:
            return self._send_directly(letters)
        results: dict[str, OutboxMessage] = {}
        try:
            self.outbox.enqueue(letters)
            self._send_all(self.outbox, results)
            return all(self._arrived(letter, results, self.outbox) for letter in letters)
        except FlowledgerError as error:
            logger.error("messages cannot wait in the ledger, so each is tried once: {}", error)
            untried = [letter for letter in letters if letter.letter_id not in results]
            tried = [results[letter.letter_id] for letter in letters if letter.letter_id in results]
            return self._send_directly(untried) and all(letter.sent_at is not None for letter in tried)

    def post(self, letter: OutboxMessage) -> OutboxMessage:
        """Store a message, send all that wait, and return it as it is then: sent, waiting or given up.

        One of the same id that is there already stays as it is.

        :raises LedgerError: when the ledger cannot store it.
        """
        if self.outbox is None:
            return DeliveryRound(self.channels, self.clock, self.read_file).deliver(letter)
        results: dict[str, OutboxMessage] = {}
        self.outbox.enqueue([letter])
        self._send_all(self.outbox, results)
        if letter.letter_id in results:
            return results[letter.letter_id]
        stored = self.outbox.outbox_messages(limit=_LOOKED_BACK)
        return next((each for each in stored if each.letter_id == letter.letter_id), letter)

    def send_waiting(self) -> int:
        """Send the waiting messages whose time for another try has come; return how many were sent.

        :raises LedgerError: when the ledger cannot be used.
        """
        if self.outbox is None:
            return 0
        results: dict[str, OutboxMessage] = {}
        self._send_all(self.outbox, results)
        return sum(letter.sent_at is not None for letter in results.values())

    def _send_directly(self, letters: Sequence[OutboxMessage]) -> bool:
        delivery = DeliveryRound(self.channels, self.clock, self.read_file)
        tried = [delivery.deliver(letter) for letter in letters]
        return all(letter.sent_at is not None for letter in tried)

    def _send_all(self, outbox: Outbox, results: dict[str, OutboxMessage]) -> None:
        """Claim the messages that may be tried, oldest first, and try each; ``results`` has them by id.

        Messages that ended long ago are deleted.
        """
        delivery = DeliveryRound(self.channels, self.clock, self.read_file)
        for _ in range(MOST_BATCHES):
            letters = outbox.claim(self.clock(), LEASE, limit=BATCH)
            for letter in letters:
                results[letter.letter_id] = delivery.deliver(letter)
                outbox.complete(results[letter.letter_id])
            if not letters:
                break
        outbox.forget_messages(self.clock() - RETENTION)

    def _arrived(self, letter: OutboxMessage, results: Mapping[str, OutboxMessage], outbox: Outbox) -> bool:
        if letter.letter_id in results:
            return results[letter.letter_id].sent_at is not None
        settled = outbox.outbox_messages(waiting=False, limit=_LOOKED_BACK)
        return any(each.letter_id == letter.letter_id and each.sent_at is not None for each in settled)
