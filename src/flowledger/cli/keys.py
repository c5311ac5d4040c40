"""``flowledger keys``: who may use the HTTP API."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from flowledger import bootstrap
from flowledger.domain.access_keys import AccessKey, Role
from flowledger.errors import UsageError
from flowledger.services.api_keys import create_key, revoke_key

ROLES = [role.name.lower() for role in Role]


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of the HTTP API."""


@keys.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="viewer",
    show_default=True,
    help="viewer reads, operator records, deletes and orders reports, admin may all.",
)
@click.option(
    "--app",
    "apps",
    multiple=True,
    metavar="APP",
    help="Only this app: name or id of one in the settings, or source:id; may be repeated.",
)
@click.option(
    "--days", type=click.IntRange(1, 36500), help="How long it is good for; default: until revoked."
)
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def create(name: str, role: str, apps: Sequence[str], days: int | None, as_json: bool) -> None:
    """Make a key called NAME and print it: it is shown this once and kept nowhere."""
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise UsageError("a key's name has 1 to 100 characters that can be seen")
    settings, now = bootstrap.load_settings(need_app=False), bootstrap.clock.utc_now()
    reach = tuple(dict.fromkeys(bootstrap.app_key(settings, each) for each in apps)) if apps else None
    with bootstrap.opened_ledger(settings) as ledger:
        key, secret = create_key(
            ledger,
            name,
            Role[role.upper()],
            user=bootstrap.user_name(),
            at=now,
            apps=reach,
            expires_at=now + timedelta(days=days) if days else None,
        )
    if as_json:
        click.echo(json.dumps({**_row(key, now), "key": secret}, ensure_ascii=False))
        return
    # Alone on standard output, so that a script can take it; what people read is on standard error.
    click.echo(secret)
    click.echo(
        f"this is the key {key.key_id}; it is shown only now: keep it where others cannot read", err=True
    )


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def list_keys(as_json: bool) -> None:
    """List all keys, oldest first, without their secrets."""
    settings, now = bootstrap.load_settings(need_app=False), bootstrap.clock.utc_now()
    with bootstrap.opened_ledger(settings) as ledger:
        rows = [_row(key, now) for key in ledger.access_keys()]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        click.echo("no keys: flowledger keys create NAME makes one", err=True)
    for row in rows:
        apps = ",".join(row["apps"]) if row["apps"] is not None else "all apps"
        click.echo(
            f"{row['id']}  {row['role']:8}  {row['state']:7}  {row['created_at']}  {row['name']}  {apps}"
        )


@keys.command()
@click.argument("key")
def revoke(key: str) -> None:
    """Let KEY, an id or a name, open nothing any more; running servers notice within seconds."""
    settings = bootstrap.load_settings(need_app=False)
    with bootstrap.opened_ledger(settings) as ledger:
        revoked = revoke_key(ledger, key, user=bootstrap.user_name(), at=bootstrap.clock.utc_now())
    click.echo(f"revoked: {revoked.key_id} {revoked.name}")


def _row(key: AccessKey, now: datetime) -> dict[str, Any]:
    state = "revoked" if key.revoked_at else "valid" if key.is_valid(now) else "expired"
    return {
        "id": key.key_id,
        "name": key.name,
        "role": key.role.name.lower(),
        "state": state,
        "apps": None if key.apps is None else [str(app) for app in key.apps],
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "expires_at": key.expires_at.isoformat(timespec="seconds") if key.expires_at else None,
        "revoked_at": key.revoked_at.isoformat(timespec="seconds") if key.revoked_at else None,
    }
