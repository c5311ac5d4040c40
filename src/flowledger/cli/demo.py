"""``flowledger demo``: the whole main job against the bundled simulator, nothing configured."""

from datetime import UTC, datetime, time
from pathlib import Path

import click

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.cli.run import execute
from flowledger.cli.simulate import make_recent_world, settings_for
from flowledger.cli.terminal import show_summary
from flowledger.errors import StorageError
from flowledger.services.report_requests import RunOrder
from flowledger.settings import ConfigManager

FORMATS = "csv,markdown,json"


@click.command()
@click.option("--runs", default=200, show_default=True, type=click.IntRange(min=1), help="How many runs.")
@click.option("--version", default="1.12.1", show_default=True, help="The Dify release to behave as.")
@click.option("--direct", is_flag=True, help="Without Prefect.")
def demo(runs: int, version: str, direct: bool) -> int:
    """Start a simulated Dify, collect and report what ran there yesterday, and stop it again."""
    folder, zone = place(), bootstrap.DEFAULT_ZONE
    midnight = datetime.combine(datetime.now(zone).date(), time.min, zone).astimezone(UTC)
    # The same day gives the same runs, so a second demo shows that nothing is asked twice.
    world = make_recent_world(midnight, runs=runs, seed=midnight.toordinal())
    with simulator.serve(world, version=version) as server:
        click.echo(f"simulated Dify {version} on {server.base_url}", err=True)
        environ = settings_for(server.base_url, world)
        environ |= {"TIMEZONE": str(zone), "OUTPUT_BASE_DIR": str(folder)}
        # A place of its own: whatever a user has configured here must not mix with the simulator.
        with bootstrap.configured(ConfigManager(root=folder, environ=environ)):
            result = execute(RunOrder(period="yesterday", formats=FORMATS), direct=direct)
    show_summary(result)
    return 0


def place() -> Path:
    """Return the folder of the demonstration's own ledger and reports.

    :raises StorageError: when it cannot be made.
    """
    folder = Path.cwd() / "outputs" / "demo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be made ({error.strerror}): work in a folder that can be written"
        ) from error
    return folder
