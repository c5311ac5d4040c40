"""``flowledger``: run, demo, simulate, doctor."""

import sys
from collections.abc import Sequence

import click

from flowledger import __version__
from flowledger.cli.demo import demo
from flowledger.cli.doctor import doctor
from flowledger.cli.run import run
from flowledger.cli.simulate import simulate
from flowledger.errors import FlowledgerError, UsageError

EXIT_FAILURE = 1
EXIT_USAGE = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="flowledger")
def cli() -> None:
    """Collect the runs of Dify apps completely, keep them in a ledger, and report them."""


for command in (run, demo, simulate, doctor):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits 0 fine, 1 failed, 2 wrong words, 3 uncertified under --strict."""
    try:
        status = cli.main(args=arguments, standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped; what was read so far is in the ledger", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UsageError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_USAGE)
    except FlowledgerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_FAILURE)
    sys.exit(status if isinstance(status, int) else 0)
