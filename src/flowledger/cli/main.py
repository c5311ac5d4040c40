"""``flowledger``: its commands, and how each ends."""

import gc
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import click
from loguru import logger

from flowledger import __version__
from flowledger.cli.lazy_commands import LazyCommands
from flowledger.cli.warnings_shown import show_defect, shown_warnings
from flowledger.errors import FlowledgerError, SettingsError, UsageError
from flowledger.services.file_modes import let_no_other_write
from flowledger.services.log_files import kept_as_before
from flowledger.services.redaction import redacted

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
COMMANDS: Mapping[str, str] = {
    "run": "flowledger.cli.run:run",
    "demo": "flowledger.cli.demo:demo",
    "deploy": "flowledger.cli.deploy:deploy",
    "simulate": "flowledger.cli.simulate:simulate",
    "doctor": "flowledger.cli.doctor:doctor",
    "config": "flowledger.cli.config:config",
    "secrets": "flowledger.cli.secrets:secrets",
    "backfill": "flowledger.cli.backfill:backfill",
    "catch-up": "flowledger.cli.backfill:catch_up",
    "history": "flowledger.cli.history:history",
    "logs": "flowledger.cli.logs:logs",
    "storage": "flowledger.cli.storage:storage",
    "notify": "flowledger.cli.notify:notify",
    "serve": "flowledger.cli.serve:serve",
    "keys": "flowledger.cli.keys:keys",
    "audit": "flowledger.cli.audit:audit",
}
SUMMARIES: Mapping[str, str] = {
    "run": "Collect, keep and report the runs of one app and period.",
    "demo": "Do the whole job against a simulated Dify; nothing is configured.",
    "deploy": "Register deployments on the Prefect server.",
    "simulate": "Serve a simulated Dify until interrupted.",
    "doctor": "Check the installation; say what to mend.",
    "config": "Show and check the settings.",
    "secrets": "Make keys; encrypt the secrets of settings.",
    "backfill": "Report past days, weeks or months, each once.",
    "catch-up": "Fill what the schedules owe and the ledger cannot prove.",
    "history": "List, export, copy, move and clear the runs of every source.",
    "logs": "Search the program's own log.",
    "storage": "Look after the kept reports: list, count, clean, upload, link.",
    "notify": "Try the channels, see the messages that wait, send them.",
    "serve": "Serve the HTTP API until stopped.",
    "keys": "Make, list and revoke the keys of the HTTP API.",
    "audit": "Show who did what: the audit trail.",
}
"""The commands' own summaries, which tests compare: ``--help`` imports no command to list them."""


@click.group(
    cls=LazyCommands,
    places=COMMANDS,
    summaries=SUMMARIES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="flowledger")
def cli() -> None:
    """Collect the runs of Dify apps completely, keep them in a ledger, and report them."""


def spare_collector() -> None:
    """Let the garbage collector look for cycles more rarely, for the rest of the process.

    Parsed JSON has none: searching hundreds of thousands of its values took a third of a run (measured),
    and memory does not grow for it, because everything else is freed by its reference count.
    """
    gc.set_threshold(100_000, 50, 100)


def keep_error(error: FlowledgerError) -> None:
    """Write why a command failed to the log that it kept, if it got so far."""
    # A folder that cannot be written is what failed, or has been told.
    with suppress(SettingsError), kept_as_before():
        logger.error("flowledger failed: {}", error)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits 0 fine, 1 failed, 2 wrong words, 3 uncertified under --strict."""
    spare_collector()
    let_no_other_write()
    sys.excepthook = show_defect
    # systemd and containers stop a program by SIGTERM: then too, what was read is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with shown_warnings():
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
        keep_error(error)
        click.echo(redacted(f"error: {error}"), err=True)
        sys.exit(EXIT_FAILURE)
    sys.exit(status if isinstance(status, int) else 0)
