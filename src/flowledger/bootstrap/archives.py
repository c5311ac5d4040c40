"""Archives of runs: which app's runs are archived where and when, as the settings have it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from flowledger.bootstrap.configuration import app_key, clock, load_settings, user_name
from flowledger.bootstrap.ledgers import decoders, open_ledger_at, opened_ledger
from flowledger.bootstrap.stores import open_store, storage_prefixes
from flowledger.domain.archives import Manifest
from flowledger.domain.record_kinds import LOG
from flowledger.domain.retention import Retention
from flowledger.domain.runs import AppKey
from flowledger.errors import SettingsError, UsageError
from flowledger.ports import Ledger
from flowledger.settings import AppSettings, Settings

try:
    from flowledger.services.archive_store import ArchiveStore
    from flowledger.services.archiving import AppRuns, Archiver
except ImportError as error:
    raise SettingsError(
        [f"archives of runs need pyarrow ({error}): install it with pip install 'flowledger[parquet]'"]
    ) from error


def archive_runs(app: str | None = None, *, dry_run: bool = False) -> list[dict[str, Any]]:
    """Apply the retention of runs, and return what was archived (or would be), app by app, as plain values.

    ``app`` is a name or id in the settings, or ``source:id`` of any other app in the ledger; None means all.

    :raises FatalError: naming all apps whose runs could not be archived, when the others are done.
    """
    settings = load_settings(need_app=False)
    with opened_ledger(settings) as ledger:
        chosen = [app_key(settings, app)] if app else _all_apps(settings, ledger)
        archiver = Archiver(ledger, clock.utc_now, user_name(), settings.stuck_after)
        return archiver.archive([holding(settings, each) for each in chosen], dry_run=dry_run)


def archive_nightly(app: str | None, *, dry_run: bool) -> list[dict[str, Any]]:
    """Do the same in the scheduled cleanup of one app; that of the first app includes all without a cleanup.

    Those are apps that other programs record, and apps that have left the settings.
    """
    settings = load_settings(need_app=False)
    if app is None or not settings.apps or settings.app(app) != settings.apps[0]:
        return archive_runs(app, dry_run=dry_run)
    with opened_ledger(settings) as ledger:
        configured = {each.key for each in settings.apps[1:]}
        chosen = [each for each in _all_apps(settings, ledger) if each not in configured]
        archiver = Archiver(ledger, clock.utc_now, user_name(), settings.stuck_after)
        return archiver.archive([holding(settings, each) for each in chosen], dry_run=dry_run)


def list_archives(app: str | None = None) -> tuple[Sequence[Manifest], Sequence[str]]:
    """Return the archives of all apps or one, oldest first, and the folders of those never finished."""
    settings = load_settings(need_app=False)
    key = app_key(settings, app) if app else None
    stores = list(_stores(settings))
    manifests = [each for store in stores for each in store.manifests(key)]
    unfinished = [] if key else [name for store in stores for name in store.unfinished()]
    return sorted(manifests, key=lambda each: (each.created_at, each.archive)), unfinished


def check_archive(archive: str) -> Manifest:
    """Read a whole archive, and return its manifest.

    :raises UsageError: when there is no such archive; StorageError: naming what is not as it was stored.
    """
    store = _store_of(load_settings(need_app=False), archive)
    manifest = store.manifest(archive)
    store.checked(manifest)
    return manifest


def restore_archive(archive: str, *, to: str | None = None, dry_run: bool = False) -> dict[str, Any]:
    """Bring the runs of an archive back into the ledger, or into another one by its URL.

    :raises UsageError: when there is no such archive; StorageError: when it is not what was stored.
    """
    settings = load_settings(need_app=False)
    store = _store_of(settings, archive)
    opened: AbstractContextManager[Ledger] = open_ledger_at(to) if to else opened_ledger(settings)
    with opened as ledger:
        archiver = Archiver(ledger, clock.utc_now, user_name(), settings.stuck_after)
        return archiver.restore(store, archive, dry_run=dry_run)


def holding(settings: Settings, key: AppKey) -> AppRuns:
    """Return how long an app's runs stay in the ledger, and where they are archived then."""
    app = _settings_of(settings, key)
    prefix = app.storage_prefix if app else settings.storage_prefix
    return AppRuns(
        app=key,
        app_name=app.name if app else str(key),
        retention=retention_of(settings, key),
        store=_store(settings, prefix),
    )


def retention_of(settings: Settings, key: AppKey) -> Retention:
    """Return how long the runs of an app stay in the ledger; logged executions have days of their own."""
    options = _settings_of(settings, key) or settings
    days = settings.records_retention_days if key.source == LOG else options.run_retention_days
    return Retention(days, options.run_retention_count, options.run_retention_mb)


def _all_apps(settings: Settings, ledger: Ledger) -> list[AppKey]:
    configured = [app.key for app in settings.apps]
    return list(dict.fromkeys([*configured, *(each.app for each in ledger.apps())]))


def _settings_of(settings: Settings, key: AppKey) -> AppSettings | None:
    return next((app for app in settings.apps if app.key == key), None)


def _store_of(settings: Settings, archive: str) -> ArchiveStore:
    """Find the storage that has an archive.

    :raises UsageError: when none has.
    """
    refusals: list[UsageError] = []
    for store in _stores(settings):
        try:
            store.manifest(archive)
        except UsageError as error:
            refusals.append(error)
        else:
            return store
    raise refusals[0]


def _stores(settings: Settings) -> Iterator[ArchiveStore]:
    return (_store(settings, prefix) for prefix in storage_prefixes(settings))


def _store(settings: Settings, prefix: str) -> ArchiveStore:
    """Open the archives below a prefix; never with a spool: a file that still waits here is not archived."""
    return ArchiveStore(open_store(settings, prefix=prefix, spooled=False).backend, decoders())
