"""``flowledger audit``: who did what, newest first."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from flowledger import bootstrap
from flowledger.domain.history import OperationQuery, Place
from flowledger.domain.operations import Operation
from flowledger.domain.windows import zone
from flowledger.errors import UsageError
from flowledger.ports import Ledger
from flowledger.settings import Settings

PAGE = 500
LONGEST_DATA = 100


@click.command()
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="Only this type, such as DEPLOY; can be repeated."
)
@click.option("--app", metavar="APP", help="Only about this app: name or id in the settings, or source:id.")
@click.option("--user", metavar="NAME", default="", help="Only by this user.")
@click.option("--since", metavar="ISO", help="First instant, ISO 8601; without offset in TIMEZONE.")
@click.option("--before", metavar="ISO", help="First instant that is too late.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each, with all its data.")
def audit(
    types: tuple[str, ...],
    app: str | None,
    user: str,
    since: str | None,
    before: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show the audit trail, newest first: who changed what, archived, deployed, reported, and when."""
    settings = bootstrap.load_settings(need_app=False)
    query = OperationQuery(
        apps=(bootstrap.app_key(settings, app),) if app else None,
        types=tuple(word.upper() for word in types),
        user=user,
        since=_instant(settings, since, "--since"),
        before=_instant(settings, before, "--before"),
    )
    count = 0
    with bootstrap.opened_ledger(settings) as ledger:
        for each in _stream(ledger, query, limit):
            click.echo(json.dumps(_row(each), ensure_ascii=False) if as_json else _line(each))
            count += 1
    if not count:
        click.echo("nothing is on record that matches", err=True)


def _stream(ledger: Ledger, query: OperationQuery, limit: int) -> Iterator[Operation]:
    place: Place | None = None
    while limit > 0:
        page = ledger.operations(query, after=place, limit=min(PAGE, limit))
        yield from page
        limit -= len(page)
        if len(page) < PAGE:
            return
        place = Place(page[-1].at, page[-1].operation_id)


def _instant(settings: Settings, text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{option}: cannot read {text!r:.100}: write it as 2026-11-21T08:00") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=zone(settings.timezone))


def _row(each: Operation) -> dict[str, Any]:
    return {
        "id": each.operation_id,
        "type": each.operation_type,
        "at": each.at.isoformat(),
        "user": each.user,
        "app": str(each.app) if each.app else None,
        "subject": each.subject,
        "data": each.data,
    }


def _line(each: Operation) -> str:
    # Hashes of settings are for programs to compare; a person cannot read anything in them.
    data = "; ".join(f"{name} {_short(value)}" for name, value in each.data.items() if name != "hashes")
    cut = data if len(data) <= LONGEST_DATA else f"{data[:LONGEST_DATA]}…"
    about = " ".join(filter(None, (str(each.app) if each.app else "", each.subject)))
    line = f"{each.at:%Y-%m-%d %H:%M:%S}Z  {each.operation_type:9}  {each.user}  {about or '-'}  {cut}"
    # Control characters of recorded data could drive the terminal.
    return "".join(letter if letter.isprintable() else " " for letter in line).rstrip()


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
