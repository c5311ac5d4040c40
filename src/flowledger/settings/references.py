"""References in the place of a secret (``file:…``, ``enc:…``, ``prefect:…``), and secrets in files.

Also: every secret inside of a value, so that it can be kept out of logs.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_IRGRP, S_IROTH
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, SecretStr

from flowledger import plugins
from flowledger.errors import UnreadableSecretError
from flowledger.settings.addresses import absolute_path

REFERENCE = re.compile(rf"\s*({'|'.join(plugins.SECRETS)}):(.*?)\s*", re.DOTALL)

Loc = tuple[int | str, ...]
"""Path to a value, pydantic's ``loc``: variable; ``APPS``, number and field; ``CHANNELS``, name, option."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """What readers need: the root of relative paths, the keys (newest first), Prefect's address.

    ``variables`` are those that paths may name.
    """

    root: Path = field(default_factory=Path)
    keys: tuple[SecretStr, ...] = ()
    prefect_api_url: str | None = None
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)


Reader = Callable[[str, Keyring], str]
"""Returns the secret for the text after the colon of a reference.

:raises UnreadableSecretError: with what is wrong and what to do, without a secret.
"""


def scheme_of(value: object) -> str | None:
    """Return the word before the colon if a value is a reference, else None."""
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def read(reference: str, keyring: Keyring) -> SecretStr:
    """Return the secret that a reference stands for.

    :raises UnreadableSecretError: when there is none.
    """
    match = REFERENCE.fullmatch(reference)
    if match is None or not match[2]:
        raise UnreadableSecretError("names nothing after the colon")
    reader: Reader = plugins.load("secret", match[1])
    secret = reader(match[2], keyring)
    if not secret:
        raise UnreadableSecretError(f"the secret that {match[1]}: refers to is empty")
    return SecretStr(secret)


def references_in(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Yield every reference inside a value, after the path to it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from references_in(inner, (*loc, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from references_in(inner, (*loc, index))
    elif scheme_of(value):
        yield loc, value


def put_in(value: Any, secrets: Mapping[Loc, SecretStr | None], loc: Loc = ()) -> Any:
    """Return a value with the secrets in the places of their references; None for those unreadable."""
    if loc in secrets:
        return secrets[loc]
    if isinstance(value, Mapping):
        return {key: put_in(inner, secrets, (*loc, str(key))) for key, inner in value.items()}
    if isinstance(value, list):
        return [put_in(inner, secrets, (*loc, index)) for index, inner in enumerate(value)]
    return value


MOST_BYTES = 64 * 1024
MOUNTED = Path("/run")
"""Containers and systemd mount secrets below it: readable by all users inside, invisible outside."""


def read_file(path: str, keyring: Keyring) -> str:
    """Return a file's text without the line break at its end; a relative path is from the root.

    :raises UnreadableSecretError: when there is no such file, or none that can be read as short text.
    """
    file = secret_file(path, keyring)
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise UnreadableSecretError(f"there is no file {file}: create it or mend the path") from None
    except OSError as error:
        raise UnreadableSecretError(
            f"{file} cannot be read ({error.strerror}): let this user read it, or mend the path"
        ) from None
    if len(content) > MOST_BYTES:
        raise UnreadableSecretError(f"{file} is too long to be a secret: mend the path")
    return _text(file, content)


def secret_file(path: str, keyring: Keyring) -> Path:
    """Return the absolute path of a file; relative ones are from the root.

    :raises UnreadableSecretError: naming a variable in it that is not set.
    """
    try:
        return absolute_path(path, keyring.root, keyring.variables)
    except ValueError as error:
        raise UnreadableSecretError(str(error)) from None


def open_to_others(file: Path) -> bool:
    """Return whether other users of this machine may read a file."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return False
    return bool(mode & (S_IRGRP | S_IROTH)) and MOUNTED not in file.parents


def _text(file: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableSecretError(f"{file} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


LONG = 12
"""A part of an address with at least so many characters is a key, not a word."""


def secrets_in(value: Any) -> Iterator[SecretStr]:
    """Yield every secret inside a value; of an address that contains a key, the key as well."""
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
