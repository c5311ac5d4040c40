"""Storages of reports and report formats, opened; their check, and the retention of reports."""

import os
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from flowledger import plugins
from flowledger.bootstrap.configuration import clock, load_settings, user_name
from flowledger.bootstrap.ledgers import opened_ledger
from flowledger.domain.retention import Retention
from flowledger.domain.texts import safe_name
from flowledger.errors import StorageError, StorageUnavailableError, UsageError
from flowledger.io.encoding import check_encoding
from flowledger.io.scratch import provide_scratch
from flowledger.ports import ReportFormat, StorageBackend
from flowledger.services.cleanup import AppReports, Cleaner
from flowledger.settings import Settings
from flowledger.settings.addresses import absolute_path
from flowledger.storage.layout import written_folders
from flowledger.storage.service import StorageService, place_of
from flowledger.storage.spool import Spooled
from flowledger.storage.workspace import FOLDER as INCOMING

UNSENT = "unsent"
"""Folder below OUTPUT_BASE_DIR of files that wait for a storage elsewhere."""
PREFECT_HOME = ".prefect"
"""Folder below OUTPUT_BASE_DIR of the data of Prefect's temporary server."""
PREFIXES = "\0"
"""Stands in a message for the prefixes that it is about."""


def report_formats(
    names: tuple[str, ...], *, csv_raw_values: bool = False, markdown_details: bool = True
) -> tuple[ReportFormat, ...]:
    """Build report formats by name; the others are the settings of that name."""
    options = {"csv": {"raw_values": csv_raw_values}, "markdown": {"details": markdown_details}}
    return tuple(plugins.load("report format", name)(**options.get(name, {})) for name in names)


def open_store(
    settings: Settings, directory: str | None = None, *, prefix: str | None = None, spooled: bool = True
) -> StorageService:
    """Open the storage of reports and data: a folder, or else the storage of the settings.

    ``prefix`` replaces the common one.  ``spooled``: what a storage elsewhere does not accept stays on this
    machine below ``unsent`` and is uploaded the next time; otherwise that is an error.
    """
    if directory:
        return StorageService(plugins.load("storage", "local")(root=report_folder(directory)), clock.utc_now)
    backend = storage_backend(settings, settings.storage_prefix if prefix is None else prefix)
    if settings.storage_type != "local" and spooled:
        backend = Spooled(backend, spool_folder(settings, backend))
    return StorageService(backend, clock.utc_now)


def open_store_again(settings: Settings, storage: str) -> StorageService:
    """Open the storage of something kept earlier: a prefix of the settings' own, or a folder."""
    if Path(storage).is_absolute():
        return open_store(settings, storage)
    return open_store(settings, prefix=storage)


def report_folder(text: str) -> Path:
    """Return the folder that an order names for its reports; ``~`` and ``$HOME`` are understood.

    :raises UsageError: naming a variable in it that is not set.
    """
    try:
        return absolute_path(text, Path.cwd(), os.environ).resolve()
    except ValueError as error:
        raise UsageError(f"the folder for reports (--output-dir, output_dir) {error}") from None


def check_writable(directory: Path, name: str = "--output-dir, output_dir", what: str = "reports") -> None:
    """Check that a folder can be written or made, without changing anything; ``name`` is where it is set.

    :raises StorageError: naming it, and ``what`` would go there, when it cannot.
    """
    whole = directory.resolve()
    place = next(each for each in (whole, *whole.parents) if os.access(each, os.F_OK))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise StorageError(
            f"{what} cannot be kept in {whole}: {place} is no folder that this user may write;"
            f" name another one ({name}), or change its rights"
        )


def check_files(files: Iterable[Path], what: str) -> None:
    """Check that files can be written: a command of another user may have made them.

    :raises StorageError: naming the first that cannot.
    """
    closed = [each for each in sorted(files) if each.is_file() and not os.access(each, os.R_OK | os.W_OK)]
    if closed:
        raise StorageError(
            f"{what} cannot be written: {closed[0]} is a file that this user may not write; make this user"
            " its owner, or run as the user who made it"
        )


def check_machine(settings: Settings, directory: str | None = None) -> None:
    """Check all that a run needs of this machine: names in UTF-8, scratch files, its folders.

    ``directory`` is the order's own folder for reports.

    :raises SettingsError, StorageError: with what to set, before anything is collected.
    """
    check_encoding()
    provide_scratch(settings.output_base_dir)
    if "file" in settings.log_target:
        check_writable(settings.log_dir, "LOG_DIR", "the log")
    if directory:
        _check_report_folders(report_folder(directory), "--output-dir, output_dir")
        return
    check_writable(settings.output_base_dir, "OUTPUT_BASE_DIR")
    if settings.storage_type != "local":
        check_writable(settings.output_base_dir / UNSENT, "OUTPUT_BASE_DIR")
        return
    for prefix in storage_prefixes(settings):
        _check_report_folders(settings.output_base_dir / prefix, "OUTPUT_BASE_DIR")


def prefect_home(settings: Settings) -> Path:
    """Return the folder of the data of Prefect's temporary server, where no other server is set.

    :raises StorageError: when it cannot be written, which that server would not survive.
    """
    home = settings.output_base_dir / PREFECT_HOME
    if not settings.prefect_api_url:
        check_writable(home, "OUTPUT_BASE_DIR", "Prefect's data")
        check_files(home.glob("*"), "Prefect's data")
    return home


def _check_report_folders(root: Path, name: str) -> None:
    """Check the folders that a report is written into, some of which another user may have made."""
    for folder in ("", INCOMING, *chain.from_iterable(map(written_folders, plugins.REPORT_FORMATS))):
        check_writable(root / folder, name)


def storage_backend(settings: Settings, prefix: str) -> StorageBackend:
    """Build the storage of the settings, below a prefix; a local one has folders instead."""
    options = dict(settings.storage_options)
    if "root" in options:
        options["root"] = Path(options["root"]) / prefix
    else:
        options["prefix"] = prefix
    backend: StorageBackend = plugins.load("storage", settings.storage_type)(**options)
    return backend


def spool_folder(settings: Settings, backend: StorageBackend) -> Path:
    """Return the folder where files wait for a storage: one for each bucket and prefix."""
    return settings.output_base_dir / UNSENT / safe_name(place_of(backend))


def storage_prefixes(settings: Settings) -> tuple[str, ...]:
    """Return the common prefix and those of the apps, each once."""
    return tuple(dict.fromkeys((settings.storage_prefix, *(app.storage_prefix for app in settings.apps))))


def strange_spools(settings: Settings) -> Sequence[Path]:
    """Return the folders with files that wait for a storage which the settings no longer name."""
    current: set[Path] = set()
    if settings.storage_type != "local":
        backends = [storage_backend(settings, prefix) for prefix in storage_prefixes(settings)]
        current = {spool_folder(settings, backend) for backend in backends}
    waiting = {path.parent for path in (settings.output_base_dir / UNSENT).glob("*/files")}
    return sorted(folder for folder in waiting - current if any((folder / "files").glob("[!.]*")))


def check_storage(settings: Settings) -> str:
    """Write, read and delete a small file under every prefix in use, and return where that was.

    :raises StorageError: with a line for each way in which it cannot be reached, or refuses.
    """
    places: list[str] = []
    problems: dict[str, list[str]] = {}
    for prefix in storage_prefixes(settings):
        store = open_store(settings, prefix=prefix, spooled=False)
        try:
            places.append(store.check())
        except StorageError as error:
            whole = store.place.removesuffix(f"/{prefix}") if prefix else store.place
            line = re.sub(re.escape(store.place) + r"/[^\s:;,]*", f"{whole}{PREFIXES}", str(error))
            problems.setdefault(line, []).append(prefix)
            if isinstance(error, StorageUnavailableError):
                break  # the others are in the same storage
    if problems:
        is_whole = len(problems) == 1 and not places
        raise StorageError("\n".join(_with_prefixes(*each, is_whole=is_whole) for each in problems.items()))
    return f"{', '.join(places)} keeps, gives back and forgets a file"


def _with_prefixes(line: str, prefixes: Sequence[str], *, is_whole: bool) -> str:
    """Put the prefixes into a message, but not where it is about the whole storage."""
    named = ", ".join(prefix or "(no prefix)" for prefix in prefixes)
    text = f"/{named}" if len(prefixes) == 1 and prefixes[0] else f"/{{{named}}}"
    return line.replace(PREFIXES, "" if is_whole else text)


def clean_storage(app: str | None = None, *, dry_run: bool = False) -> list[dict[str, Any]]:
    """Apply the retention of all apps or one; return what was deleted (or would be) by app, as plain values.

    :raises FatalError: naming all apps whose storage could not be cleaned, when the others are done.
    """
    settings = load_settings(need_app=False)
    chosen = [settings.app(app)] if app else list(settings.apps)
    with opened_ledger(settings) as ledger:
        shelves = [
            AppReports(
                app=each.key,
                app_name=each.name,
                store=open_store(settings, prefix=each.storage_prefix, spooled=False),
                retention=Retention(
                    each.report_retention_days, each.report_retention_count, each.report_retention_mb
                ),
            )
            for each in chosen
        ]
        return Cleaner(ledger, clock.utc_now, user_name()).clean(shelves, dry_run=dry_run)
