"""Carry letters to their channels; one that fails keeps no other from its way."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from traceback import extract_tb

from loguru import logger

from flowledger.domain.messages import Attachment, Letter, Message
from flowledger.errors import ChannelBusyError, FlowledgerError, MessageRefusedError
from flowledger.notify import fates
from flowledger.ports import Channel, Clock

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
            return fates.put_off(letter, failed.problem, failed.not_before)
        after = self.tried(letter)
        _log(after)
        if after.sent_at is None and not after.given_up:
            self._resting[letter.channel] = after
        return after

    def tried(self, letter: Letter) -> Letter:
        """Try a letter once, and give it as it is then; never raises."""
        channel = self.channels.get(letter.channel)
        if channel is None:
            return fates.failed(letter, f"the settings here know no channel {letter.channel!r}", self.clock())
        try:
            channel.send(letter.message, list(self._files(letter.message)) if channel.takes_files else ())
        except MessageRefusedError as error:
            return fates.refused(letter, str(error))
        except ChannelBusyError as error:
            return fates.failed(letter, str(error), self.clock(), error.retry_after_s)
        except Exception as error:  # noqa: BLE001  # named boundary: no channel ever keeps another from sending
            return fates.failed(letter, f"unexpected {whence(error)}", self.clock())
        return fates.sent(letter, self.clock())

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
