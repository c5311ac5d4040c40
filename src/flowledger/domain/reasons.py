"""Why something is missing, not proved or failed: a code, its values, and a sentence in each language.

Ledgers, JSON and logs have the English sentence; a code is found by it, also in what older versions wrote.
The tables are in ``sentences``, ``failure_sentences`` and ``storage_sentences``.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from flowledger.domain import failure_sentences, sentences, storage_sentences

OTHER = "other"
"""Code of a sentence that is in no table: a server's own words, for instance."""
LONGEST = 1000
"""Characters of a sentence that is looked up: what is longer is somebody else's, and would take long."""
_PLACE = re.compile(r"\\\{(\w+)\\\}")
_ITEM = re.compile(r"( *- )?(.*)", re.DOTALL)
_JOINT = "; "


class Sentence(NamedTuple):
    """A row of a table; the texts have places in braces, where values stand."""

    code: str
    english: str
    chinese: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """What finds the values in an English sentence; a count takes nothing but a number."""
        return re.compile(_PLACE.sub(_value, re.escape(self.english)), re.DOTALL)


def _value(place: re.Match[str]) -> str:
    value = r"[\d,]+" if place[1] == "count" else ".+?"
    return f"(?P<{place[1]}>{value})"


def _rows(table: str) -> tuple[Sentence, ...]:
    lines = iter([line for line in table.splitlines() if line])
    return tuple(Sentence(*row) for row in zip(lines, lines, lines, strict=True))


SENTENCES: tuple[Sentence, ...] = (
    *_rows(sentences.REASONS),
    *_rows(sentences.CONTRADICTIONS),
    *_rows(failure_sentences.FAILURES),
    *_rows(storage_sentences.FAILURES),
    *_rows(storage_sentences.ADVICE),
)
BEGINNINGS = _rows(sentences.BEGINNINGS)


class Reason(NamedTuple):
    """A code with the values of its sentence, and what it is in Chinese."""

    code: str
    values: Mapping[str, str]
    chinese: str


_OWN_WORDS = Reason(OTHER, {}, "{text}")


@cache
def _patterns(table: tuple[Sentence, ...]) -> Sequence[tuple[Sentence, re.Pattern[str]]]:
    """Return what finds each sentence; most programs that import this never ask."""
    return [(sentence, sentence.pattern) for sentence in table]


@lru_cache(maxsize=4096)
def reason_of(text: str) -> Reason:
    """Return the reason that an English sentence stands for; the code is ``OTHER`` where there is none."""
    if len(text) > LONGEST:
        return _OWN_WORDS
    for sentence, pattern in _patterns(SENTENCES):
        if match := pattern.fullmatch(text):
            return Reason(sentence.code, match.groupdict(), sentence.chinese)
    for sentence, pattern in _patterns(BEGINNINGS):
        match = pattern.fullmatch(text)
        if match and (code := reason_of(match["why"]).code) != OTHER:
            return Reason(code, match.groupdict(), sentence.chinese)
    return _OWN_WORDS


def _parts(text: str) -> Sequence[str]:
    """Return the sentences that a text joins; those which have semicolons of their own are whole."""
    parts = text.split(_JOINT)
    is_whole = len(parts) > 1 and any(reason_of(part).code == OTHER for part in parts)
    return (text,) if is_whole and reason_of(text).code != OTHER else parts


def reason_code(text: str) -> str:
    """Return the code of a sentence, that of its first part where several are joined."""
    return reason_of(_parts(text)[0]).code


def reason_text(text: str, language: str) -> str:
    """Return a sentence, or lines of them, in a language; what is in no table stays as it is."""
    if language != "zh" or not text:
        return text
    return "\n".join(_chinese_line(line) for line in text.split("\n"))


def _chinese_line(line: str) -> str:
    found = _ITEM.fullmatch(line)
    bullet, text = (found[1] or "", found[2]) if found else ("", line)
    return bullet + "；".join(_chinese(part) for part in _parts(text))


def _chinese(text: str) -> str:
    reason = reason_of(text)
    values = {name: _chinese_line(each) if name == "why" else each for name, each in reason.values.items()}
    return reason.chinese.format(text=text, **values)
