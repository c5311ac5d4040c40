"""``flowledger doctor``: every part of the installation, ok or what to do."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import click

from flowledger import bootstrap
from flowledger.dify.fetcher import WorkflowLogFetcher
from flowledger.errors import FlowledgerError
from flowledger.io.encoding import check_encoding
from flowledger.io.scratch import provide_scratch
from flowledger.ports import Probed
from flowledger.services.secret_masking import redacted
from flowledger.settings import AppSettings, Settings

ENOUGH_BYTES = 1024**3
TOLERABLE_S = 5
"""A clock that differs by more puts runs into the wrong window where a window ends now."""


class CheckFailedError(FlowledgerError):
    """A check that found something a person should mend."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what is looked at, and how; the function says what it found or raises what to do.

    Where a decisive one fails, the rest of its row would only say so again.
    """

    name: str
    look: Callable[[], str]
    decisive: bool = False


@click.command()
@click.option("--app", help="Only this app.")
@click.option("--log-in-again", is_flag=True, help="Try a console password again that was refused before.")
def doctor(app: str | None, log_in_again: bool) -> int:
    """Check settings, servers, log-ins, clocks, ledger, disk, Prefect and mail.

    Exits 1 when something needs attention.
    """
    from flowledger.bootstrap.config_checks import config_checks  # opens what other checks need not

    inspection = bootstrap.inspect_settings()
    settings = inspection.settings
    click.echo(f"ok    settings: {len(settings.apps)} app(s), time zone {settings.timezone}")
    doubts = list(config_checks(inspection))
    for line in doubts:
        click.echo(redacted(f"MEND  settings: {line}"))
    chosen = [settings.app(app)] if app else list(settings.apps)
    with bootstrap.shared_servers(), ExitStack() as stack:
        opened = (
            bootstrap.open_source(each, settings=settings, log_in_again=log_in_again) for each in chosen
        )
        rows = [
            app_checks(each, stack.enter_context(source)) for each, source in zip(chosen, opened, strict=True)
        ]
        passed = [_run_row(row) for row in [*rows, place_checks(settings), service_checks(settings)]]
        return 0 if all(passed) and not doubts else 1


def _run_row(row: Iterator[Check]) -> bool:
    passed = True
    for check in row:
        passed = _report(check) and passed
        if check.decisive and not passed:
            break
    return passed


def _report(check: Check) -> bool:
    try:
        result = check.look()
    except FlowledgerError as error:
        click.echo(redacted(f"MEND  {check.name}: {error}"))
        return False
    click.echo(f"ok    {check.name}: {result}")
    return True


def app_checks(app: AppSettings, source: WorkflowLogFetcher) -> Iterator[Check]:
    """Yield the checks of one app, in an order in which the first failure explains the rest."""
    name = f"app {app.name}"
    yield Check(f"{name}, server", lambda: f"{app.base_url} is Dify {source.release()}", decisive=True)
    yield Check(f"{name}, key", lambda: f"opens {source.title()!r}", decisive=True)
    yield Check(f"{name}, mode", lambda: _mode(source))
    yield Check(f"{name}, clock", lambda: _clock(source))
    yield Check(f"{name}, console", lambda: _console(source))


def _mode(source: WorkflowLogFetcher) -> str:
    if source.lists_logs():
        return "workflow: runs are in its log list"
    if source.console is None:
        raise CheckFailedError("a chatflow: only the console lists its runs, so give it a console log-in")
    if source.lists_runs():
        source.cursor_page(None)
        return "chatflow: runs are read from the console"
    source.conversations(1)
    return "chatflow: runs are found by the console's conversations, since this release does not list them"


def _clock(source: WorkflowLogFetcher) -> str:
    difference_s = (source.now() - bootstrap.clock.utc_now()).total_seconds()
    if abs(difference_s) > TOLERABLE_S:
        raise CheckFailedError(f"the server's clock differs by {difference_s:.0f} s: set both by NTP")
    return f"differs by {abs(difference_s):.0f} s"


def _console(source: WorkflowLogFetcher) -> str:
    if source.console is None:
        raise CheckFailedError(
            "no access, so node executions will be missing: set DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD"
            " (console_email and console_password where it stands under apps:)"
        )
    source.check_app_id()
    # An id that no run has: that the answer is an empty list proves the right to read.
    source.console.node_executions(source.app.app_id, "00000000-0000-0000-0000-000000000000")
    return "log-in works and node executions can be read"


def place_checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of this machine."""
    yield Check("ledger", lambda: _ledger(settings))
    yield Check("scratch", lambda: _scratch(settings))
    yield Check("reports", lambda: _writable(settings.output_base_dir))
    if settings.storage_type != "local":
        yield Check("storage", lambda: bootstrap.check_storage(settings))
    yield Check("disk", lambda: _disk(settings.output_base_dir))


def service_checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of what starts runs and sends messages; chat bots are left out: they would post."""
    from flowledger.bootstrap.config_checks import probed_channels  # opens what other checks need not

    if settings.prefect_api_url:
        yield Check("Prefect", lambda: _prefect(settings))
    for name, channel in probed_channels(settings).items():
        yield Check(f"channel {name}", partial(_probed, channel))


def _prefect(settings: Settings) -> str:
    from flowledger.flows import environment  # Prefect reads its settings when it is imported

    environment.point_at(os.environ, api_url=settings.prefect_api_url)
    from flowledger.flows.registration import check_server

    pool = settings.prefect_work_pool_name
    if problems := list(check_server(pool)):
        raise CheckFailedError("; ".join(problems))
    return f"{settings.prefect_api_url} answers, and has the work pool {pool!r}"


def _probed(channel: Probed) -> str:
    channel.probe()
    return "takes messages"


def _ledger(settings: Settings) -> str:
    with bootstrap.opened_ledger(settings) as ledger:
        operations = ledger.operations(limit=1)
    return "opens, its schema is current" + (", in use" if operations else "")


def _scratch(settings: Settings) -> str:
    check_encoding()
    return f"{provide_scratch(settings.output_base_dir)} takes scratch files, of any name"


def _writable(directory: Path) -> str:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            return f"{directory} can be written"
    except OSError as error:
        raise CheckFailedError(
            f"{directory} cannot be written ({error.strerror}): set OUTPUT_BASE_DIR to a folder that can"
        ) from error


def _disk(directory: Path) -> str:
    place = next(place for place in (directory, *directory.parents) if place.is_dir())
    free = shutil.disk_usage(place).free
    if free < ENOUGH_BYTES:
        raise CheckFailedError(f"only {free // 1024**2} MiB are free at {place}: make room")
    return f"{free // 1024**3} GiB free"
