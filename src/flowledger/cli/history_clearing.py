"""``flowledger history compact|delete|clear``: runs go, and their space is given back."""

from typing import Any

import click

from flowledger import wiring
from flowledger.cli.history_options import asked_of, filters, opened_desk
from flowledger.domain.history import RunQuery
from flowledger.errors import UsageError
from flowledger.services.history import clearing
from flowledger.services.history.asking import key_of
from flowledger.services.history.paging import count_of
from flowledger.wiring.places import size_of


@click.command()
def compact() -> None:
    """Give the space of what was deleted back to the disk; others may read and write meanwhile."""
    with opened_desk() as desk:
        url = desk.settings.ledger_url.get_secret_value()
        before = size_of(url)
        desk.ledger.compact()
    after = size_of(url)
    told = "" if before is None or after is None else f": {before} bytes before, {after} bytes now"
    click.echo(f"compacted{told}")


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
@click.option("--app", metavar="APP", help="The app that has them: name or id in the settings, or source:id.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(keys: tuple[str, ...], app: str | None, yes: bool) -> None:
    """Delete single runs; KEY is a run's id, or source:app:run."""
    with opened_desk() as desk:
        key = desk.apps.key(app) if app else None
        found = [key_of(desk.ledger, each, desk.sources, key) for each in dict.fromkeys(keys)]
        if not yes:
            click.confirm(f"delete {len(found)} runs with all that is kept of them?", abort=True, err=True)
        at, user = wiring.clock.utc_now(), wiring.user_name()
        count = clearing.delete(desk.ledger, found, at=at, user=user)
    click.echo(f"{count} runs deleted")


@click.command()
@filters
@click.option("--all", "everything", is_flag=True, help="All runs, where no filter is given.")
@click.option("--dry-run", is_flag=True, help="Only say how many would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(everything: bool, dry_run: bool, yes: bool, **given: Any) -> None:
    """Delete all runs that the filters let through; certificates and the audit trail stay."""
    asked = asked_of(given)
    with opened_desk() as desk:
        query = desk.query(asked)
        if query == RunQuery() and not everything:
            raise UsageError("this would delete every run: give a filter such as --app, or --all")
        if query != RunQuery() and everything:
            raise UsageError("--all and a filter contradict each other: leave one out")
        count = count_of(desk.ledger, query)
        if dry_run or not count:
            click.echo(f"{count} runs would be deleted")
            return
        if not yes:
            click.confirm(f"delete {count} runs with all that is kept of them?", abort=True, err=True)
        at, user = wiring.clock.utc_now(), wiring.user_name()
        gone = clearing.clear(desk.ledger, query, at=at, user=user, told={**asked.words(), "runs": count})
    click.echo(f"{gone} runs deleted; flowledger history compact gives their space back")
