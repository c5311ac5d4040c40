"""``flowledger simulate``: the bundled Dify simulator as a server on loopback."""

import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

import flowledger_simulator as simulator
from flowledger.domain.windows import parse_instant, zone
from flowledger_simulator import credentials

DAYS = 2
"""A made-up world reaches from now back so far, so that yesterday has runs in any time zone."""


@click.command()
@click.option("--version", default="1.12.1", show_default=True, help="The Dify release to behave as.")
@click.option("--runs", default=200, show_default=True, type=click.IntRange(min=0))
@click.option("--latency-ms", default=0.0, show_default=True, type=click.FloatRange(min=0.0))
@click.option("--faults", default="", metavar="TEXT", help='Such as "503:0.05,reset:#3@/v1/".')
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--seed", default=1, show_default=True, help="The same seed and end give the same runs.")
@click.option("--end", metavar="ISO", help="Time of the newest run; default: now.")
@click.option("--ties", default=0.3, show_default=True, type=click.FloatRange(0.0, 1.0))
@click.option("--busiest-second", default=90, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--chat-runs", default=0, show_default=True, type=click.IntRange(min=0), help="Adds a chatflow."
)
@click.option("--arrivals", default=0, show_default=True, type=click.IntRange(min=0), help="Per log page.")
@click.option("--dataset", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A JSON file.")
def simulate(**options: Any) -> None:
    """Serve simulated runs until interrupted; prints the settings to reach them."""
    version, dataset, end = options["version"], options["dataset"], options["end"]
    world = (
        simulator.load_dataset(dataset)
        if dataset
        else make_recent_world(
            parse_instant(end, zone("UTC")) if end else datetime.now(UTC),
            **{name: options[name] for name in ("runs", "seed", "ties", "busiest_second", "chat_runs")},
        )
    )
    arrivals = options["arrivals"]
    # An interrupt is how it is meant to end.
    with suppress(KeyboardInterrupt):
        simulator.run(
            world,
            announce=lambda base_url: announce(version, base_url, world),
            version=version,
            port=options["port"],
            latency_ms=options["latency_ms"],
            faults=simulator.parse_faults(options["faults"]),
            options=simulator.Options(on_page=lambda served: served.add_runs(arrivals, int(time.time())))
            if arrivals
            else None,
        )


def make_recent_world(end: datetime, **recipe: Any) -> simulator.World:
    """Make a world whose newest runs are as new as ``end`` (aware)."""
    return simulator.make_world(simulator.Recipe(start=end - timedelta(days=DAYS), end=end, **recipe))


def settings_for(base_url: str, world: simulator.World) -> dict[str, str]:
    """Return the settings, as environment variables, that reach a simulated server's first app."""
    return {
        "DIFY_BASE_URL": base_url,
        "DIFY_API_TOKEN": world.app.api_token,
        "DIFY_APP_ID": world.app.id,
        "DIFY_APP_NAME": world.app.name,
        "DIFY_CONSOLE_EMAIL": credentials.EMAIL,
        "DIFY_CONSOLE_PASSWORD": credentials.PASSWORD,
    }


def announce(version: str, base_url: str, world: simulator.World) -> None:
    """Print how to reach the server, as lines that a .env file takes."""
    click.echo(f"# simulated Dify {version}; stop it with Ctrl+C")
    for name, value in settings_for(base_url, world).items():
        click.echo(f"{name}={value}")
    for other in list(world.apps.values())[1:]:
        click.echo(f"# {other.mode}: DIFY_API_TOKEN={other.api_token} DIFY_APP_ID={other.id}")
    # A program that started the simulator reads these lines from a pipe, and waits for them.
    sys.stdout.flush()
