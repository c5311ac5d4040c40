"""Texts without secrets: known values in every usual spelling, and what looks like a token.

A value is found plain, percent-encoded, escaped as JSON, Python or HTML do, and inside base64.  Values
shorter than ``SHORTEST`` characters are not looked for: they would hide parts of innocent words.  Of an
address only what opens something is a secret: its password, its query, the last part of its path.
"""

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from string import ascii_letters, digits

from flowledger.domain.token_shapes import MARK, hide_tokens

SHORTEST = 4
"""Characters of the shortest value that is looked for."""
SHORTEST_ENCODED = 6
"""Bytes of the shortest value that is looked for inside base64, where fewer fit innocent texts by chance."""
TELLING = 8
"""Characters from which a part of an address counts as a secret."""
_UNRESERVED = frozenset(ascii_letters + digits + "-._~")
_ADDRESS = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*)://(?:(?P<user>[^\s/]*)@)?[^/?#\s]*(?P<rest>[^\s]*)")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Redactor:
    """Replaces known values and whatever looks like a token by ``[redacted]``.

    ``forms`` go longest first; ``beginnings`` are the first characters of each, so that a text without any
    of them costs the same however many are known.
    """

    forms: tuple[str, ...] = field(default=(), repr=False)
    beginnings: frozenset[tuple[str, ...]] = field(default=frozenset(), repr=False)

    def __call__(self, text: str) -> str:
        """Give the text without secrets; a text without any is given back as it is."""
        if not self.beginnings.isdisjoint(zip(text, text[1:], text[2:], text[3:], strict=False)):
            for form in self.forms:
                text = text.replace(form, MARK)
        return hide_tokens(text)


def redactor(secrets: Iterable[str]) -> Redactor:
    """Build what hides these values: settings as they are, addresses among them."""
    values = {part for secret in secrets for part in _parts(secret.strip())}
    forms = {form for value in values if len(value) >= SHORTEST for form in _forms(value)}
    ordered = tuple(sorted((form for form in forms if form not in MARK), key=_longest_first))
    return Redactor(ordered, frozenset(tuple(form[:SHORTEST]) for form in ordered))


def _longest_first(form: str) -> tuple[int, str]:
    return -len(form), form


def _parts(secret: str) -> Iterator[str]:
    """Give what of a configured value opens something."""
    address = _ADDRESS.fullmatch(secret)
    if address is None:
        yield secret
        return
    password = (address["user"] or "").partition(":")[2]
    yield from (password, _decoded(password))
    if address["scheme"].lower() in ("http", "https"):
        path, _, query = address["rest"].partition("?")
        telling = [path.rpartition("/")[2], *(pair.partition("=")[2] for pair in query.split("&"))]
        found = [part for part in telling if len(part) >= TELLING]
        if found:
            yield from (secret, address["rest"], *found)


def _forms(value: str) -> set[str]:
    """Give the spellings of a value; most are equal for values of letters and digits."""
    percent = _percent(value, _UNRESERVED)
    forms = {
        value,
        percent,
        percent.replace("%20", "+"),
        _percent(value, _UNRESERVED | {"/"}),
        _PERCENT.sub(lambda found: found[0].lower(), percent),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        html.escape(value),
    }
    return forms | set(_inside_base64(value.encode("utf-8", "surrogatepass")))


def _inside_base64(value: bytes) -> Iterator[str]:
    """Give the characters that a value makes in the base64 of any text around it, one for each alignment."""
    if len(value) < SHORTEST_ENCODED:
        return
    for before in range(3):
        whole = b64encode(b"\0" * before + value).decode()
        stem = whole[-(-before * 8 // 6) : (before + len(value)) * 8 // 6]
        yield from (stem, stem.replace("+", "-").replace("/", "_"))


def _percent(text: str, plain: Iterable[str]) -> str:
    octets = text.encode("utf-8", "surrogatepass")
    return "".join(chr(octet) if chr(octet) in plain else f"%{octet:02X}" for octet in octets)


def _decoded(text: str) -> str:
    return _PERCENT.sub(
        lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace"), text
    )
