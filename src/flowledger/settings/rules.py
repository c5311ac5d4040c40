"""What a single value has to be.

Every function gives the value to use, or raises ValueError saying what is wrong without quoting a secret.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from flowledger.domain.windows import zone
from flowledger.errors import UsageError
from flowledger.plugins import LEDGERS, REPORT_FORMATS, STORAGES

LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
PLACEHOLDERS = frozenset({"your-email@example.com", "your-password", "change-me"})

# A BaseSettings is validated by its __init__, which takes no validation context.
_root = ContextVar("root", default=Path())


def check_http(text: str) -> str:
    """Refuse what is no web address."""
    if urlsplit(text).scheme not in ("http", "https"):
        raise ValueError("must begin with http:// or https://")
    return text


def normalise_base_url(text: str) -> str:
    """Cut the trailing slash and ``/v1`` off a server's address, keeping a path prefix."""
    parts = urlsplit(check_http(text))
    if not parts.hostname or re.search(r"\s", text):
        raise ValueError("names no host, or has a space in it")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must be the address alone, without ? or #")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is not a number from 0 to 65535") from None
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def check_placeholder(text: str) -> str:
    """Refuse what .env.example says in the place of a real value."""
    if text in PLACEHOLDERS or re.fullmatch(r"(app-)?x{3,}", text):
        raise ValueError("is still the placeholder of .env.example")
    return text


def check_secret(value: SecretStr) -> SecretStr:
    """Refuse a secret that is a placeholder or empty."""
    if not check_placeholder(value.get_secret_value()):
        raise ValueError("is empty")
    return value


def check_token(value: SecretStr) -> SecretStr:
    """Refuse what cannot stand in an HTTP header as a token."""
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError('must be the token alone: one word of plain ASCII characters, without "Bearer"')
    return value


def check_id(text: str) -> str:
    """Refuse what is more than an id, such as the whole address of a page."""
    if not re.fullmatch(r"[\w.-]+", text, re.ASCII):
        raise ValueError("must be the id alone: letters, digits, dot, dash and underscore")
    return text


def check_zone(text: str) -> str:
    """Refuse an unknown time zone."""
    try:
        zone(text)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return text


def check_format(text: str) -> str:
    """Refuse an unknown report format."""
    return _one_of("report format", text, REPORT_FORMATS)


def check_storage(text: str) -> str:
    """Refuse an unknown storage."""
    return _one_of("storage", text, STORAGES)


def check_log_level(text: str) -> str:
    """Refuse an unknown log level; case does not matter."""
    return _one_of("log level", text.upper(), LOG_LEVELS)


def check_ledger_url(value: SecretStr) -> SecretStr:
    """Refuse an address no ledger is registered for; a relative SQLite file is meant from the root."""
    scheme, separator, rest = value.get_secret_value().partition("://")
    if not separator:
        raise ValueError("must be an address such as sqlite:///outputs/ledger.db")
    kind = _one_of("ledger", scheme.partition("+")[0], LEDGERS)
    if kind != "sqlite":
        return value
    file = rest.removeprefix("/")
    if file in ("", ":memory:"):
        raise ValueError("names no file: write sqlite:///outputs/ledger.db (memory:// keeps nothing)")
    return SecretStr(f"{scheme}:///{rooted(Path(file))}")


def as_text(value: object) -> object:
    """Write a number or truth value of a YAML file as the text it would be elsewhere; anything else stays."""
    return str(value) if isinstance(value, int | float) else value


def split_words(value: object) -> object:
    """Cut a text at commas into words; anything else stays."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def distinct(words: tuple[str, ...]) -> tuple[str, ...]:
    """Drop repetitions, keeping the order."""
    return tuple(dict.fromkeys(words))


@contextmanager
def beginning_at(root: Path) -> Iterator[None]:
    """Let relative paths begin at a root instead of the working directory, for a while."""
    token = _root.set(root)
    try:
        yield
    finally:
        _root.reset(token)


def rooted(path: Path) -> Path:
    """Make a path absolute, from the root."""
    return (_root.get() / path.expanduser()).absolute()


def existing_file(path: Path) -> Path:
    """Refuse a file that is not there."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _one_of(kind: str, text: str, known: Collection[str]) -> str:
    if text not in known:
        raise ValueError(f"unknown {kind} {text!r}: one of {', '.join(known)}")
    return text
