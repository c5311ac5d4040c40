"""``flowledger history``: the runs of every source as one list, and the moving of it."""

from collections.abc import Mapping

import click

from flowledger.cli.lazy_commands import LazyCommands

SUBCOMMANDS: Mapping[str, str] = {
    "list": "flowledger.cli.history_reading:list_runs",
    "show": "flowledger.cli.history_reading:show",
    "tail": "flowledger.cli.history_reading:tail",
    "export": "flowledger.cli.history_export:export",
    "import": "flowledger.cli.history_export:import_",
    "backup": "flowledger.cli.history_moving:backup",
    "restore": "flowledger.cli.history_moving:restore",
    "migrate": "flowledger.cli.history_moving:migrate",
    "verify": "flowledger.cli.history_moving:verify",
    "compact": "flowledger.cli.history_removal:compact",
    "delete": "flowledger.cli.history_removal:delete",
    "clear": "flowledger.cli.history_removal:clear",
    "archive": "flowledger.cli.history_removal:archive",
    "archives": "flowledger.cli.history_removal:archives",
    "restore-archive": "flowledger.cli.history_removal:restore_archive",
}


@click.group(cls=LazyCommands, places=SUBCOMMANDS)
def history() -> None:
    """List, export, copy, move and clear the runs of every source."""
