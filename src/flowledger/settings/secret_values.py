"""Every secret in a value, so that it can be kept out of logs."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, SecretStr

LONG = 12
"""So many characters of an address's path are a key, not a word."""


def secrets_in(value: Any) -> Iterator[SecretStr]:
    """Give every secret of a value, however deep; of an address with a key in it, the key as well."""
    if isinstance(value, SecretStr):
        yield from _with_parts(value)
    elif isinstance(value, BaseModel):
        yield from secrets_in(dict(value))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from secrets_in(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from secrets_in(inner)


def _with_parts(secret: SecretStr) -> Iterator[SecretStr]:
    text = secret.get_secret_value()
    if "://" not in text:
        yield secret
        return
    try:
        keys = list(_keys(text))
    except ValueError:
        keys = [text]
    if keys:
        yield secret
    yield from (SecretStr(key) for key in keys)


def _keys(address: str) -> Iterator[str]:
    parts = urlsplit(address)
    if parts.password:
        yield from dict.fromkeys((parts.password, unquote(parts.password)))
    yield from (value for _, value in parse_qsl(parts.query) if len(value) >= LONG)
    if parts.scheme in ("http", "https"):
        yield from (part for part in parts.path.split("/") if len(part) >= LONG)
