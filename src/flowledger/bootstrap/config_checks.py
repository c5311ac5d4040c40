"""Everything that can be wrong with the settings: in their files, and with the servers that they name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flowledger import plugins
from flowledger.bootstrap import ledgers, stores
from flowledger.bootstrap.configuration import clock, manager, rescued
from flowledger.bootstrap.notifications import addressees
from flowledger.bootstrap.pipelines import http_options, open_source, shared_servers
from flowledger.bootstrap.schedules import schedule_problems
from flowledger.dify.session import RetryPolicy, SessionOptions
from flowledger.errors import FlowledgerError, RetriableError, SettingsError
from flowledger.notify.templates import check_templates
from flowledger.ports import Probed
from flowledger.services.secret_masking import redacted, register_secrets
from flowledger.settings import AppSettings, Inspection, Settings
from flowledger.settings.config import is_stand_in
from flowledger.settings.problems import doubts_about


def _template_problems(inspection: Inspection) -> Iterator[str]:
    yield from check_templates(inspection.settings.template_dir, tuple(plugins.CHANNELS))


def _doubts(inspection: Inspection) -> Iterator[str]:
    yield from doubts_about(inspection.settings, inspection.reading)


def _machine_problems(inspection: Inspection) -> Iterator[str]:
    """Yield what a run needs of this machine and does not have; folders that can be made are right."""
    settings = inspection.settings
    try:
        stores.check_machine(settings)
        stores.prefect_home(settings)
        _check_ledger(ledgers.path_of(settings.ledger_url.get_secret_value()))
    except FlowledgerError as error:
        yield from str(error).splitlines() if not isinstance(error, SettingsError) else error.problems


def _check_ledger(path: Path | None) -> None:
    """Check that the file or folder of a ledger on this machine can be written, and its files."""
    if path is None:
        return
    folder, names = (path, "*") if path.is_dir() else (path.parent, f"{path.name}*")
    stores.check_writable(folder, "LEDGER_URL", "the ledger")
    stores.check_files(folder.glob(names), "the ledger")


CONFIG_CHECKS: tuple[Callable[[Inspection], Iterator[str]], ...] = (
    schedule_problems,
    _template_problems,
    _doubts,
    _machine_problems,
)
"""Checks of the other files of config/; each yields a line for everything wrong, with its place."""


def config_checks(inspection: Inspection) -> Iterator[str]:
    """Yield a line for everything wrong outside the settings themselves, without contacting any server."""
    for check in CONFIG_CHECKS:
        yield from check(inspection)


def settings_problems() -> tuple[Inspection, tuple[str, ...]]:
    """Return the settings as far as they are right, and all problems, those of ``config_checks`` too."""
    inspection = manager().examine()
    register_secrets(secret.get_secret_value() for secret in inspection.settings.secrets())
    return inspection, (*inspection.problems, *config_checks(inspection))


PROBE_DEADLINE_S = 10.0
"""For one answer of Dify: a person waits for it."""


@dataclass(slots=True)
class ProbeResult:
    """Problems that must be corrected, and notes on what could not be checked, a line each."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self, name: str, check: Callable[[], object]) -> None:
        """Run a check, and add the problems that it raises."""
        try:
            check()
        except FlowledgerError as error:
            self.problems += [f"{name}: {line}" for line in redacted(str(error)).splitlines()]


def probe(inspection: Inspection) -> ProbeResult:
    """Contact every server that the settings name, once each and without a message to anybody.

    What is wrong in the settings already is left out: it has its line.  A Dify that does not answer is no
    problem of the settings, a key that it refuses is one.  While a file cannot be read nothing is contacted:
    it may name other servers.
    """
    settings, result = rescued(inspection), ProbeResult()
    if inspection.reading.is_partial:
        return result
    result.check("ledger", lambda: _open_ledger(settings))
    kind = settings.storage_type
    if kind != "local" and not inspection.is_wrong(f"{kind.upper()}_", "STORAGE_"):
        result.check("storage", lambda: stores.check_storage(settings))
    _probe_channels(settings, result)
    _probe_apps(settings, result)
    return result


def _open_ledger(settings: Settings) -> None:
    with ledgers.opened_ledger(settings):
        pass


def probed_channels(settings: Settings) -> Mapping[str, Probed]:
    """Return the channels that can be checked without a message to anybody, by name: mail servers."""
    channels = {name: each.channel for name, each in addressees(settings).items()}
    return {name: channel for name, channel in channels.items() if isinstance(channel, Probed)}


def _probe_channels(settings: Settings, result: ProbeResult) -> None:
    probed = probed_channels(settings)
    for name, each in addressees(settings).items():
        if name in probed:
            result.check(f"channel {name}", probed[name].probe)
        else:
            result.notes.append(
                f"channel {name}: {each.type} takes nothing but messages, so it was not asked; to try it:"
                f" flowledger notify test --channel {name}"
            )


def _probe_apps(settings: Settings, result: ProbeResult) -> None:
    unreachable: set[str] = set()
    with shared_servers():
        for app in settings.apps:
            # A stand-in replaces an app whose settings are wrong; and one line for each server is enough.
            if is_stand_in(app) or app.base_url in unreachable:
                continue
            try:
                _probe_app(app, settings)
            except RetriableError as error:
                unreachable.add(app.base_url)
                reason = redacted(str(error))
                result.notes.append(f"the keys of apps at {app.base_url} could not be checked: {reason}")
            except FlowledgerError as error:
                result.problems.append(redacted(f"app {app.name}: {error}"))


def _probe_app(app: AppSettings, settings: Settings) -> None:
    """Use the app's key, and its way into the console where it has one.

    :raises AuthenticationError: for a refused key or log-in; UsageError: for the id of another app.
    """
    options = SessionOptions(
        http=http_options(app, min(PROBE_DEADLINE_S, app.request_deadline_s)),
        retry=RetryPolicy(tries=1),
        now=clock.utc_now,
    )
    with open_source(app, options, settings=settings) as source:
        if source.console is None:
            source.title()
        else:
            source.check_app_id()
