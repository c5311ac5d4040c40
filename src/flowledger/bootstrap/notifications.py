"""The notification service of the settings: which channels are notified, and with what."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import partial

from loguru import logger
from pydantic import ValidationError

from flowledger import plugins
from flowledger.bootstrap.configuration import clock, kept_logs
from flowledger.bootstrap.ledgers import opened_ledger
from flowledger.bootstrap.stores import open_store_again, report_folder
from flowledger.domain.windows import zone
from flowledger.errors import FlowledgerError, LedgerError, SettingsError, UsageError
from flowledger.notify.notices import BareLinks, Subject, no_figures
from flowledger.notify.service import Addressee, NotificationService
from flowledger.notify.templates import Templates
from flowledger.ports import Ledger, ReportLinks, StorageBackend
from flowledger.services.report_links import MEGABYTE, StoredReportLinks
from flowledger.services.report_requests import RunAttempt, RunOrder, figures_before
from flowledger.services.secret_masking import redacted
from flowledger.settings import AppSettings, Settings


@contextmanager
def open_notifications(
    settings: Settings, order: RunOrder, about: RunAttempt
) -> Iterator[NotificationService]:
    """Open the service that notifies how an order ended; of an unknown app, the channels of all apps are.

    Where the ledger cannot be opened, messages are sent but cannot wait.
    """
    app = _app_if_any(settings, order.app)
    with ExitStack() as stack:
        with suppress(SettingsError):  # people are notified even without a folder for logs
            stack.enter_context(kept_logs(settings, app))
        ledger = _ledger_if_any(settings, stack)
        yield NotificationService(
            addressees=addressees(settings),
            notified=notified_channels(settings, app),
            clock=clock.utc_now,
            templates=Templates(settings.template_dir),
            outbox=ledger,
            subject=_subject(settings, app, order, about),
            report_links=_report_links_if_any(settings, app, order.output_dir),
            previous_figures=partial(figures_before, ledger, app.key) if ledger and app else no_figures,
            hide=redacted,
        )


def _subject(settings: Settings, app: AppSettings | None, order: RunOrder, about: RunAttempt) -> Subject:
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
        logs_url=f"{app.base_url}/app/{app.id}/logs",
    )


def _app_if_any(settings: Settings, name: str | None) -> AppSettings | None:
    """Return the app of an order; None where there is none of that name, which may be why it failed."""
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


def _report_links_if_any(settings: Settings, app: AppSettings | None, directory: str | None) -> ReportLinks:
    try:
        return open_report_links(settings, app, directory)
    except (FlowledgerError, ValidationError) as error:
        # Why it cannot be opened may be the very failure that the message is about.
        logger.error("messages go without links and files: {}", error)
        return BareLinks()


def addressees(settings: Settings) -> Mapping[str, Addressee]:
    """Build every channel of the settings, by name; none where notifications are off."""
    if not settings.notification_enabled:
        return {}
    return {
        name: Addressee(each.type, plugins.load("channel", each.type)(**each.options))
        for name, each in settings.channels.items()
    }


def notified_channels(settings: Settings, app: AppSettings | None) -> Sequence[str]:
    """Return the names of the channels that are notified of an app, or of all apps for an unknown one.

    Where none of those an app names can be used, all others are notified: somebody has to be.
    """
    apps = (app,) if app else settings.apps
    names = tuple(dict.fromkeys(each.name for one in apps for each in settings.channels_of(one)))
    is_silenced = app is not None and bool(app.channels) and not names
    return tuple(addressees(settings)) if is_silenced or not settings.apps else names


def open_report_links(
    settings: Settings, app: AppSettings | None, directory: str | None
) -> StoredReportLinks:
    """Open the links to an app's reports; ``directory`` is the output folder of the order, if it has one."""
    prefix = app.storage_prefix if app else settings.storage_prefix
    storage = str(report_folder(directory)) if directory else prefix
    return StoredReportLinks(
        _storage_of(settings, storage),
        most_bytes=int(settings.notification_attach_mb * MEGABYTE),
        valid_for=timedelta(hours=settings.link_hours),
        opened=partial(_storage_of, settings),
        storage=storage,
    )


def _storage_of(settings: Settings, storage: str) -> StorageBackend:
    """Open the storage of an attachment, as it stands in the outbox: a message may wait for long."""
    return open_store_again(settings, storage).backend
