"""``flowledger history archive|archives|restore-archive|compact|delete|clear``: runs go, and come back."""

import json
from collections.abc import Sequence
from typing import Any

import click

from flowledger import bootstrap
from flowledger.bootstrap.ledgers import size_of
from flowledger.cli.history import filters, open_history, run_filter_of
from flowledger.domain.archives import Manifest
from flowledger.domain.history import RunQuery
from flowledger.domain.runs import AppKey
from flowledger.errors import UsageError
from flowledger.services.history.audit import clear as clear_history
from flowledger.services.history.audit import delete as delete_runs
from flowledger.services.history.audit import move_app as move_runs
from flowledger.services.history.filters import Apps, key_of
from flowledger.services.history.paging import count_of

_as_json = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")


@click.command()
@click.option("--app", metavar="APP", help="Only this app: name or id in the settings, or source:id.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_as_json
def archive(app: str | None, dry_run: bool, as_json: bool) -> None:
    """Archive runs beyond RUN_RETENTION_DAYS, _COUNT and _MB in the storage, then delete them here.

    Nothing is deleted before its archive was read back and checked; runs that may still change stay.
    """
    from flowledger.bootstrap import archives as retention  # pyarrow is an extra that help needs not

    results = retention.archive_runs(app, dry_run=dry_run)
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


@click.command()
@click.option("--app", metavar="APP", help="Only this app: name or id in the settings, or source:id.")
@click.option("--check", "name", metavar="ARCHIVE", help="Read this one back whole and check it.")
@_as_json
def archives(app: str | None, name: str | None, as_json: bool) -> None:
    """List the archives of runs, oldest first; --check fails where a file is not what was kept."""
    from flowledger.bootstrap import archives as retention  # pyarrow is an extra that help needs not

    if name:
        manifests: Sequence[Manifest] = [retention.check_archive(name)]
        unfinished: Sequence[str] = ()
    else:
        manifests, unfinished = retention.list_archives(app)
    if as_json:
        click.echo(json.dumps([each.document() for each in manifests], ensure_ascii=False))
    else:
        for each in manifests:
            click.echo(_line(each) + ("  ok" if name else ""))
        if not manifests:
            click.echo("no archives", err=True)
    for folder in unfinished:
        click.echo(f"{folder} was never finished: its runs are in the ledger still; it may go", err=True)


@click.command("restore-archive")
@click.argument("name", metavar="ARCHIVE")
@click.option("--to", metavar="URL", help="Into this ledger instead, such as sqlite:////tmp/old.db.")
@click.option("--dry-run", is_flag=True, help="Only check the archive and say what would come back.")
@_as_json
def restore_archive(name: str, to: str | None, dry_run: bool, as_json: bool) -> int:
    """Bring the runs of an archive back that the ledger does not hold; twice is once.

    Of a run in several archives the newest wins.  The exit status is 1 where a run of the ledger is not
    what this archive holds afterwards.

    They are under the same retention as before: raise it first where they shall stay, or name another
    ledger with --to.
    """
    from flowledger.bootstrap import archives as retention  # pyarrow is an extra that help needs not

    result = retention.restore_archive(name, to=to, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        click.echo(_described(result))
    return 1 if result["differing"] else 0


def _described(result: dict[str, Any]) -> str:
    verb = "would be restored" if result["dry_run"] else "restored"
    counts = f"{result['restored']} of {result['runs']} runs {verb}, {result['held']} held already"
    newer = f", {result['replaced']} replaced by what a newer archive has" if result["replaced"] else ""
    differing = f", {result['differing']} of them changed since" if result["differing"] else ""
    return f"{result['app']}: {counts}{newer}{differing}"


def _line(each: Manifest) -> str:
    times = " to ".join(f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (each.oldest, each.newest))
    return f"{each.archive}  {each.app_name}  {each.runs} runs  {each.size_bytes} bytes  {times}"


@click.command()
def compact() -> None:
    """Return the space of what was deleted to the disk; others may read and write meanwhile."""
    with open_history() as history:
        url = history.settings.ledger_url.get_secret_value()
        before = size_of(url)
        history.ledger.compact()
    after = size_of(url)
    sizes = "" if before is None or after is None else f": {before} bytes before, {after} bytes now"
    click.echo(f"compacted{sizes}")


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
@click.option("--app", metavar="APP", help="The app that has them: name or id in the settings, or source:id.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(keys: tuple[str, ...], app: str | None, yes: bool) -> None:
    """Delete single runs; KEY is a run's id, or source:app:run."""
    with open_history() as history:
        key = history.apps.key(app) if app else None
        run_keys = [key_of(history.ledger, each, history.sources, key) for each in dict.fromkeys(keys)]
        if not yes:
            click.confirm(f"delete {len(run_keys)} runs with all that is kept of them?", abort=True, err=True)
        at, user = bootstrap.clock.utc_now(), bootstrap.user_name()
        count = delete_runs(history.ledger, run_keys, at=at, user=user)
    click.echo(f"{count} runs deleted")


@click.command()
@filters
@click.option("--all", "everything", is_flag=True, help="All runs, where no filter is given.")
@click.option("--dry-run", is_flag=True, help="Only say how many would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(everything: bool, dry_run: bool, yes: bool, **options: Any) -> None:
    """Delete all runs that the filters let through; certificates and the audit trail stay."""
    run_filter = run_filter_of(options)
    with open_history() as history:
        query = history.query(run_filter)
        if query == RunQuery() and not everything:
            raise UsageError("this would delete every run: give a filter such as --app, or --all")
        if query != RunQuery() and everything:
            raise UsageError("--all and a filter contradict each other: leave one out")
        count = count_of(history.ledger, query)
        if dry_run or not count:
            click.echo(f"{count} runs would be deleted")
            return
        if not yes:
            click.confirm(f"delete {count} runs with all that is kept of them?", abort=True, err=True)
        at, user = bootstrap.clock.utc_now(), bootstrap.user_name()
        gone = clear_history(
            history.ledger, query, at=at, user=user, data={**run_filter.to_json(), "runs": count}
        )
    click.echo(f"{gone} runs deleted; flowledger history compact gives their space back")


@click.command("move-app")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--dry-run", is_flag=True, help="Only say how many runs would be moved.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def move_app(source: str, target: str, dry_run: bool, yes: bool) -> None:
    """Move the runs that were filed under a wrong app id; certificates and the audit trail stay.

    FROM and TO are names or ids in the settings, ids in the ledger, or source:id.
    """
    with open_history() as history:
        from_app, to_app = history.apps.key(source), _any_app(history.apps, target)
        count = count_of(history.ledger, RunQuery(apps=(from_app,)))
        if dry_run or not count:
            click.echo(f"{count} runs of {from_app} would be moved to {to_app}")
            return
        if not yes:
            click.confirm(f"move {count} runs of {from_app} to {to_app}?", abort=True, err=True)
        at, user = bootstrap.clock.utc_now(), bootstrap.user_name()
        moved = move_runs(history.ledger, from_app, to_app, at=at, user=user, runs=count)
    click.echo(f"{moved} runs moved; the next collection of their days proves them anew")


def _any_app(apps: Apps, text: str) -> AppKey:
    """Return an app that may have no runs yet."""
    source, separator, app_id = text.partition(":")
    return AppKey(source, app_id) if separator and source and app_id else apps.key(text)
