"""What the workflow classes share: one ledger for each place, opened at the first use, and rows."""

import atexit
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from flowledger.bootstrap import load_settings, user_name
from flowledger.bootstrap.ledgers import open_record_ledger, options_of_records
from flowledger.bootstrap.workflows import WorkflowServices, workflow_services
from flowledger.ports import Ledger
from flowledger.settings import Settings


class Row(dict[str, Any]):
    """A JSON object whose fields are attributes as well: ``row.id`` and ``row["id"]``."""

    def __getattr__(self, name: str) -> Any:
        """Return a field."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no field {name!r}: {', '.join(self)}") from None


@dataclass(frozen=True, slots=True)
class WorkflowAccess:
    """The services over one ledger; ``user`` is who runs this program."""

    settings: Settings
    ledger: Ledger
    services: WorkflowServices
    user: str


def open_access(config: Mapping[str, Any] | None, ledger: Ledger | None) -> WorkflowAccess:
    """Return the services over a ledger: one that is given, or the one that settings and options name.

    Objects of one process share it, so that they see the same workflows in a ledger in memory, too.
    """
    settings = load_settings(need_app=False)
    if ledger is None:
        ledger = _shared.opened(config)
    return WorkflowAccess(settings, ledger, workflow_services(settings, ledger), user_name())


def close_shared_ledgers() -> None:
    """Close the ledgers that workflow classes have opened; the next use opens them again."""
    _shared.close()


@dataclass(slots=True)
class _SharedLedgers:
    ledgers: dict[tuple[str, str, str], Ledger] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def opened(self, config: Mapping[str, Any] | None) -> Ledger:
        options = options_of_records(config)
        place = (options.storage_type, options.ledger_url.get_secret_value(), str(options.log_dir))
        with self.lock:
            if place not in self.ledgers:
                self.ledgers[place] = open_record_ledger(options.storage_type, options)
            return self.ledgers[place]

    def close(self) -> None:
        with self.lock:
            while self.ledgers:
                self.ledgers.popitem()[1].close()


_shared = _SharedLedgers()
atexit.register(close_shared_ledgers)
