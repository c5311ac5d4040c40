"""Letters that wait for their channels, in a journal of their own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from flowledger.domain.messages import Letter
from flowledger.ledger.files.journal import DamagedLineError, Journal, Moved, Span, line_of, parsed
from flowledger.ledger.files.tables import WRONG
from flowledger.ledger.files.values import (
    fate_from,
    fate_values,
    instant_from,
    instant_text,
    letter_from,
    letter_values,
)
from flowledger.ledger.letters import never_posted, settled
from flowledger.ledger.storable import storable_letter


@dataclass(slots=True, eq=False)
class Held:
    """A letter without its message: where it is, and what has become of it since."""

    span: Span
    posted_at: datetime
    fate: Mapping[str, Any]

    @property
    def waits(self) -> bool:
        """Whether it is still to be sent."""
        return self.fate["sent_at"] is None and not self.fate["given_up"]


@dataclass(slots=True)
class LetterTable:
    """The letters by id, in the order they were posted."""

    letters: dict[str, Held] = field(default_factory=dict)

    def clear(self) -> None:
        """Know nothing."""
        self.letters.clear()

    def take(self, line: bytes, span: Span) -> None:
        """Take in a line."""
        values = parsed(line)
        try:
            self._take(values, span)
        except WRONG as error:
            raise DamagedLineError(f"no line of a letter: {error!r:.200}") from error

    def _take(self, values: Mapping[str, Any], span: Span) -> None:
        match values["flowledger"]:
            case "letter":
                posted_at = instant_from(values["posted_at"])
                self.letters[values["letter_id"]] = Held(span, posted_at, fate_from(values))
            case "claimed":
                not_before = instant_from(values["not_before"])
                for letter_id in values["ids"]:
                    held = self.letters[letter_id]
                    held.fate = {**held.fate, "not_before": not_before}
            case "settled":
                self.letters[values["letter_id"]].fate = fate_from(values)
            case "forgotten":
                for letter_id in values["ids"]:
                    self.letters.pop(letter_id, None)
            case _:
                raise DamagedLineError("its kind is unknown")


@dataclass(slots=True)
class LetterShelf:
    """The outbox."""

    journal: Journal
    table: LetterTable

    def post(self, letters: Sequence[Letter]) -> int:
        """Keep letters; one whose id is known stays as it is.  Give how many are new."""
        kept = {letter.letter_id: letter for letter in reversed([storable_letter(each) for each in letters])}
        if not kept:
            return 0
        with self.journal.writing() as descriptor:
            new = [each for each in reversed(kept.values()) if each.letter_id not in self.table.letters]
            self.journal.append(descriptor, [line_of("letter", **letter_values(each)) for each in new])
        return len(new)

    def claim(self, at: datetime, lease: timedelta, limit: int) -> Sequence[Letter]:
        """Take letters that may be tried, oldest first; nobody else gets them during the lease."""
        with self.journal.writing() as descriptor:
            due = [
                (letter_id, held)
                for letter_id, held in self.table.letters.items()
                if held.waits and held.fate["not_before"] <= at
            ]
            due.sort(key=lambda each: each[1].posted_at)
            taken = due[:limit]
            if taken:
                ids = [letter_id for letter_id, _ in taken]
                line = line_of("claimed", ids=ids, not_before=instant_text(at + lease))
                self.journal.append(descriptor, [line])
            return [self._read(descriptor, held) for _, held in taken]

    def settle(self, letter: Letter) -> None:
        """Keep what came of a letter.

        :raises LedgerError: when it was never posted.
        """
        seen = storable_letter(letter)
        with self.journal.writing() as descriptor:
            held = self.table.letters.get(seen.letter_id)
            if held is None:
                raise never_posted(letter)
            was = self._read(descriptor, held)
            kept = settled(was, seen)
            if kept != was:
                line = line_of("settled", letter_id=kept.letter_id, **fate_values(kept))
                self.journal.append(descriptor, [line])
            if self.journal.is_due(self._live_bytes):
                self.journal.rewrite(self._lines(descriptor))

    def letters(self, waiting: bool | None, limit: int) -> Sequence[Letter]:
        """Give the newest letters, newest first."""
        with self.journal.reading() as descriptor:
            newest_last = sorted(self.table.letters.values(), key=lambda held: held.posted_at)
            wanted = [held for held in newest_last if waiting is None or held.waits is waiting]
            return [self._read(descriptor, held) for held in wanted[::-1][:limit]]

    def forget(self, posted_before: datetime) -> int:
        """Forget letters posted before an instant that wait no more; give how many."""
        with self.journal.writing() as descriptor:
            gone = [
                letter_id
                for letter_id, held in self.table.letters.items()
                if not held.waits and held.posted_at < posted_before
            ]
            if gone:
                self.journal.append(descriptor, [line_of("forgotten", ids=gone)])
        return len(gone)

    def compact(self) -> None:
        """Write the journal anew without what counts no more."""
        if not self.journal.path.exists():
            return
        with self.journal.writing() as descriptor:
            self.journal.rewrite(self._lines(descriptor))

    def _read(self, descriptor: int | None, held: Held) -> Letter:
        letter = letter_from(parsed(self.journal.read(descriptor, held.span)))
        return replace(letter, **held.fate)

    def _live_bytes(self) -> int:
        return sum(held.span.length for held in self.table.letters.values())

    def _lines(self, descriptor: int) -> Iterator[Moved]:
        for held in self.table.letters.values():
            letter = self._read(descriptor, held)
            yield line_of("letter", **letter_values(letter)), _mover(held)


def _mover(held: Held) -> Any:
    def move(span: Span) -> None:
        held.span = span

    return move
