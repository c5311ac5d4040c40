"""``flowledger history archive|archives|restore-archive``: runs go into archives, and come back."""

import json
from collections.abc import Sequence
from typing import Any

import click

from flowledger.domain.archives import Manifest

_as_json = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")


@click.command(short_help="Archive the runs that the retention no longer keeps, and delete them.")
@click.option("--app", metavar="APP", help="Only this app: name or id in the settings, or source:id.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_as_json
def archive(app: str | None, dry_run: bool, as_json: bool) -> None:
    """Archive runs beyond RUN_RETENTION_DAYS, _COUNT and _MB in the storage, then delete them here.

    Nothing is deleted before its archive was read back and checked; runs that may still change stay.
    """
    from flowledger.wiring import archives as wired  # pyarrow is an extra that help needs not

    results = wired.archive_runs(app, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(results, ensure_ascii=False))
        return
    for each in results:
        if each["runs"] or each["deleted"]:
            verb = "would be archived" if dry_run else f"archived, {each['deleted']} deleted"
            times = f", {each['oldest']} to {each['newest']}" if each["oldest"] else ""
            click.echo(f"{each['app']}: {each['runs']} runs {verb} ({each['reason']}{times})")
        for name in each["archives"]:
            click.echo(f"  {name}")
        if each["changed"]:
            click.echo(f"  {each['changed']} runs were changed meanwhile and stay for the next archive")
    if not any(each["runs"] or each["deleted"] for each in results):
        click.echo("nothing is beyond the retention")


@click.command(short_help="List the archives of runs, or check one.")
@click.option("--app", metavar="APP", help="Only this app: name or id in the settings, or source:id.")
@click.option("--check", "name", metavar="ARCHIVE", help="Read this one back whole and check it.")
@_as_json
def archives(app: str | None, name: str | None, as_json: bool) -> None:
    """List the archives of runs, oldest first; --check fails where a file is not what was kept."""
    from flowledger.wiring import archives as wired  # pyarrow is an extra that help needs not

    if name:
        found: Sequence[Manifest] = [wired.check_archive(name)]
        unfinished: Sequence[str] = ()
    else:
        found, unfinished = wired.list_archives(app)
    if as_json:
        click.echo(json.dumps([each.document() for each in found], ensure_ascii=False))
    else:
        for each in found:
            click.echo(_line(each) + ("  ok" if name else ""))
        if not found:
            click.echo("no archives", err=True)
    for folder in unfinished:
        click.echo(f"{folder} was never finished: its runs are in the ledger still; it may go", err=True)


@click.command("restore-archive", short_help="Bring the runs of an archive back.")
@click.argument("name", metavar="ARCHIVE")
@click.option("--to", metavar="URL", help="Into this ledger instead, such as sqlite:////tmp/old.db.")
@click.option("--dry-run", is_flag=True, help="Only check the archive and say what would come back.")
@_as_json
def restore_archive(name: str, to: str | None, dry_run: bool, as_json: bool) -> None:
    """Bring the runs of an archive back that the ledger does not hold; twice is once.

    They are under the same retention as before: raise it first where they shall stay, or name another
    ledger with --to.
    """
    from flowledger.wiring import archives as wired  # pyarrow is an extra that help needs not

    result = wired.restore_archive(name, to=to, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    click.echo(_told(result))


def _told(result: dict[str, Any]) -> str:
    verb = "would be restored" if result["dry_run"] else "restored"
    counts = f"{result['restored']} of {result['runs']} runs {verb}, {result['held']} held already"
    differing = f", {result['differing']} of them changed since" if result["differing"] else ""
    return f"{result['app']}: {counts}{differing}"


def _line(each: Manifest) -> str:
    times = " to ".join(f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (each.oldest, each.newest))
    return f"{each.archive}  {each.app_name}  {each.runs} runs  {each.size_bytes} bytes  {times}"
