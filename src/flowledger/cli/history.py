"""``flowledger history``: its commands, the filters that they share, and the ledger that they open."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import click

from flowledger import bootstrap, plugins
from flowledger.cli.main import LazyCommand, LazyCommands
from flowledger.domain.history import RunQuery
from flowledger.ports import Ledger
from flowledger.services.history.filters import Apps, HistoryFilter, query_of
from flowledger.settings import Settings

COMMANDS: Mapping[str, LazyCommand] = {
    "list": LazyCommand("flowledger.cli.history_reading", "list_runs", "List runs, newest first."),
    "show": LazyCommand(
        "flowledger.cli.history_reading", "show", "Show one run whole; KEY is its id, or source:app:run."
    ),
    "tail": LazyCommand(
        "flowledger.cli.history_reading",
        "tail",
        "Show the newest runs; --follow shows new ones as well.",
    ),
    "export": LazyCommand(
        "flowledger.cli.history_transfer", "export", "Write runs as JSON lines, JSON, CSV or Parquet."
    ),
    "import": LazyCommand(
        "flowledger.cli.history_transfer", "import_", "Read what export --lossless wrote, or records."
    ),
    "backup": LazyCommand(
        "flowledger.cli.history_transfer", "backup", "Write the whole ledger into one compressed file."
    ),
    "restore": LazyCommand(
        "flowledger.cli.history_transfer", "restore", "Bring a backup back, checked whole before."
    ),
    "migrate": LazyCommand(
        "flowledger.cli.history_transfer", "migrate", "Copy all that one ledger holds into another."
    ),
    "verify": LazyCommand(
        "flowledger.cli.history_transfer", "verify", "Compare two ledgers: counts, ids and content hashes."
    ),
    "compact": LazyCommand(
        "flowledger.cli.history_removal", "compact", "Give the space of what was deleted back to the disk."
    ),
    "delete": LazyCommand("flowledger.cli.history_removal", "delete", "Delete single runs."),
    "clear": LazyCommand(
        "flowledger.cli.history_removal", "clear", "Delete all runs that the filters let through."
    ),
    "move-app": LazyCommand(
        "flowledger.cli.history_removal", "move_app", "Move runs that were filed under a wrong app id."
    ),
    "archive": LazyCommand(
        "flowledger.cli.history_removal", "archive", "Archive runs beyond the retention, and delete them."
    ),
    "archives": LazyCommand(
        "flowledger.cli.history_removal", "archives", "List the archives of runs, or check one."
    ),
    "restore-archive": LazyCommand(
        "flowledger.cli.history_removal", "restore_archive", "Bring the runs of an archive back."
    ),
}
Command = TypeVar("Command", bound=Callable[..., Any])
_FILTERS = (
    click.option(
        "--source", "sources", multiple=True, metavar="SOURCE", help="dify, log or coze; may be repeated."
    ),
    click.option(
        "--app",
        "apps",
        multiple=True,
        metavar="APP",
        help="Name or id in the settings, or source:id; may be repeated.",
    ),
    click.option(
        "--workflow", "workflows", multiple=True, metavar="ID", help="App id in any source; may be repeated."
    ),
    click.option(
        "--status", "statuses", multiple=True, metavar="STATUS", help="Such as failed; may be repeated."
    ),
    click.option("--since", metavar="TIME", help="ISO 8601, or how long ago: 7d, 24h."),
    click.option("--until", metavar="TIME", help="Likewise, inclusive; a bare date means its end."),
    click.option(
        "--user",
        default="",
        metavar="USER",
        help="Exactly the id, name, e-mail or session id of the starter.",
    ),
    click.option("--longer", metavar="TIME", help="At least so long: 10s, 2m."),
    click.option("--shorter", metavar="TIME", help="At most so long."),
    click.option("--text", default="", metavar="TEXT", help="In run id, error and starter, in either case."),
)
_NAMES = tuple(each.name for each in fields(HistoryFilter))


@click.group(cls=LazyCommands, lazy=COMMANDS)
def history() -> None:
    """List, export, copy, move and clear the runs of every source."""


def filters(command: Command) -> Command:
    """Add the filters to a command; it takes them as keywords and passes them to ``run_filter_of``."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def run_filter_of(options: dict[str, Any]) -> HistoryFilter:
    """Fold the options of the filters into one value."""
    return HistoryFilter(**{name: options[name] for name in _NAMES})


@dataclass(frozen=True, slots=True)
class OpenHistory:
    """The settings and the ledger that a command works on."""

    settings: Settings
    ledger: Ledger

    @property
    def apps(self) -> Apps:
        """The apps that can be named."""
        configured = [(app.name, app.key) for app in self.settings.apps]
        return Apps(configured, [each.app for each in self.ledger.apps()])

    @property
    def sources(self) -> list[str]:
        """The sources that runs may be of."""
        return list(dict.fromkeys([*plugins.DECODERS, *(each.app.source for each in self.ledger.apps())]))

    def query(self, run_filter: HistoryFilter) -> RunQuery:
        """Read filters."""
        return query_of(run_filter, self.apps, bootstrap.clock.utc_now(), self.settings.timezone)


@contextmanager
def open_history() -> Iterator[OpenHistory]:
    """Open the ledger of the settings."""
    settings = bootstrap.load_settings(need_app=False)
    with bootstrap.opened_ledger(settings) as ledger:
        yield OpenHistory(settings, ledger)
