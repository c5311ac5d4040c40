"""``flowledger``: its commands, how each ends, and what it shows of warnings and defects."""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from loguru import logger

from flowledger import __version__
from flowledger.domain.texts import clip, one_line
from flowledger.errors import FlowledgerError, SchedulerError, SettingsError, UsageError
from flowledger.io.encoding import restart_in_utf8
from flowledger.services.log_files import logging_as_before, on_stderr, restrict_umask
from flowledger.services.secret_masking import redacted

if TYPE_CHECKING:
    from loguru import Message, Record

PREFECT_PACKAGES = frozenset({"prefect", "httpx", "httpcore"})
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
LOGURUS_OWN_SINK = 0


class LazyCommand(NamedTuple):
    """A command that is not imported yet: the file and the function of it, and its line in the help."""

    module: str
    name: str
    help: str


class LazyCommands(click.Group):
    """A group whose commands are imported when they are called; its own help imports none of them.

    All of them together need a second of imports: SQLAlchemy, pydantic, requests, rich.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **options: Any) -> None:
        super().__init__(*args, **options)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names, in the order given."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None for an unknown name."""
        if cmd_name not in self._lazy:
            return None
        place = self._lazy[cmd_name]
        command: click.Command = getattr(import_module(place.module), place.name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in self._lazy.items()])


COMMANDS: Mapping[str, LazyCommand] = {
    "run": LazyCommand(
        "flowledger.cli.run", "run", "Collect, keep and report the runs of one app and period."
    ),
    "demo": LazyCommand(
        "flowledger.cli.demo", "demo", "Do the whole job against a simulated Dify; nothing is configured."
    ),
    "deploy": LazyCommand("flowledger.cli.deploy", "deploy", "Register deployments on the Prefect server."),
    "simulate": LazyCommand(
        "flowledger.cli.simulate", "simulate", "Serve a simulated Dify until interrupted."
    ),
    "doctor": LazyCommand("flowledger.cli.doctor", "doctor", "Check the installation; say what to mend."),
    "config": LazyCommand("flowledger.cli.config", "config", "Show and check the settings."),
    "secrets": LazyCommand(
        "flowledger.cli.secrets", "secrets", "Make keys; encrypt the secrets of settings."
    ),
    "backfill": LazyCommand(
        "flowledger.cli.backfill", "backfill", "Report past days, weeks or months, each once."
    ),
    "catch-up": LazyCommand(
        "flowledger.cli.backfill", "catch_up", "Fill what the schedules owe and the ledger cannot prove."
    ),
    "history": LazyCommand(
        "flowledger.cli.history", "history", "List, export, copy, move and clear the runs of every source."
    ),
    "workflow": LazyCommand(
        "flowledger.cli.workflow", "workflow", "Define, publish and execute workflows of API calls."
    ),
    "execution": LazyCommand(
        "flowledger.cli.execution", "execution", "List and follow executions; cancel, pause, resume them."
    ),
    "approvals": LazyCommand("flowledger.cli.approvals", "approvals", "List what waits for people."),
    "worker": LazyCommand("flowledger.cli.worker", "worker", "Execute workflows until stopped."),
    "simulate-api": LazyCommand(
        "flowledger.cli.simulate_api", "simulate_api", "Serve an API for trying workflows, until interrupted."
    ),
    "logs": LazyCommand("flowledger.cli.logs", "logs", "Search the program's own log."),
    "storage": LazyCommand(
        "flowledger.cli.storage", "storage", "Look after the kept reports: list, count, clean, upload, link."
    ),
    "notify": LazyCommand(
        "flowledger.cli.notify", "notify", "Try the channels, see the messages that wait, send them."
    ),
    "serve": LazyCommand("flowledger.cli.serve", "serve", "Serve the HTTP API until stopped."),
    "keys": LazyCommand("flowledger.cli.keys", "keys", "Make, list and revoke the keys of the HTTP API."),
    "audit": LazyCommand("flowledger.cli.audit", "audit", "Show who did what: the audit trail."),
}


@click.group(
    cls=LazyCommands,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="flowledger")
def cli() -> None:
    """Collect the runs of Dify apps completely, keep them in a ledger, and report them."""


def tune_garbage_collector() -> None:
    """Let the garbage collector search for cycles more rarely, for the rest of the process.

    Parsed JSON has none: searching hundreds of thousands of its values took a third of a run (measured),
    and memory does not grow for it, because everything else is freed by its reference count.
    """
    gc.set_threshold(100_000, 50, 100)


def log_error(error: FlowledgerError) -> None:
    """Write why a command failed to the program's log, if the command got as far as opening it."""
    # A folder that cannot be written is what failed, or was reported already.
    with suppress(SettingsError), logging_as_before():
        logger.error("flowledger failed: {}", error)


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Show warnings and errors on standard error, a line each, until the context ends."""
    with suppress(ValueError):
        logger.remove(LOGURUS_OWN_SINK)
    # Neither variables nor frames: they could hold keys.
    sink = logger.add(
        _write, level="WARNING", filter=_is_ours, format="{message}", backtrace=False, diagnose=False
    )
    try:
        yield
    finally:
        logger.remove(sink)


def show_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show what nobody raised on purpose, with its traceback but without secrets, as ``sys.excepthook``."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def prefect_problem(error: BaseException) -> str | None:
    """Return a sentence for an error of Prefect or of the HTTP client below it; None for any other.

    The one place for what a command does not word better itself.
    """
    causes = [error, *filter(None, (error.__cause__, error.__context__))]
    is_prefect = any(type(each).__module__.partition(".")[0] in PREFECT_PACKAGES for each in causes)
    if not is_prefect and not any("Prefect API" in str(each) for each in causes):
        return None
    where = os.environ.get("PREFECT_API_URL") or "the one that is started for this command"
    return (
        f"Prefect's server ({where}) does not do as asked: {type(error).__name__}:"
        f" {clip(one_line(str(error)), 300)}; see whether it runs"
        " (flowledger doctor), or run without it: flowledger run --direct"
    )


def _write(message: "Message") -> None:
    record = message.record
    error = record["exception"]
    cause = f": {error.type.__name__}: {error.value}" if error is not None and error.type else ""
    sys.stderr.write(redacted(f"{record['level'].name}: {record['message']}{cause}") + "\n")


def _is_ours(record: "Record") -> bool:
    """Return whether nobody else shows a line: neither Prefect nor the log itself."""
    return "flow_run_id" not in record["extra"] and not on_stderr()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits 0 fine, 1 failed, 2 wrong words, 3 incomplete."""
    if arguments is None:
        restart_in_utf8()
    tune_garbage_collector()
    restrict_umask()
    # Python's own traceback would show keys that stand in texts of errors.
    sys.excepthook = show_defect
    # systemd and containers stop a program by SIGTERM: then too, what was read is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with warnings_on_stderr():
            status = cli.main(args=arguments, prog_name="flowledger", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped; what was read so far is in the ledger", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UsageError as error:
        click.echo(redacted(f"error: {error}"), err=True)
        sys.exit(EXIT_USAGE)
    except FlowledgerError as error:
        log_error(error)
        click.echo(redacted(f"error: {error}"), err=True)
        sys.exit(EXIT_FAILURE)
    except Exception as error:
        if (sentence := prefect_problem(error)) is None:
            raise
        failure = SchedulerError(sentence)
        log_error(failure)
        click.echo(redacted(f"error: {failure}"), err=True)
        sys.exit(EXIT_FAILURE)
    sys.exit(status if isinstance(status, int) else 0)
