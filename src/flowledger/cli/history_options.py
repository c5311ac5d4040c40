"""The filters that the commands of ``flowledger history`` share, and what they open."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import click

from flowledger import bootstrap, plugins
from flowledger.domain.history import RunQuery
from flowledger.ports import Ledger
from flowledger.services.history.filters import Apps, Asked, query_of
from flowledger.settings import Settings

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
_NAMES = tuple(each.name for each in fields(Asked))


def filters(command: Command) -> Command:
    """Give a command the filters; it takes them as keywords and hands them to ``asked_of``."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def asked_of(given: dict[str, Any]) -> Asked:
    """Make one value of the filters."""
    return Asked(**{name: given[name] for name in _NAMES})


@dataclass(frozen=True, slots=True)
class Desk:
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

    def query(self, asked: Asked) -> RunQuery:
        """Read filters."""
        return query_of(asked, self.apps, bootstrap.clock.utc_now(), self.settings.timezone)


@contextmanager
def opened_desk() -> Iterator[Desk]:
    """Open the ledger of the settings."""
    settings = bootstrap.load_settings(need_app=False)
    with bootstrap.opened_ledger(settings) as ledger:
        yield Desk(settings, ledger)
