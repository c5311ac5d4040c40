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

MARK = "[redacted]"

_NAMES = (
    r"access_token|refresh_token|csrf_token|id_token|session_token|auth_token|bot_token|token|api[_-]?key|apikey"
    r"|access[_-]?key[_-]?(?:id|secret)|accesskeyid|secret[_-]?(?:access[_-]?)?key|aws_secret_access_key"
    r"|client_secret|secret|password|passwd|pwd|passphrase|authorization|credential|x-csrf-token|x-api-key"
)
_IN_QUERY = r"key|sign|signature|sig|x-amz-signature|x-amz-credential|x-amz-security-token|security-token"
_UNLIKE_A_WORD = r"(?:(?=[\w.~+/-]*\d)[\w.~+/-]{6,}|[\w.~+/-]{16,})=*"
_ENDS = "token key keyid key_id key-id secret password passwd pwd passphrase authorization credential"
_ASSIGNED = tuple(f"{end}=" for end in _ENDS.split())
_QUOTED = ('":', "':", '" :', "' :")


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII)


_SHAPES: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    (("private key",), _pattern(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END[^-]*-----|\Z)")),
    (
        ("cookie",),
        _pattern(r"(?i)((?:set-)?cookie[\"']?\s*[:=]\s*[\"']?)[^\s=;\"']+=[^\r\n\"']*"),
    ),
    (("__host-", "csrf"), _pattern(r"(?i)((?:__host-[\w-]+|[\w-]*csrf[\w-]*)=)[^\s;&\"'<>]+")),
    (
        ("authorization",),
        _pattern(
            r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:basic|bearer|digest|token)\s+)?[^\s\"',;]{4,}"
        ),
    ),
    (("bearer",), _pattern(rf"(?i)(bearer\s+){_UNLIKE_A_WORD}")),
    (
        ("basic",),
        _pattern(r"((?i:\bbasic)\s+)(?=[\w+/]*(?:[\d=+/]|[a-z][A-Z]))[\w+/]{8,}={0,2}"),
    ),
    (("auth ",), _pattern(r"(?i)(\bauth\s+(?:plain|login|cram-md5|xoauth2)\s+)[\w+/]{4,}={0,2}")),
    (("://",), _pattern(r"(://[^\s/:@\"'<>]*:)(?!\[redacted\]@)[^\s/\"'<>]+(?=@)")),
    (
        _ASSIGNED,
        _pattern(rf"(?i)((?<![a-z0-9])(?:{_NAMES})=)(?!\[redacted\])[^\s&\"'<>,;)]+"),
    ),
    (
        _QUOTED,
        _pattern(rf"(?i)([\"'](?:{_NAMES})\\?[\"']\s*:\s*\\?[\"'])(?!\[redacted\])(?:[^\"'\\]|\\.)+"),
    ),
    (
        ("x-csrf-token", "x-api-key"),
        _pattern(r"(?i)(x-(?:csrf-token|api-key):\s*)(?!\[redacted\])[^\s\"',;]+"),
    ),
    (
        ("key=", "sign=", "sig=", "signature=", "credential=", "token="),
        _pattern(rf"(?i)([?&](?:{_IN_QUERY})=)(?!\[redacted\])[^\s&\"'<>,;)]+"),
    ),
    (("/hook/",), _pattern(r"(/hook/)[\w-]{8,}")),
    (
        ("app-", "dataset-", "sk-"),
        _pattern(
            r"(?<![\w-])(?:(?:app|dataset)-(?=[A-Za-z]*[0-9A-Z])[A-Za-z0-9]{16,}|sk-(?=[\w-]*\d)[\w-]{20,})"
        ),
    ),
    (("eyj",), _pattern(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)*")),
    (("gaaaa",), _pattern(r"(?:enc:)?gAAAA[\w-]{20,}={0,2}")),
    (("enc:",), _pattern(r"(?<![\w-])(enc:)[\w-]{8,}={0,2}")),
    (("=",), _pattern(r"(?<![\w+/-])[\w+/-]{43}=(?![\w=])")),
    (
        ("akia", "asia", "ltai"),
        _pattern(r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[A-Z0-9]{16}|LTAI[A-Za-z0-9]{12,})"),
    ),
    (("sec",), _pattern(r"(?<![A-Za-z0-9])SEC[0-9a-f]{32,}")),
)
_BY_WORD = tuple((word, pattern) for words, pattern in _SHAPES for word in words)


def hide_tokens(text: str) -> str:
    """Replace whatever looks like a token, key or password."""
    lower = text.lower()
    for word, pattern in _BY_WORD:
        if word in lower:
            text = pattern.sub(_mask, text)
    return text


def _mask(match: re.Match[str]) -> str:
    return (match[1] or "" if match.re.groups else "") + MARK


SHORTEST = 4
"""Characters of the shortest value that is looked for."""
SHORTEST_ENCODED = 6
"""Bytes of the shortest value that is looked for inside base64, where fewer fit innocent texts by chance."""
SHORTEST_PART = 8
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
        """Return the text without secrets; a text without any is given back as it is."""
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
    """Yield what of a configured value opens something."""
    address = _ADDRESS.fullmatch(secret)
    if address is None:
        yield secret
        return
    password = (address["user"] or "").partition(":")[2]
    yield from (password, _decoded(password))
    if address["scheme"].lower() in ("http", "https"):
        path, _, query = address["rest"].partition("?")
        candidates = [path.rpartition("/")[2], *(pair.partition("=")[2] for pair in query.split("&"))]
        secret_parts = [part for part in candidates if len(part) >= SHORTEST_PART]
        if secret_parts:
            yield from (secret, address["rest"], *secret_parts)


def _forms(value: str) -> set[str]:
    """Return the spellings of a value; most are equal for values of letters and digits."""
    percent = _percent(value, _UNRESERVED)
    forms = {
        value,
        percent,
        percent.replace("%20", "+"),
        _percent(value, _UNRESERVED | {"/"}),
        _PERCENT.sub(lambda match: match[0].lower(), percent),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        html.escape(value),
    }
    return forms | set(_inside_base64(value.encode("utf-8", "surrogatepass")))


def _inside_base64(value: bytes) -> Iterator[str]:
    """Yield the characters that a value makes in the base64 of any text around it, one for each alignment."""
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
        lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace"), text
    )
