"""Letters through the ledger: kept first, then carried, so that a dead channel or process loses none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from loguru import logger

from flowledger.domain.messages import Letter
from flowledger.errors import FlowledgerError
from flowledger.notify.delivery import Delivery, ReadFile
from flowledger.ports import Channel, Clock, Outbox

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
