"""Identifiers are of the field's words: those that CONTRIBUTING.md lists as not to be used stay rare."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from documents import ROOT

MOST_PER_THOUSAND = 5.0
"""Private words per 1,000 words of identifiers in src; other code of the field has about 1."""
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
_WORD = re.compile(r"[A-Z]?[a-z]+")


def identifiers(text: str) -> Iterator[str]:
    """Yield each name that a module defines or uses, once for each place."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case (
                ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name))
            ):
                yield name


def words(text: str) -> Iterator[str]:
    """Yield the words of a module's identifiers, in lower case."""
    for name in identifiers(text):
        yield from (word.lower() for word in _WORD.findall(name))


def private_words() -> frozenset[str]:
    """Return the words in the first column of the table "instead of" in CONTRIBUTING.md."""
    _, _, rest = CONTRIBUTING.read_text("utf-8").partition("| instead of | write |\n|---|---|\n")
    table, _, _ = rest.partition("\n\n")
    return frozenset(word for row in table.splitlines() for word in re.findall(r"\w+", row.split("|")[1]))


def test_words_are_counted_in_every_kind_of_name() -> None:
    """Classes, functions, parameters, keywords, attributes and variables count alike."""
    text = "class KeptRows:\n    def tell(self, found=1):\n        self.seen = f(asked=found)\n"
    assert Counter(words(text)) >= Counter(["kept", "rows", "tell", "found", "found", "seen", "asked"])


def test_identifiers_hold_few_private_words() -> None:
    """A reader searches for the words of the trade; CONTRIBUTING.md says what to write instead."""
    private = private_words()
    assert len(private) > 20
    hits: Counter[tuple[str, Path]] = Counter()
    total = 0
    for path in sorted((ROOT / "src").rglob("*.py")):
        for word in words(path.read_text("utf-8")):
            total += 1
            if word in private or word.removesuffix("s") in private:
                hits[word, path.relative_to(ROOT)] += 1
    most = ", ".join(f"{word} in {path} {number}x" for (word, path), number in hits.most_common(10))
    assert 1000 * hits.total() / total <= MOST_PER_THOUSAND, most
