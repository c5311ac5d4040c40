"""What a single value has to be, and what an unknown name was probably meant to be.

Also: which period the bounds of an old configuration mean.
"""

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from flowledger.domain.texts import split_list
from flowledger.domain.windows import zone
from flowledger.errors import UsageError
from flowledger.http.address_guard import AddressGuard
from flowledger.plugins import CHANNELS, LEDGERS, REPORT_FORMATS, STORAGES
from flowledger.settings.addresses import absolute_path, web_parts

AFTER, BEFORE = "created_at_after", "created_at_before"
TEMPLATE = re.compile(r"\{\{\s*(\w+)\s*\}\}")

PERIODS_OF_BOUNDS: Mapping[tuple[str | None, str | None], str] = {
    ("yesterday", "today"): "yesterday",
    ("yesterday", "yesterday"): "yesterday",
    ("today", None): "today",
    ("today", "today"): "today",
    ("today", "now"): "today",
    ("today", "tomorrow"): "today",
    ("last_week", None): "last_week",
    ("last_week", "today"): "last_week",
    ("last_week", "this_week"): "last_week",
    ("last_week", "last_week"): "last_week",
    ("week_ago", "today"): "last_week",
    ("last_month", None): "last_month",
    ("last_month", "today"): "last_month",
    ("last_month", "this_month"): "last_month",
    ("last_month", "last_month"): "last_month",
}
"""Word of ``{{ … }}`` in the lower bound, in the upper bound → the period they mean."""


def period_of_bounds(after: Any, before: Any) -> str | None:
    """Return the period that two bounds of an old configuration mean, or None without bounds.

    :raises ValueError: for bounds that mean no period, with what to write instead.
    """
    if after in (None, "") and before in (None, ""):
        return None
    period = PERIODS_OF_BOUNDS.get((_word(after), _word(before)))
    if period:
        return period
    raise ValueError(
        f"{AFTER} {after!r} and {BEFORE} {before!r} mean no period: leave both out and write"
        " period: yesterday (or today, last_week, last_month, last_24h)"
    )


def _word(bound: Any) -> str | None:
    """Return the word inside the braces, or None without a bound; any other bound matches nothing."""
    if bound in (None, ""):
        return None
    template = TEMPLATE.fullmatch(str(bound).strip())
    return template[1].lower() if template else f"not a template: {bound}"


STORAGE_LIBRARIES = {"s3": "boto3", "oss": "oss2"}
"""Storage → the library it needs, which a plain installation has not."""
NOT_INSTALLED = "which is not installed: scripts/setup --all installs it"
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
LONGEST_WORD = 100
PLACEHOLDERS = frozenset({"your-email@example.com", "your-password", "change-me"})

# A BaseSettings is validated by its __init__, which takes no validation context.
_root = ContextVar("root", default=Path())
_variables: ContextVar[Mapping[str, str]] = ContextVar("variables", default=os.environ)


def check_http(text: str) -> str:
    """Refuse what is no web address."""
    web_parts(text)
    return text


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
    """Refuse an unknown storage, and one whose library is not installed."""
    _one_of("storage", text, STORAGES)
    library = STORAGE_LIBRARIES.get(text)
    if library and find_spec(library) is None:
        raise ValueError(f"{text} needs {library}, {NOT_INSTALLED}")
    return text


def check_archiving(limit: int) -> int:
    """Refuse to limit runs where the library that writes their archives is missing."""
    if find_spec("pyarrow") is None:
        raise ValueError(f"archives of runs need pyarrow, {NOT_INSTALLED}")
    return limit


def check_channel(text: str) -> str:
    """Refuse an unknown type of channel."""
    return _one_of("type of channel", text.lower(), CHANNELS)


def check_log_level(text: str) -> str:
    """Refuse an unknown log level; case does not matter."""
    return _one_of("log level", text.upper(), LOG_LEVELS)


def check_rotation(text: str) -> str:
    """Refuse what is neither a time of day nor a size."""
    if re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text) or re.fullmatch(r"[1-9]\d* ?[KMG]i?B", text):
        return text
    raise ValueError('must be a time of day such as 00:00, or a size such as "100 MB"')


def check_task_runner(text: str) -> str:
    """Refuse an unknown task runner, a wrong address of Dask's scheduler, and Dask where it is missing."""
    if text == "threads":
        return text
    if text == "dask" or re.fullmatch(r"dask:(tcp|tls)://[^\s/:]+:[0-9]{1,5}", text):
        if find_spec("prefect_dask") is None:
            raise ValueError(f"dask needs prefect-dask, {NOT_INSTALLED}")
        return text
    raise ValueError("must be threads, dask, or dask:tcp://host:port")


def check_prefix(text: str) -> str:
    """Refuse what is no relative path of plain names; slashes at its ends do not matter."""
    parts = [part for part in text.split("/") if part]
    if any(part in (".", "..") or not re.fullmatch(r"[\w.=@+-]+", part) for part in parts):
        raise ValueError("must be names separated by /, such as dify/reports")
    return "/".join(parts)


def check_word(text: str) -> str:
    """Refuse what is empty or longer than a tag can be."""
    if not text.strip() or len(text) > LONGEST_WORD:
        raise ValueError(f"must have 1 to {LONGEST_WORD} characters")
    return text.strip()


def check_origin(text: str) -> str:
    """Refuse what no browser calls an origin: scheme, host and port, and nothing behind them."""
    parts = web_parts(text)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must be an origin such as https://pages.example.com, without a path")
    return f"{parts.scheme}://{parts.netloc}".lower()


def check_web_secret(value: SecretStr) -> SecretStr:
    """Refuse what is no web address, without quoting it: robots' addresses hold their key."""
    text = check_secret(value).get_secret_value().strip()
    if not text.startswith(("http://", "https://")):
        raise ValueError("must be an address that begins with http:// or https://")
    web_parts(text)
    return SecretStr(text)


def check_ledger_url(value: SecretStr) -> SecretStr:
    """Refuse an address no ledger is registered for; relative files and folders are meant from the root."""
    scheme, separator, rest = value.get_secret_value().partition("://")
    if not separator:
        raise ValueError("must be an address such as sqlite:///outputs/ledger.db")
    kind = _one_of("ledger", scheme.partition("+")[0], LEDGERS)
    if kind == "postgresql":
        _check_postgresql(value.get_secret_value())
    if kind == "file":
        return _ledger_folder(rest)
    if kind != "sqlite":
        return value
    file = rest.removeprefix("/")
    if file in ("", ":memory:"):
        raise ValueError("names no file: write sqlite:///outputs/ledger.db (memory:// keeps nothing)")
    return SecretStr(f"{scheme}:///{rooted(Path(file))}")


def _ledger_folder(place: str) -> SecretStr:
    if not place.strip("/"):
        raise ValueError("names no folder: write file:///path/to/folder")
    return SecretStr(f"file://{rooted(Path(place))}")


def _check_postgresql(url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # its text may contain the password
        raise ValueError("has a host or a port that cannot be read: escape @ : / # [ ] as %40 …") from None
    if parts.scheme not in ("postgresql", "postgresql+psycopg"):
        raise ValueError(f"names another driver ({parts.scheme}): write postgresql://")
    if parts.path in ("", "/") or parts.fragment:
        raise ValueError("names no database: write postgresql://user:password@host:5432/database")
    if find_spec("psycopg") is None:
        raise ValueError("needs psycopg: scripts/setup --all installs it")


def as_text(value: object) -> object:
    """Write a number or truth value of a YAML file as the text it would be elsewhere; anything else stays."""
    return str(value) if isinstance(value, int | float) else value


def split_words(value: object) -> object:
    """Cut a text into words, and write the numbers of a list as text; anything else stays.

    Commas, semicolons and line breaks part words, the full-width ones too.
    """
    if isinstance(value, str | int):
        return split_list(str(value))
    return [as_text(word) for word in value] if isinstance(value, list) else value


def split_pairs(value: object) -> object:
    """Cut a text into names and values: a JSON object, or ``NAME=value`` as ``split_words`` cuts a list.

    A text of anything else stays as it is.
    """
    if not isinstance(value, str):
        return value
    if value.strip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    pairs = [word.partition("=") for word in split_list(value)]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        return value
    return {name.strip(): text.strip() for name, _, text in pairs}


def check_pairs(value: object) -> object:
    """Refuse a text that could not be cut into names and values."""
    if not isinstance(value, str):
        return value
    raise ValueError('must be NAME=value, by commas, or {"NAME": "value"} where a value has a comma')


def check_secret_name(text: str) -> str:
    """Refuse what expressions cannot name: ``{{secrets.NAME}}``."""
    if not re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII):
        raise ValueError("has a name that is not made of letters, digits and underscore: {{secrets.NAME}}")
    return text


def check_allowed_hosts(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no host, address or network."""
    AddressGuard.of(entries)
    return entries


def distinct(words: tuple[str, ...]) -> tuple[str, ...]:
    """Drop repetitions, keeping the order."""
    return tuple(dict.fromkeys(words))


@contextmanager
def beginning_at(root: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Let relative paths begin at a root instead of the working directory, for a while.

    ``variables`` are those that paths may name.
    """
    root_token, variables_token = _root.set(root), _variables.set(variables)
    try:
        yield
    finally:
        _root.reset(root_token)
        _variables.reset(variables_token)


def rooted(path: Path) -> Path:
    """Make a path absolute, from the root; ``~`` and ``$NAME`` stand for what a shell would put there."""
    return absolute_path(str(path), _root.get(), _variables.get())


def existing_file(path: Path) -> Path:
    """Refuse a file that is not there."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _one_of(kind: str, text: str, allowed: Collection[str]) -> str:
    if text not in allowed:
        raise ValueError(f"unknown {kind} {text!r}: one of {', '.join(allowed)}")
    return text


NEIGHBOURS = ("PREFECT_", "AWS_", "OTEL_", "DOCKER_", "COMPOSE_")
"""How variables of other programs begin that may stand in the same files."""


def similar(name: str, allowed: Collection[str]) -> str | None:
    """Return the allowed name that an unknown one is probably meant to be, or None.

    Prefect has many variables of its own that look alike, so for those the likeness must be higher.
    """
    if name in allowed:
        return None
    cutoff = 0.9 if name.upper().startswith(NEIGHBOURS) else 0.8
    candidates = {each.upper(): each for each in sorted(allowed)}
    close = get_close_matches(name.upper(), candidates, n=1, cutoff=cutoff)
    return candidates[close[0]] if close else None


def stray(label: str, guess: str | None) -> str:
    """Return the line about an unknown name."""
    return f"{label}: unknown setting" + (f", did you mean {guess}?" if guess else "")
