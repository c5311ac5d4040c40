"""``flowledger history export|import|backup|restore|migrate|verify``: runs as files, and ledgers copied."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import click

from flowledger import bootstrap
from flowledger.bootstrap.ledgers import Source, decoders, is_there, opened_source, refuse_same
from flowledger.cli.history import filters, open_history, run_filter_of
from flowledger.domain.access_keys import AccessKey
from flowledger.domain.run_mapping import Row, flat
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import zone
from flowledger.errors import UsageError
from flowledger.ports import Ledger
from flowledger.services.history import migrate as migration
from flowledger.services.history import transfer
from flowledger.services.history import verify as verification
from flowledger.services.history.audit import IMPORT, MIGRATE, RESTORE, act, without_password
from flowledger.services.history.backup import back_up, check_backup, reopening_keys
from flowledger.services.history.backup import restore as restore_into
from flowledger.services.history.migrate import MigrationCounts
from flowledger.services.history.paging import runs_of
from flowledger.services.history.whole_file import whole_file
from flowledger.services.secret_masking import register_secrets
from flowledger.settings import Settings

FORMATS = ("jsonl", "json", "csv", "parquet")
STANDARD = "-"
LISTED = 1000
"""So many differences or problems are listed; all are counted."""
_FILE = click.Path(dir_okay=False, path_type=Path)
_from = click.option(
    "--from", "source", required=True, metavar="DIR|URL", help="A ledger, or a folder of the old layouts."
)
_to = click.option(
    "--to", "target", required=True, metavar="URL", help="A ledger, such as sqlite:////data/ledger.db."
)


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
@click.option("--raw-values", is_flag=True, help="CSV for programs: texts as they are (CSV_RAW_VALUES).")
def export(form: str, place: str, details: bool, lossless: bool, raw_values: bool, **options: Any) -> None:
    """Write runs, newest first, as JSON lines, JSON, CSV or Parquet."""
    if details and lossless:
        raise UsageError("--lossless has all that --details has: give one of them")
    depth = transfer.Depth.LOSSLESS if lossless else transfer.Depth.DETAILS if details else transfer.Depth.ROW
    with open_history() as history:
        raw_values = raw_values or history.settings.csv_raw_values
        parquet = form == "parquet" and not lossless
        write = None if parquet else transfer.writer_of(form, depth, raw_values=raw_values)
        entries = runs_of(
            history.ledger,
            history.query(run_filter_of(options)),
            with_details=depth is not transfer.Depth.ROW,
        )
        rows = transfer.rows_of(entries, depth)
        if write is None:
            count = _export_parquet(rows, depth, place)
        else:
            try:
                with _stream(place) as stream:
                    count = write(rows, stream)
                    stream.flush()
            except BrokenPipeError:  # head and its like stop reading early, which is no error
                _discard_output()
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
    with open_history() as history, _lines(file) as lines:
        imported = transfer.import_lines(
            lines, None if dry_run else history.ledger, decoders(), zone(history.settings.timezone)
        )
        if not dry_run and imported.runs + imported.operations:
            counts = {"runs": imported.runs, "operations": imported.operations, "bad_lines": imported.bad}
            at, user = bootstrap.clock.utc_now(), bootstrap.user_name()
            history.ledger.record(act(IMPORT, at, user, {"file": Path(file).name, **counts}))
    _report_import(imported, dry_run)
    return 1 if imported.bad else 0


@contextmanager
def _lines(file: str) -> Iterator[Iterable[bytes]]:
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    if not Path(file).is_file():
        raise UsageError(f"there is no file {file}: name what export --lossless wrote")
    with Path(file).open("rb") as stream:
        yield stream


def _report_import(imported: transfer.Imported, dry_run: bool) -> None:
    for line in imported.problems:
        click.echo(line, err=True)
    verb = "would be imported" if dry_run else "imported"
    click.echo(f"{imported.runs} runs, {imported.operations} operations {verb}, {imported.bad} bad lines")


def _export_parquet(rows: Iterable[Row], depth: transfer.Depth, place: str) -> int:
    if place == STANDARD:
        # Its footer is written last and says where everything is: a pipe cannot be sought.
        raise UsageError("Parquet goes into a file only: add --out FILE")
    return transfer.write_parquet(map(flat, rows), transfer.columns_of(depth), Path(place))


def _stream(place: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdout.buffer) if place == STANDARD else whole_file(Path(place))


def _discard_output() -> None:
    """Write nothing more to a reader that went away, not even when the process flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Take the place of a file that is there.")
def backup(file: Path, force: bool) -> None:
    """Write the whole ledger into one compressed FILE, with a manifest of counts and hashes."""
    if file.exists() and not force:
        raise UsageError(f"{file} is there already: name another file, or add --force")
    with open_history() as history:
        at, user = bootstrap.clock.utc_now(), bootstrap.user_name()
        made = back_up(history.ledger, file, at=at, user=user, apps=_configured(history.settings))
    click.echo(f"{file}: {_described(made.counts)}, {file.stat().st_size} bytes")


@click.command()
@click.argument("file", type=_FILE)
@click.option("--to", "target", metavar="URL", help="Into this ledger; default: that of the settings.")
@click.option("--merge", is_flag=True, help="Into a ledger that holds something already.")
@click.option("--keys", is_flag=True, help="Valid API keys too, although they may have been revoked since.")
@click.option("--dry-run", is_flag=True, help="Only read the backup whole and say what it holds.")
def restore(file: Path, target: str | None, merge: bool, keys: bool, dry_run: bool) -> None:
    """Bring a backup back, read whole and checked before anything is written.

    Keys of the API that are valid in the backup stay out without --keys: revoked since, they would open
    it again.
    """
    settings = bootstrap.load_settings(need_app=False)
    url = target or settings.ledger_url.get_secret_value()
    _redact_urls(settings, url)
    if not file.exists():
        raise UsageError(f"there is no file {file}: name a backup")
    if dry_run:
        # Read to its end: a backup that cannot be restored should be known before it is needed.
        checked = check_backup(file, decoders())
        click.echo(f"{file} is whole: {_described(checked.counts)}")
        _say_keys(reopening_keys(file, None, bootstrap.clock.utc_now()), checked.created_at, restored=False)
        return
    with bootstrap.open_ledger_at(url) as ledger:
        check_backup(file, decoders())
        reopening = reopening_keys(file, ledger, bootstrap.clock.utc_now())
        left_out = () if keys else [key.key_id for key in reopening]
        made = restore_into(file, ledger, decoders(), merge=merge, without_keys=left_out)
        _say_keys(reopening, made.created_at, restored=keys)
        details = {"file": file.name, "created_at": made.created_at, **made.counts}
        details["keys_left_out"] = len(left_out)
        ledger.record(act(RESTORE, bootstrap.clock.utc_now(), bootstrap.user_name(), details))
    click.echo(f"restored into {without_password(url)}: {_described(made.counts)}")


def _say_keys(keys: Sequence[AccessKey], created_at: str, *, restored: bool) -> None:
    """Print which keys of a backup would open the API again."""
    if not keys:
        return
    names = ", ".join(f"{key.name} ({key.key_id})" for key in keys)
    ending = (
        "they open it again now: revoke those that must not (flowledger keys revoke)"
        if restored
        else "they stay out: --keys brings them back, and keys create makes new ones"
    )
    text = f"{len(keys)} keys of the API are valid in the backup and may have been revoked since {created_at}"
    click.echo(f"{text}: {names}; {ending}", err=True)


@click.command()
@_from
@_to
@click.option("--dry-run", is_flag=True, help="Only say what would go over.")
@click.option("--resume", is_flag=True, help="Leave out what the target holds already, to the last byte.")
@click.option(
    "--quarantine",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where copies of bad files go; default: DIR.quarantine.",
)
def migrate(source: str, target: str, dry_run: bool, resume: bool, quarantine: Path | None) -> int:
    """Copy all that one ledger holds into another, each batch read back; twice is once.

    Bad files of an old layout are listed and copied aside, and the exit status is 1 then.
    """
    settings = bootstrap.load_settings(need_app=False)
    _redact_urls(settings, source, target)
    refuse_same(source, target)
    aside = None if dry_run else quarantine or Path(f"{Path(source).resolve()}.quarantine")
    with opened_source(source, settings.timezone, aside) as opened:
        if dry_run:
            with _existing_target(target) as existing:
                tally = migration.would_migrate(opened.ledger, existing)
            click.echo(f"{tally.runs} runs would go over, {tally.skipped} are there already")
        else:
            with bootstrap.open_ledger_at(target) as ledger:
                tally = _migrated(opened, ledger, settings, resume, source)
        return _report_problems(opened, tally)


@click.command()
@_from
@_to
def verify(source: str, target: str) -> int:
    """Compare counts, ids and content hashes; lists every difference, and the exit status is 1 then."""
    settings = bootstrap.load_settings(need_app=False)
    _redact_urls(settings, source, target)
    refuse_same(source, target)
    if not is_there(target):
        raise UsageError(f"there is no ledger at {without_password(target)}: look at the path")
    counts, differing = verification.Counts(), 0
    with opened_source(source, settings.timezone, None) as opened, bootstrap.open_ledger_at(target) as ledger:
        for difference in verification.differences(
            opened.ledger, ledger, counts, apps=_configured(settings), only_source_apps=opened.is_old
        ):
            differing += 1
            click.echo(str(difference))
        for line in opened.problems:
            click.echo(line, err=True)
    click.echo(f"{counts.source} runs in the source, {counts.target} in the target, {differing} differences")
    return 1 if differing or opened.problems else 0


def _migrated(
    opened: Source, ledger: Ledger, settings: Settings, resume: bool, source: str
) -> MigrationCounts:
    subject = {"from": without_password(source), "resume": resume}
    at, user = bootstrap.clock.utc_now(), bootstrap.user_name()
    ledger.record(act(MIGRATE, at, user, {**subject, "state": "begun"}))
    tally = migration.migrate(opened.ledger, ledger, resume=resume, apps=_configured(settings))
    details = {**subject, "state": "ended", **tally.counts(), "problems": len(tally.problems)}
    ledger.record(act(MIGRATE, bootstrap.clock.utc_now(), user, details))
    click.echo(_described(tally.counts()))
    return tally


def _report_problems(opened: Source, tally: MigrationCounts) -> int:
    problems: Sequence[str] = [*opened.problems, *tally.problems]
    for line in problems[:LISTED]:
        click.echo(line, err=True)
    if opened.problems and opened.quarantine:
        click.echo(f"copies of the bad files are in {opened.quarantine}; they stay where they were", err=True)
    if problems:
        click.echo(f"{len(problems)} problems", err=True)
    return 1 if problems else 0


@contextmanager
def _existing_target(url: str) -> Iterator[Ledger | None]:
    """Open a target to look into; one that is not there is not made."""
    if not is_there(url):
        yield None
        return
    with bootstrap.open_ledger_at(url) as ledger:
        yield ledger


def _configured(settings: Settings) -> list[AppKey]:
    return [app.key for app in settings.apps]


def _redact_urls(settings: Settings, *urls: str) -> None:
    """Keep the passwords in URLs of the command line out of all output."""
    register_secrets([*(secret.get_secret_value() for secret in settings.secrets()), *urls])


def _described(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
