"""Messages about executions of workflows: the channels of the settings, and the ledger's outbox."""

from collections.abc import Mapping, Sequence

from flowledger.bootstrap.configuration import clock
from flowledger.bootstrap.notifications import addressees, open_report_links
from flowledger.notify.service import NotificationService
from flowledger.notify.templates import Templates
from flowledger.ports import Ledger
from flowledger.services.secret_masking import redacted
from flowledger.settings import Settings


def workflow_notifications(settings: Settings, ledger: Ledger) -> NotificationService:
    """Return the service that sends messages about workflows, each through the channels that it names."""
    return NotificationService(
        addressees=addressees(settings),
        notified=(),
        clock=clock.utc_now,
        templates=Templates(settings.template_dir),
        outbox=ledger,
        # Other messages that wait may have files.
        report_links=open_report_links(settings, None, None),
        hide=redacted,
    )


def try_channels(settings: Settings, ledger: Ledger, names: Sequence[str]) -> Mapping[str, str]:
    """Send a test message through channels, by name, or through all; return the problem of each, or ''."""
    service = workflow_notifications(settings, ledger)
    chosen = dict.fromkeys(names or service.addressees)
    return {name: service.try_channel(name) for name in chosen}
