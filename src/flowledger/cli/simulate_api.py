"""``flowledger simulate-api``: the bundled API that examples of workflows call, on loopback."""

import sys
from contextlib import suppress
from threading import Event

import click

from flowledger_simulator.example_api import PASSWORD, serve_example_api


@click.command("simulate-api")
@click.option("--port", default=8090, show_default=True, type=click.IntRange(0, 65535), help="0: a free one.")
def simulate_api(port: int) -> None:
    """Serve users, orders and jobs until interrupted; prints the settings to reach them from workflows."""
    try:
        with serve_example_api(port=port) as api, suppress(KeyboardInterrupt):
            click.echo(f"# an API for examples/workflows at {api.base_url}; stop it with Ctrl+C")
            click.echo("WORKFLOWS_ALLOWED_HOSTS=127.0.0.1")
            click.echo(f"WORKFLOW_SECRETS=EXAMPLE_PASSWORD={PASSWORD}")
            # A program that started it reads these lines from a pipe, and waits for them.
            sys.stdout.flush()
            Event().wait()
    except OSError as error:
        raise click.ClickException(
            f"port {port} cannot be used ({error.strerror}): choose another (--port)"
        ) from None
