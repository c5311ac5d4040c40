"""``flowledger history export|import``: runs as files."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import click

from flowledger import bootstrap
from flowledger.bootstrap.ledgers import decoders
from flowledger.cli.history_options import asked_of, filters, opened_desk
from flowledger.domain.run_rows import Row, flat
from flowledger.domain.windows import zone
from flowledger.errors import UsageError
from flowledger.services.history.audit import IMPORT, act
from flowledger.services.history.paging import runs_of
from flowledger.services.history.transfer import Depth, Imported, columns_of, import_lines, rows_of, writer_of
from flowledger.services.history.whole_file import whole_file
from flowledger.services.parquet_files import write_rows

FORMATS = ("jsonl", "json", "csv", "parquet")
STANDARD = "-"


@click.command()
@filters
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option(
    "--out",
    "-o",
    "place",
    default=STANDARD,
    metavar="FILE",
    help="Whole or not at all; default: standard output.",
)
@click.option("--details", is_flag=True, help="With inputs, outputs and node executions.")
@click.option(
    "--lossless", is_flag=True, help="All that is held, raw bodies too, so that import brings it back."
)
def export(form: str, place: str, details: bool, lossless: bool, **given: Any) -> None:
    """Write runs, newest first, as JSON lines, JSON, CSV or Parquet."""
    if details and lossless:
        raise UsageError("--lossless has all that --details has: give one of them")
    depth = Depth.LOSSLESS if lossless else Depth.DETAILS if details else Depth.ROW
    write = None if form == "parquet" and not lossless else writer_of(form, depth)
    with opened_desk() as desk:
        entries = runs_of(desk.ledger, desk.query(asked_of(given)), with_details=depth is not Depth.ROW)
        rows = rows_of(entries, depth)
        if write is None:
            count = _export_parquet(rows, depth, place)
        else:
            try:
                with _stream(place) as stream:
                    count = write(rows, stream)
                    stream.flush()
            except BrokenPipeError:
                _forget_output()
                return
    if place != STANDARD:
        click.echo(f"{count} runs in {place}", err=True)


@click.command("import")
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False, path_type=str))
@click.option("--dry-run", is_flag=True, help="Only read it and say what would come in.")
def import_(file: str, dry_run: bool) -> int:
    """Read what export --lossless wrote, or records as JSON lines; - is standard input.

    Twice is once.  Bad lines are listed with their numbers, and the exit status is 1 then.
    """
    with opened_desk() as desk, _lines(file) as lines:
        told = import_lines(lines, None if dry_run else desk.ledger, decoders(), zone(desk.settings.timezone))
        if not dry_run and told.runs + told.operations:
            counts = {"runs": told.runs, "operations": told.operations, "bad_lines": told.bad}
            at, user = bootstrap.clock.utc_now(), bootstrap.user_name()
            desk.ledger.record(act(IMPORT, at, user, {"file": Path(file).name, **counts}))
    _tell_import(told, dry_run)
    return 1 if told.bad else 0


@contextmanager
def _lines(file: str) -> Iterator[Iterable[bytes]]:
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    if not Path(file).is_file():
        raise UsageError(f"there is no file {file}: name what export --lossless wrote")
    with Path(file).open("rb") as stream:
        yield stream


def _tell_import(told: Imported, dry_run: bool) -> None:
    for line in told.problems:
        click.echo(line, err=True)
    verb = "would be imported" if dry_run else "imported"
    click.echo(f"{told.runs} runs, {told.operations} operations {verb}, {told.bad} bad lines")


def _export_parquet(rows: Iterable[Row], depth: Depth, place: str) -> int:
    if place == STANDARD:
        raise UsageError("Parquet goes into a file only: add --out FILE")
    return write_rows(map(flat, rows), columns_of(depth), Path(place))


def _stream(place: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdout.buffer) if place == STANDARD else whole_file(Path(place))


def _forget_output() -> None:
    """Let nothing more be written to a reader that went away, not even at the end of the process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
