"""Regular expressions that cannot hang: an automaton that reads each character of a text once.

Python's ``re`` tries again from where it was, for hours with a pattern like ``(a+)+$``.  Known here are
characters, ``.``, classes, ``\\d \\w \\s`` and their opposites, groups, ``|``, ``* + ? {n} {n,} {n,m}``,
``^`` and ``$``; a back-reference or a look-around is an error.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from flowledger.domain.workflows.operators import Budget, OperationError

LONGEST = 500
MOST_STATES = 500
_MOST_REMEMBERED = 50_000  # states that are reached by characters that came before
DEEPEST = 32
_MOST_REPEATS = 1_000
_REPEAT = re.compile(r"\*|\+|\?|\{([0-9]{1,4})(?:(,)([0-9]{0,4}))?\}")
_START, _END, _MATCH = "^", "$", ""

Test = Callable[[str], object]
State = tuple[Test | str | None, tuple[int, ...]]
"""What leads on (a test of a character, an anchor, nothing; ``_MATCH`` ends it), and to which states."""
Part = Callable[["_Automaton", int], int]
"""Adds its states before a given one and returns the first of them."""


class Pattern:
    """A compiled pattern; it can be used by many threads at once."""

    def __init__(self, text: str) -> None:
        automaton = _Automaton()
        self._first = _Reader(text).whole()(automaton, automaton.add(_MATCH, ()))
        self._states = tuple(automaton.states)
        self._begin = self._reached([self._first], _START)
        self._following: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def matches(self, text: str, budget: Budget) -> bool:
        """Return whether the pattern is anywhere in the text; each character is read once."""
        try:
            return self._search(text, budget)
        finally:
            if len(self._following) * len(self._states) > _MOST_REMEMBERED:
                self._following = {}

    def _search(self, text: str, budget: Budget) -> bool:
        following = self._following
        current = self._begin
        for character in text:
            if self._ended(current):
                return True
            key = (current, character)
            reached = following.get(key)
            if reached is None:
                reached = following[key] = self._after(current, character)
                budget.spend(len(current) + len(reached))
            budget.spend(1)
            current = reached
        anchors = (_END,) if text else (_START, _END)
        return self._ended(self._reached(current, *anchors))

    def _after(self, current: frozenset[int], character: str) -> frozenset[int]:
        states = [self._states[each] for each in current]
        steps = [to for test, to in states if callable(test) and test(character)]
        return self._reached([self._first, *(each for to in steps for each in to)])

    def _reached(self, states: Iterable[int], *anchors: str) -> frozenset[int]:
        """Return states and all that follow without a character, where these anchors hold."""
        reached: set[int] = set()
        pending = list(states)
        while pending:
            each = pending.pop()
            if each not in reached:
                reached.add(each)
                condition, to = self._states[each]
                if condition is None or (condition != _MATCH and condition in anchors):
                    pending.extend(to)
        return frozenset(reached)

    def _ended(self, states: frozenset[int]) -> bool:
        return 0 in states  # the state that the automaton was given first


compiled = lru_cache(maxsize=256)(Pattern)


class _Automaton:
    def __init__(self) -> None:
        self.states: list[State] = []
        self.parts = 0

    def add(self, condition: Test | str | None, to: tuple[int, ...]) -> int:
        self.states.append((condition, to))
        return self.grown(len(self.states) - 1)

    def grown(self, state: int) -> int:
        """Count a part as it is built; repeated ones without states must not take for ever either."""
        self.parts += 1
        if self.parts > 10 * MOST_STATES or len(self.states) > MOST_STATES:
            raise OperationError("the pattern is too large when its repetitions are written out")
        return state


class _Reader:
    """Reads a pattern from left to right into parts."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise OperationError(f"the pattern is longer than {LONGEST} characters")
        self.text = text
        self.at = 0
        self.depth = 0

    def whole(self) -> Part:
        part = self.alternatives()
        if self.at < len(self.text):
            raise self.fault("a ')' too many")
        return part

    def fault(self, message: str) -> OperationError:
        return OperationError(f"pattern {self.text[:80]!r}: {message} at character {self.at + 1}")

    def alternatives(self) -> Part:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.fault("nested too deeply")
        parts = [self.sequence()]
        while self.text.startswith("|", self.at):
            self.at += 1
            parts.append(self.sequence())
        self.depth -= 1
        return parts[0] if len(parts) == 1 else _either(parts)

    def sequence(self) -> Part:
        parts = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self.repeated(self.atom()))
        return _sequence(parts)

    def repeated(self, part: Part) -> Part:
        match = _REPEAT.match(self.text, self.at)
        if match is None:
            return part
        self.at = match.end()
        if self.text.startswith("?", self.at):  # lazy: whether there is a match does not depend on it
            self.at += 1
        if _REPEAT.match(self.text, self.at):
            raise self.fault("a repetition of a repetition")
        least, most = _bounds(match)
        if max(least, most or 0) > _MOST_REPEATS or (most is not None and most < least):
            raise self.fault("a repetition that cannot be")
        return _repeated(part, least, most)

    def atom(self) -> Part:
        character = self.text[self.at]
        if character == "(":
            return self.group()
        if character in "^$":
            self.at += 1
            return _one(character)
        if character in "*+?" or _REPEAT.match(self.text, self.at):
            raise self.fault("nothing to repeat")
        if character == "[":
            return _one(self.character_class())
        if character == "\\":
            escaped = self.escape()
            return _one(escaped if callable(escaped) else escaped.__eq__)
        self.at += 1
        return _one("\n".__ne__ if character == "." else character.__eq__)

    def group(self) -> Part:
        self.at += 3 if self.text.startswith("(?:", self.at) else 1
        if self.text.startswith("?", self.at):
            raise self.fault("only (…) and (?:…) are known, no look-around and no flags,")
        part = self.alternatives()
        if not self.text.startswith(")", self.at):
            raise self.fault("a ')' is missing")
        self.at += 1
        return part

    def escape(self) -> Test | str:
        """Return the character that an escape stands for, or the test of a class such as ``\\d``."""
        letter = self.text[self.at + 1 : self.at + 2]
        if letter in _CHARACTERS:
            self.at += 2
            return _CHARACTERS[letter]
        if letter.lower() in _CLASSES:
            self.at += 2
            return _CLASSES[letter] if letter in _CLASSES else _none_of([_CLASSES[letter.lower()]])
        if not letter or letter.isalnum():
            raise self.fault(f"unknown escape {self.text[self.at : self.at + 2]!r}")
        self.at += 2
        return letter

    def character_class(self) -> Test:
        self.at += 1
        is_negated = self.text.startswith("^", self.at)
        self.at += is_negated
        tests = [self.class_member()]  # a ']' in the first place is a character
        while not self.text.startswith("]", self.at):
            tests.append(self.class_member())
        self.at += 1
        return _none_of(tests) if is_negated else lambda character: any(test(character) for test in tests)

    def class_member(self) -> Test:
        low = self.class_character()
        if callable(low):
            return low
        if not self.text.startswith("-", self.at) or self.text.startswith("-]", self.at):
            return low.__eq__
        self.at += 1
        high = self.class_character()
        if callable(high) or high < low:
            raise self.fault("a range that cannot be")
        return lambda character: low <= character <= high

    def class_character(self) -> Test | str:
        if self.at >= len(self.text):
            raise self.fault("a ']' is missing")
        if self.text[self.at] == "\\":
            return self.escape()
        self.at += 1
        return self.text[self.at - 1]


_CHARACTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_CLASSES: dict[str, Test] = {
    "d": "0123456789".__contains__,
    "w": lambda character: character.isascii() and (character.isalnum() or character == "_"),
    "s": " \t\n\r\f\v".__contains__,
}


def _none_of(tests: list[Test]) -> Test:
    return lambda character: not any(test(character) for test in tests)


def _bounds(match: re.Match[str]) -> tuple[int, int | None]:
    if match[0] in "*+?":
        return (1 if match[0] == "+" else 0), (1 if match[0] == "?" else None)
    least = int(match[1])
    return least, least if match[2] is None else int(match[3]) if match[3] else None


def _one(condition: Test | str) -> Part:
    return lambda automaton, to: automaton.add(condition, (to,))


def _sequence(parts: list[Part]) -> Part:
    def build(automaton: _Automaton, to: int) -> int:
        for part in reversed(parts):
            to = automaton.grown(part(automaton, to))
        return to

    return build


def _either(parts: list[Part]) -> Part:
    return lambda automaton, to: automaton.add(None, tuple(part(automaton, to) for part in parts))


def _repeated(part: Part, least: int, most: int | None) -> Part:
    def build(automaton: _Automaton, to: int) -> int:
        first = to
        if most is None:
            first = automaton.add(None, (to,))
            again = part(automaton, first)
            automaton.states[first] = (None, (again, to))
        for _ in range((most or least) - least):
            first = automaton.add(None, (part(automaton, first), to))
        for _ in range(least):
            first = automaton.grown(part(automaton, first))
        return first

    return build
