"""``flowledger history``: the runs of every source as one list, and the moving of it."""

from collections.abc import Mapping
from importlib import import_module

import click

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
    "compact": "flowledger.cli.history_clearing:compact",
    "delete": "flowledger.cli.history_clearing:delete",
    "clear": "flowledger.cli.history_clearing:clear",
    "archive": "flowledger.cli.history_archive:archive",
    "archives": "flowledger.cli.history_archive:archives",
    "restore-archive": "flowledger.cli.history_archive:restore_archive",
}
"""Command → the module and name of it; imported only when it is called or described."""


class HistoryCommands(click.Group):
    """The commands, in the order of ``SUBCOMMANDS``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Give the names."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None for an unknown name."""
        if cmd_name not in SUBCOMMANDS:
            return None
        module, _, name = SUBCOMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=HistoryCommands)
def history() -> None:
    """List, export, copy, move and clear the runs of every source."""
