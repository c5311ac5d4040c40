"""What only asking tells: whether ledger, bucket, mail servers and Dify take us."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from flowledger.bootstrap import clock
from flowledger.bootstrap.configuration import rescued
from flowledger.bootstrap.ledgers import opened_ledger
from flowledger.bootstrap.notifications import addressees
from flowledger.bootstrap.pipelines import open_source, shared_servers, transport_options
from flowledger.bootstrap.stores import check_storage
from flowledger.dify.fetcher import WorkflowLogFetcher
from flowledger.dify.retry import RetryPolicy
from flowledger.dify.session import SessionOptions
from flowledger.errors import FlowledgerError, RetriableError
from flowledger.ports import Probed
from flowledger.services.secret_masking import redacted
from flowledger.settings import AppSettings, Inspection, Settings
from flowledger.settings.config import is_stand_in

PATIENCE_S = 10.0
"""For one answer of Dify: who waits here is a person."""


@dataclass(slots=True)
class Findings:
    """What asking came to: what has to be mended, and what could not be found out, a line each."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def try_out(self, what: str, look: Callable[[], object]) -> None:
        """Look at something, and note what is wrong with it."""
        try:
            look()
        except FlowledgerError as error:
            self.problems += [f"{what}: {line}" for line in redacted(str(error)).splitlines()]


def probe(inspection: Inspection) -> Findings:
    """Ask everything that the settings name, once each and without a message to anybody.

    What is wrong in the settings already is left out: it has its line.  A Dify that does not answer is no
    problem of the settings, a key that it refuses is one.  While a file cannot be read nothing is asked: it
    may name other places.
    """
    settings, found = rescued(inspection), Findings()
    if inspection.reading.is_partial:
        return found
    found.try_out("ledger", lambda: _open_ledger(settings))
    kind = settings.storage_type
    if kind != "local" and not inspection.is_wrong(f"{kind.upper()}_", "STORAGE_"):
        found.try_out("storage", lambda: check_storage(settings))
    _probe_channels(settings, found)
    _probe_apps(settings, found)
    return found


def _open_ledger(settings: Settings) -> None:
    with opened_ledger(settings):
        pass


def probed_channels(settings: Settings) -> Mapping[str, Probed]:
    """Give the channels that can be asked without a message to anybody, by name: mail servers."""
    channels = {name: each.channel for name, each in addressees(settings).items()}
    return {name: channel for name, channel in channels.items() if isinstance(channel, Probed)}


def _probe_channels(settings: Settings, found: Findings) -> None:
    asked = probed_channels(settings)
    for name, each in addressees(settings).items():
        if name in asked:
            found.try_out(f"channel {name}", asked[name].probe)
        else:
            found.notes.append(
                f"channel {name}: {each.type} takes nothing but messages, so it was not asked; to try it:"
                f" flowledger notify test --channel {name}"
            )


def _probe_apps(settings: Settings, found: Findings) -> None:
    away: set[str] = set()
    with shared_servers():
        for app in _whole_apps(settings):
            if app.base_url in away:
                continue
            try:
                _probe_app(app)
            except RetriableError as error:
                away.add(app.base_url)
                said = redacted(str(error))
                found.notes.append(f"the keys of apps at {app.base_url} could not be checked: {said}")
            except FlowledgerError as error:
                found.problems.append(redacted(f"app {app.name}: {error}"))


def _whole_apps(settings: Settings) -> Iterator[AppSettings]:
    return (app for app in settings.apps if not is_stand_in(app))


def _probe_app(app: AppSettings) -> None:
    """Ask with the app's key, and with its way into the console where it has one.

    :raises AuthenticationError: for a refused key or log-in; UsageError: for the id of another app.
    """
    options = SessionOptions(
        transport=transport_options(app, min(PATIENCE_S, app.request_deadline_s)),
        retry=RetryPolicy(tries=1),
        now=clock.utc_now,
    )
    with open_source(app, options) as source:
        _look_at(source)


def _look_at(source: WorkflowLogFetcher) -> None:
    if source.console is None:
        source.title()
    else:
        source.check_app_id()
