"""Whoever is told, and what they are told with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

from loguru import logger
from pydantic import ValidationError

from flowledger import plugins
from flowledger.bootstrap import clock
from flowledger.bootstrap.configuration import kept_logs
from flowledger.bootstrap.ledgers import opened_ledger
from flowledger.bootstrap.stores import open_store
from flowledger.domain.windows import zone
from flowledger.errors import FlowledgerError, LedgerError, SettingsError, UsageError
from flowledger.notify.notices import BareShelf, Subject, no_figures
from flowledger.notify.service import Addressee, NotificationService
from flowledger.notify.templates import Templates
from flowledger.ports import Ledger, ReportShelf, StorageBackend
from flowledger.services import redaction
from flowledger.services.report_links import MEGABYTE, StorageShelf
from flowledger.services.report_requests import RunOrder, Try, figures_before
from flowledger.settings import AppSettings, Settings


@contextmanager
def open_notifications(settings: Settings, order: RunOrder, about: Try) -> Iterator[NotificationService]:
    """Build what tells people how an order came out; with an unknown app, everyone who is told of any app.

    Where the ledger cannot be opened, messages are sent but cannot wait.
    """
    app = _app_if_known(settings, order.app)
    with ExitStack() as stack:
        with suppress(SettingsError):  # without a folder for logs, people are told all the same
            stack.enter_context(kept_logs(settings, app))
        ledger = _ledger_if_any(settings, stack)
        yield NotificationService(
            addressees=addressees(settings),
            told=told_of(settings, app),
            clock=clock.utc_now,
            templates=Templates(settings.template_dir),
            outbox=ledger,
            subject=_subject(settings, app, order, about),
            shelf=_shelf_if_any(settings, app, order.output_dir),
            before=partial(figures_before, ledger, app.key) if ledger and app else no_figures,
            hide=redaction.redacted,
        )


def _subject(settings: Settings, app: AppSettings | None, order: RunOrder, about: Try) -> Subject:
    if app is None:
        tz = zone(settings.timezone)
        return Subject(
            app_name=order.app or "",
            language=settings.report_language,
            tz=tz,
            run_id=about.run_id,
            run_url=about.url,
        )
    return Subject(
        app=app.key,
        app_name=app.name,
        language=app.language,
        tz=app.tz,
        run_id=about.run_id,
        run_url=about.url,
    )


def _app_if_known(settings: Settings, name: str | None) -> AppSettings | None:
    """Give the app that an order means; None where that is not one, which may be why it failed."""
    try:
        return settings.app(name)
    except UsageError:
        return None


def _ledger_if_any(settings: Settings, stack: ExitStack) -> Ledger | None:
    try:
        return stack.enter_context(opened_ledger(settings))
    except LedgerError as error:
        logger.error("messages cannot wait in the ledger: {}", error)
        return None


def _shelf_if_any(settings: Settings, app: AppSettings | None, directory: str | None) -> ReportShelf:
    try:
        return open_shelf(settings, app, directory)
    except (FlowledgerError, ValidationError) as error:
        # Why it cannot be opened may be the very news.
        logger.error("messages go without links and files: {}", error)
        return BareShelf()


def addressees(settings: Settings) -> Mapping[str, Addressee]:
    """Build every channel of the settings, by name; none where notifications are off."""
    if not settings.notification_enabled:
        return {}
    return {
        name: Addressee(each.type, plugins.load("channel", each.type)(**each.options))
        for name, each in settings.channels.items()
    }


def told_of(settings: Settings, app: AppSettings | None) -> Sequence[str]:
    """Name the channels that hear of an app, or of any app where it is not known.

    Where none of those an app names can be used, all the others hear: somebody has to.
    """
    apps = (app,) if app else settings.apps
    told = tuple(dict.fromkeys(each.name for known in apps for each in settings.channels_of(known)))
    is_silenced = app is not None and bool(app.channels) and not told
    return tuple(addressees(settings)) if is_silenced or not settings.apps else told


def open_shelf(settings: Settings, app: AppSettings | None, directory: str | None) -> StorageShelf:
    """Open an app's reports as messages show them; ``directory`` is the folder an order gave, if any."""
    prefix = app.storage_prefix if app else settings.storage_prefix
    storage = str(Path(directory).resolve()) if directory else prefix
    return StorageShelf(
        _storage_of(settings, storage),
        most_bytes=int(settings.notification_attach_mb * MEGABYTE),
        valid_for=timedelta(hours=settings.link_hours),
        opened=partial(_storage_of, settings),
        storage=storage,
    )


def _storage_of(settings: Settings, storage: str) -> StorageBackend:
    """Open the storage of an attachment: an absolute folder, or a prefix of the settings' storage."""
    if Path(storage).is_absolute():
        return open_store(settings, storage).backend
    return open_store(settings, prefix=storage).backend
