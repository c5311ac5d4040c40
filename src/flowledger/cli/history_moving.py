"""``flowledger history backup|restore|migrate|verify``: whole ledgers copied and compared."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from flowledger import bootstrap
from flowledger.bootstrap.ledgers import Source, decoders, is_there, opened_source, refuse_same
from flowledger.cli.history_options import opened_desk
from flowledger.domain.runs import AppKey
from flowledger.errors import UsageError
from flowledger.ports import Ledger
from flowledger.services import redaction
from flowledger.services.history import migrate as migration
from flowledger.services.history import verify as verification
from flowledger.services.history.audit import MIGRATE, RESTORE, act, place_shown
from flowledger.services.history.backup import back_up, check_backup
from flowledger.services.history.backup import restore as restore_into
from flowledger.services.history.migrate import Tally
from flowledger.settings import Settings

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
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Take the place of a file that is there.")
def backup(file: Path, force: bool) -> None:
    """Write the whole ledger into one compressed FILE, with a manifest of counts and hashes."""
    if file.exists() and not force:
        raise UsageError(f"{file} is there already: name another file, or add --force")
    with opened_desk() as desk:
        at, user = bootstrap.clock.utc_now(), bootstrap.user_name()
        made = back_up(desk.ledger, file, at=at, user=user, apps=_configured(desk.settings))
    click.echo(f"{file}: {_told(made.counts)}, {file.stat().st_size} bytes")


@click.command()
@click.argument("file", type=_FILE)
@click.option("--to", "target", metavar="URL", help="Into this ledger; default: that of the settings.")
@click.option("--merge", is_flag=True, help="Into a ledger that holds something already.")
@click.option("--dry-run", is_flag=True, help="Only read the backup whole and say what it holds.")
def restore(file: Path, target: str | None, merge: bool, dry_run: bool) -> None:
    """Bring a backup back, read whole and checked before anything is written."""
    settings = bootstrap.load_settings(need_app=False)
    url = target or settings.ledger_url.get_secret_value()
    _hide(settings, url)
    if not file.exists():
        raise UsageError(f"there is no file {file}: name a backup")
    if dry_run:
        click.echo(f"{file} is whole: {_told(check_backup(file, decoders()).counts)}")
        return
    with bootstrap.open_ledger_at(url) as ledger:
        made = restore_into(file, ledger, decoders(), merge=merge)
        told = {"file": file.name, "created_at": made.created_at, **made.counts}
        ledger.record(act(RESTORE, bootstrap.clock.utc_now(), bootstrap.user_name(), told))
    click.echo(f"restored into {place_shown(url)}: {_told(made.counts)}")


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
    _hide(settings, source, target)
    refuse_same(source, target)
    aside = None if dry_run else quarantine or Path(f"{Path(source).resolve()}.quarantine")
    with opened_source(source, settings.timezone, aside) as opened:
        if dry_run:
            with _target_if_there(target) as there:
                tally = migration.would_migrate(opened.ledger, there)
            click.echo(f"{tally.runs} runs would go over, {tally.skipped} are there already")
        else:
            with bootstrap.open_ledger_at(target) as ledger:
                tally = _migrated(opened, ledger, settings, resume, source)
        return _tell_problems(opened, tally)


@click.command()
@_from
@_to
def verify(source: str, target: str) -> int:
    """Compare counts, ids and content hashes; lists every difference, and the exit status is 1 then."""
    settings = bootstrap.load_settings(need_app=False)
    _hide(settings, source, target)
    refuse_same(source, target)
    if not is_there(target):
        raise UsageError(f"there is no ledger at {place_shown(target)}: look at the path")
    counts, found = verification.Counts(), 0
    with opened_source(source, settings.timezone, None) as opened, bootstrap.open_ledger_at(target) as ledger:
        for difference in verification.differences(
            opened.ledger, ledger, counts, apps=_configured(settings), only_held=opened.is_old
        ):
            found += 1
            click.echo(str(difference))
        for line in opened.problems:
            click.echo(line, err=True)
    click.echo(f"{counts.source} runs in the source, {counts.target} in the target, {found} differences")
    return 1 if found or opened.problems else 0


def _migrated(opened: Source, ledger: Ledger, settings: Settings, resume: bool, source: str) -> Tally:
    shown = {"from": place_shown(source), "resume": resume}
    at, user = bootstrap.clock.utc_now(), bootstrap.user_name()
    ledger.record(act(MIGRATE, at, user, {**shown, "state": "begun"}))
    tally = migration.migrate(opened.ledger, ledger, resume=resume, apps=_configured(settings))
    told = {**shown, "state": "ended", **tally.counts(), "problems": len(tally.problems)}
    ledger.record(act(MIGRATE, bootstrap.clock.utc_now(), user, told))
    click.echo(_told(tally.counts()))
    return tally


def _tell_problems(opened: Source, tally: Tally) -> int:
    problems: Sequence[str] = [*opened.problems, *tally.problems]
    for line in problems[:LISTED]:
        click.echo(line, err=True)
    if opened.problems and opened.quarantine:
        click.echo(f"copies of the bad files are in {opened.quarantine}; they stay where they were", err=True)
    if problems:
        click.echo(f"{len(problems)} problems", err=True)
    return 1 if problems else 0


@contextmanager
def _target_if_there(url: str) -> Iterator[Ledger | None]:
    """Open a target to look into; one that is not there is not made."""
    if not is_there(url):
        yield None
        return
    with bootstrap.open_ledger_at(url) as ledger:
        yield ledger


def _configured(settings: Settings) -> list[AppKey]:
    return [app.key for app in settings.apps]


def _hide(settings: Settings, *urls: str) -> None:
    """Let no password of a URL on the command line be said."""
    redaction.know([*(secret.get_secret_value() for secret in settings.secrets()), *urls])


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
