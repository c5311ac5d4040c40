"""Messages through the ledger: kept first, then sent, so that a dead channel or process loses none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from traceback import extract_tb

from loguru import logger

from flowledger.domain.messages import Attachment, Letter, Message
from flowledger.domain.texts import clip, one_line
from flowledger.errors import ChannelBusyError, FlowledgerError, MessageRefusedError
from flowledger.ports import Channel, Clock, Outbox

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)
MOST_TRIES = 20
LONGEST_LIFE = timedelta(days=7)
"""News a week old helps nobody; what is given up stays visible in the ledger."""

_LONGEST_PROBLEM = 500
_LONGEST_ASKED_WAIT_S = 24 * 3600


def sent(letter: Letter, at: datetime) -> Letter:
    """Give the letter as it is after it was accepted."""
    return replace(letter, tries=letter.tries + 1, problem="", sent_at=at)


def refused(letter: Letter, problem: str) -> Letter:
    """Give the letter as it is after a channel said that it will never take it."""
    return replace(letter, tries=letter.tries + 1, problem=_told(problem), given_up=True)


def failed(letter: Letter, problem: str, at: datetime, retry_after_s: float | None = None) -> Letter:
    """Give the letter as it is after a try that may succeed later; the wait doubles with each.

    ``retry_after_s`` is the least wait the channel asked for, in seconds.
    """
    tries = letter.tries + 1
    if tries >= MOST_TRIES or at - letter.posted_at >= LONGEST_LIFE:
        days = (at - letter.posted_at).days
        reason = f"given up after {tries} tries in {days} days: {problem}"
        return replace(letter, tries=tries, problem=_told(reason), given_up=True)
    return replace(letter, tries=tries, problem=_told(problem), not_before=at + _wait(tries, retry_after_s))


def put_off(letter: Letter, problem: str, until: datetime) -> Letter:
    """Give a letter that was not tried, because its channel had just failed with another one."""
    return replace(letter, problem=_told(letter.problem or problem), not_before=until)


def _wait(tries: int, retry_after_s: float | None) -> timedelta:
    grown: timedelta = min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT)
    return max(grown, timedelta(seconds=min(max(retry_after_s or 0, 0), _LONGEST_ASKED_WAIT_S)))


def _told(problem: str) -> str:
    return clip(one_line(problem), _LONGEST_PROBLEM)


ReadFile = Callable[[Attachment], bytes]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One round through the channels, by name; a channel that has just failed is left alone for its rest."""

    channels: Mapping[str, Channel]
    clock: Clock
    read_file: ReadFile
    _resting: dict[str, Letter] = field(default_factory=dict)

    def deliver(self, letter: Letter) -> Letter:
        """Try a letter once, say what came of it in the log, and give it as it is then; never raises."""
        if letter.channel in self._resting:
            failed = self._resting[letter.channel]
            return put_off(letter, failed.problem, failed.not_before)
        after = self.tried(letter)
        _log(after)
        if after.sent_at is None and not after.given_up:
            self._resting[letter.channel] = after
        return after

    def tried(self, letter: Letter) -> Letter:
        """Try a letter once, and give it as it is then; never raises."""
        channel = self.channels.get(letter.channel)
        if channel is None:
            return failed(letter, f"the settings here know no channel {letter.channel!r}", self.clock())
        try:
            channel.send(letter.message, list(self._files(letter.message)) if channel.takes_files else ())
        except MessageRefusedError as error:
            return refused(letter, str(error))
        except ChannelBusyError as error:
            return failed(letter, str(error), self.clock(), error.retry_after_s)
        except Exception as error:  # noqa: BLE001  # named boundary: no channel ever keeps another from sending
            return failed(letter, f"unexpected {whence(error)}", self.clock())
        return sent(letter, self.clock())

    def _files(self, message: Message) -> Iterator[tuple[str, bytes]]:
        for attachment in message.attachments:
            try:
                yield attachment.file_name, self.read_file(attachment)
            except (FlowledgerError, OSError) as error:
                logger.warning("{} is not attached, only linked: {}", attachment.file_name, error)


def whence(error: BaseException) -> str:
    """Name an error that nobody expected and where it arose, without its text, which may hold a secret."""
    frames = extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _log(letter: Letter) -> None:
    told = f"message {letter.message.message_id} through {letter.channel}"
    if letter.sent_at is not None:
        logger.info("{}: sent", told)
    elif letter.given_up:
        logger.error("{}: given up: {}; see flowledger notify list", told, letter.problem)
    else:
        logger.warning("{}: waits until {:%F %H:%M:%S} UTC: {}", told, letter.not_before, letter.problem)


LEASE = timedelta(minutes=15)
"""Longer than a round through slow channels takes, so that nobody sends the same letter meanwhile."""
BATCH = 50
MOST_BATCHES = 40
"""Enough for 2,000 waiting letters; what is left then is for the next run."""
KEPT_AS_PROOF = timedelta(days=90)
"""Letters that were sent or given up are forgotten after that, so that the ledger does not grow for ever."""
_LOOKED_BACK = 500


@dataclass(frozen=True, slots=True)
class Postbox:
    """Sends letters through channels by name; without an outbox each is tried once, at once."""

    channels: Mapping[str, Channel]
    clock: Clock
    outbox: Outbox | None
    read_file: ReadFile

    def send(self, letters: Sequence[Letter]) -> bool:
        """Keep letters and carry all that waits; whether every one of these has arrived, now or before.

        Where the ledger cannot keep them they are tried directly: told twice is better than not told.
        """
        if self.outbox is None:
            return self._send_directly(letters)
        carried: dict[str, Letter] = {}
        try:
            self.outbox.post(letters)
            self._carry_all(self.outbox, carried)
            return all(self._arrived(letter, carried, self.outbox) for letter in letters)
        except FlowledgerError as error:
            logger.error("messages cannot wait in the ledger, so each is tried once: {}", error)
            untried = [letter for letter in letters if letter.letter_id not in carried]
            tried = [carried[letter.letter_id] for letter in letters if letter.letter_id in carried]
            return self._send_directly(untried) and all(letter.sent_at is not None for letter in tried)

    def send_waiting(self) -> int:
        """Carry the letters that may be tried by now; give how many were sent.

        :raises LedgerError: when the ledger cannot be used.
        """
        if self.outbox is None:
            return 0
        carried: dict[str, Letter] = {}
        self._carry_all(self.outbox, carried)
        return sum(letter.sent_at is not None for letter in carried.values())

    def _send_directly(self, letters: Sequence[Letter]) -> bool:
        delivery = Delivery(self.channels, self.clock, self.read_file)
        tried = [delivery.deliver(letter) for letter in letters]
        return all(letter.sent_at is not None for letter in tried)

    def _carry_all(self, outbox: Outbox, carried: dict[str, Letter]) -> None:
        """Take what may be tried, oldest first, and carry it; note what came of each letter, by its id.

        What was settled long ago is forgotten.
        """
        delivery = Delivery(self.channels, self.clock, self.read_file)
        for _ in range(MOST_BATCHES):
            letters = outbox.claim(self.clock(), LEASE, limit=BATCH)
            for letter in letters:
                carried[letter.letter_id] = delivery.deliver(letter)
                outbox.settle(carried[letter.letter_id])
            if not letters:
                break
        outbox.forget_letters(self.clock() - KEPT_AS_PROOF)

    def _arrived(self, letter: Letter, carried: Mapping[str, Letter], outbox: Outbox) -> bool:
        if letter.letter_id in carried:
            return carried[letter.letter_id].sent_at is not None
        settled = outbox.letters(waiting=False, limit=_LOOKED_BACK)
        return any(each.letter_id == letter.letter_id and each.sent_at is not None for each in settled)
