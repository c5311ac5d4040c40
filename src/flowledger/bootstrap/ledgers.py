"""Ledgers, opened: that of the settings, one by its URL, that of the record services, one to copy from."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flowledger import plugins
from flowledger.bootstrap.configuration import load_settings
from flowledger.domain.record_checks import MEBIBYTE, RecordLimits
from flowledger.domain.windows import zone
from flowledger.errors import SettingsError, UsageError
from flowledger.io.scratch_folders import scratch_folder
from flowledger.ledger import open_ledger
from flowledger.ports import Decoder, Ledger
from flowledger.services.history.audit import without_password
from flowledger.services.history.old_layouts import FOLDERS, OldLayout
from flowledger.settings import Settings
from flowledger.settings.model import RecordOptions, record_options


def opened_ledger(settings: Settings) -> AbstractContextManager[Ledger]:
    """Open the ledger of the settings, its schema brought up to date."""
    return open_ledger_at(settings.ledger_url.get_secret_value())


@contextmanager
def open_ledger_at(url: str) -> Iterator[Ledger]:
    """Open a ledger by its URL and close it at the end."""
    ledger = open_ledger(url, decoders())
    try:
        yield ledger
    finally:
        ledger.close()


@cache
def decoders() -> Mapping[str, Decoder]:
    """Return the decoder of every source."""
    return {name: plugins.load("decoder", name) for name in plugins.DECODERS}


FORMAT_FILE = "format.json"
_ON_DISK = {"sqlite": "sqlite:///", "file": "file://"}


@dataclass(frozen=True, slots=True)
class Source:
    """A ledger to copy from; of an old layout, with the problems of what could not be read."""

    ledger: Ledger
    is_old: bool = False
    problems: tuple[str, ...] = ()
    quarantine: Path | None = None


def path_of(url: str) -> Path | None:
    """Return the file or folder of a ledger on disk; None for a server's, or one in memory."""
    scheme = url.partition(":")[0].partition("+")[0]
    prefix = _ON_DISK.get(scheme)
    if prefix is None:
        return None
    return Path(
        url.partition("?")[0].partition("://")[2].removeprefix("/" if scheme == "sqlite" else "")
    ).resolve()


def size_of(url: str) -> int | None:
    """Return how many bytes a ledger takes on disk; None where that cannot be seen from this machine."""
    path = path_of(url)
    if path is None:
        return None
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    return sum(file.stat().st_size for file in files if file.is_file())


def is_there(url: str) -> bool:
    """Whether a ledger on disk exists; a server's is assumed to."""
    path = path_of(url)
    return path is None or (path.exists() if url.startswith("sqlite") else (path / FORMAT_FILE).exists())


def refuse_same(source: str, target: str) -> None:
    """Check that a copy has two different ends.

    :raises UsageError: when both are the same ledger.
    """
    # The query of a URL has options of the connection, which make no other ledger.
    first = Path(source).resolve() if "://" not in source else path_of(source) or source.partition("?")[0]
    second = path_of(target) or target.partition("?")[0]
    if first == second:
        raise UsageError(f"--from and --to are the same place, {without_password(target)}: name another one")


@contextmanager
def opened_source(place: str, tz: str, quarantine: Path | None) -> Iterator[Source]:
    """Open what is copied from: a URL, a folder of a file ledger, or one of the old layouts.

    An old layout is read into a temporary ledger first; bad files are copied to ``quarantine``.

    :raises UsageError: when there is nothing.
    """
    folder = Path(place)
    with ExitStack() as stack:
        if "://" not in place and (folder / FORMAT_FILE).is_file():
            place = f"file://{folder.resolve()}"
        if "://" in place:
            if not is_there(place):
                raise UsageError(f"there is no ledger at {without_password(place)}: look at the path")
            yield Source(stack.enter_context(open_ledger_at(place)))
            return
        if not folder.is_dir():
            raise UsageError(
                f"{place!r:.200} is no folder and no URL: name one that holds {', '.join(FOLDERS)}, or"
                " sqlite:///FILE, file:///DIR, postgresql://…"
            )
        temporary = stack.enter_context(scratch_folder())
        ledger = stack.enter_context(open_ledger_at(f"sqlite:///{temporary}/old.db"))
        old = OldLayout(folder.resolve(), zone(tz), quarantine)
        old.fill(ledger)
        yield Source(ledger, True, tuple(old.problems), quarantine)


SQL = ("sqlite", "postgresql")
STORAGE_TYPES = ("ledger", "file", "database", "db", *SQL, "memory")
FILE_NAME = "records.db"


def options_of_records(changes: Mapping[str, Any] | None = None) -> RecordOptions:
    """Return the options of the record services: those of the settings, with changes.

    :raises SettingsError: with a line for everything that is wrong.
    """
    return record_options(load_settings(need_app=False), changes or {})


def open_record_ledger(storage_type: str, options: RecordOptions) -> Ledger:
    """Open the ledger of a storage type; the caller closes it.

    ``ledger`` is that of LEDGER_URL, ``file`` one of files in ``log_dir``, ``database`` (``db``) that of
    LEDGER_URL where it is in a database and else records.db in ``log_dir``; likewise ``sqlite``.

    :raises SettingsError: for an unknown type, and for ``postgresql`` where LEDGER_URL is none;
        LedgerError: when it cannot be used.
    """
    return open_ledger(_url_of(storage_type, options), decoders())


def limits_of_records(options: RecordOptions) -> RecordLimits:
    """Return the limits of one record."""
    return RecordLimits(int(options.max_record_mb * MEBIBYTE), zone(options.timezone))


def _url_of(storage_type: str, options: RecordOptions) -> str:
    url = options.ledger_url.get_secret_value()
    scheme = url.partition(":")[0].partition("+")[0]
    word = storage_type.lower()
    if word not in STORAGE_TYPES:
        raise SettingsError([f"unknown storage_type {storage_type!r:.80}: one of {', '.join(STORAGE_TYPES)}"])
    if word in ("file", "memory"):
        return f"file://{options.log_dir}" if word == "file" else "memory://"
    if word == "ledger" or (scheme in SQL and word in ("database", "db", scheme)):
        return url
    if word == "postgresql":
        raise SettingsError(
            [
                "storage_type postgresql: LEDGER_URL names no PostgreSQL database; write"
                " postgresql://user:password@host:5432/database there"
            ]
        )
    return f"sqlite:///{options.log_dir / FILE_NAME}"
