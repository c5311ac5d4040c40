"""The ledger, opened; where it is, in a person's words, and what it takes there."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from flowledger import plugins
from flowledger.domain.windows import zone
from flowledger.errors import UsageError
from flowledger.ledger import open_ledger
from flowledger.ports import Decoder, Ledger
from flowledger.services.history.audit import without_password
from flowledger.services.history.old_layouts import FOLDERS, OldLayout
from flowledger.settings import Settings


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
    """Give the decoder of every source."""
    return {name: plugins.load("decoder", name) for name in plugins.DECODERS}


FORMAT_FILE = "format.json"
_ON_DISK = {"sqlite": "sqlite:///", "file": "file://"}


@dataclass(frozen=True, slots=True)
class Source:
    """What is copied from: a ledger, or what was read of a folder of old with what could not be."""

    ledger: Ledger
    is_old: bool = False
    problems: tuple[str, ...] = ()
    quarantine: Path | None = None


def path_of(url: str) -> Path | None:
    """Give the file or folder of a ledger on disk; None for a server's or none at all."""
    scheme = url.partition(":")[0].partition("+")[0]
    prefix = _ON_DISK.get(scheme)
    if prefix is None:
        return None
    return Path(
        url.partition("?")[0].partition("://")[2].removeprefix("/" if scheme == "sqlite" else "")
    ).resolve()


def size_of(url: str) -> int | None:
    """Tell how many bytes a ledger takes on disk; None where that cannot be seen from here."""
    path = path_of(url)
    if path is None:
        return None
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    return sum(file.stat().st_size for file in files if file.is_file())


def is_there(url: str) -> bool:
    """Whether a ledger on disk is there; a server's is taken to be."""
    path = path_of(url)
    return path is None or (path.exists() if url.startswith("sqlite") else (path / FORMAT_FILE).exists())


def refuse_same(source: str, target: str) -> None:
    """Let nothing be copied onto itself.

    :raises UsageError: when both are one place.
    """
    mine = Path(source).resolve() if "://" not in source else path_of(source) or source.partition("?")[0]
    theirs = path_of(target) or target.partition("?")[0]
    if mine == theirs:
        raise UsageError(f"--from and --to are the same place, {without_password(target)}: name another one")


@contextmanager
def opened_source(place: str, tz: str, quarantine: Path | None) -> Iterator[Source]:
    """Open what is copied from: a URL, a folder of a file ledger, or one of the old layouts.

    What an old layout holds is read into a passing ledger first; bad files are copied to ``quarantine``.

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
        passing = stack.enter_context(TemporaryDirectory(prefix="flowledger-migrate-"))
        ledger = stack.enter_context(open_ledger_at(f"sqlite:///{passing}/old.db"))
        old = OldLayout(folder.resolve(), zone(tz), quarantine)
        old.fill(ledger)
        yield Source(ledger, True, tuple(old.problems), quarantine)
