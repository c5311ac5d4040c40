"""``flowledger storage``: what is kept, how much of it, and what may go."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from flowledger import bootstrap
from flowledger.bootstrap import auditing
from flowledger.domain.retention import StoredReport
from flowledger.errors import StorageError
from flowledger.services.secret_masking import redacted
from flowledger.settings import Settings
from flowledger.storage.service import StorageService, place_of
from flowledger.storage.spool import Spooled

_as_json = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")


@click.group()
def storage() -> None:
    """Look after the kept reports: list, count, clean, upload, link."""


@storage.command("list")
@click.option("--app", metavar="APP", help="Only reports of this app, by name or id.")
@click.option("--type", "report_type", metavar="TYPE", help="Only this type: csv, markdown, json, data.")
@click.option(
    "--days", type=click.IntRange(min=0, max=36500), help="Only those kept in the last so many days."
)
@_as_json
def list_(app: str | None, report_type: str | None, days: int | None, as_json: bool) -> None:
    """List the reports that are kept whole, oldest first."""
    settings = bootstrap.load_settings(need_app=False)
    since = bootstrap.clock.utc_now() - timedelta(days=days) if days is not None else None
    name = settings.app(app).name if app else None
    rows = [
        _row(report, store)
        for store in _stores(settings, app)
        for report in store.reports(app=name, report_type=report_type, since=since)
    ]
    _show(rows, ("kept_at", "type", "app", "certified", "bytes", "names"), as_json)


@storage.command()
@_as_json
def stats(as_json: bool) -> None:
    """Count reports, files and bytes by app and type; "-" stands for files that no report claims."""
    settings = bootstrap.load_settings(need_app=False)
    rows = [
        {"storage": store.place, **asdict(each)}
        for store in _stores(settings, None)
        for each in store.stats()
    ]
    _show(rows, ("storage", "app", "report_type", "reports", "files", "size_bytes"), as_json)


@storage.command()
@click.option("--app", metavar="APP", help="Only this app, by name or id.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_as_json
def cleanup(app: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove reports beyond REPORT_RETENTION_DAYS, _COUNT and _MB; never the newest certified one."""
    results = bootstrap.clean_storage(app, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(results, ensure_ascii=False))
        return
    _show([{"app": each["app"], **row} for each in results for row in each["reports"]], _CLEANED, as_json)
    for each in results:
        verb = "would go" if dry_run else "removed"
        click.echo(f"{each['app']}: {each['removed']} reports, {each['bytes']} bytes {verb}", err=True)


_CLEANED = ("app", "type", "report", "kept_at", "bytes", "reason")


@storage.command()
@_as_json
def upload(as_json: bool) -> None:
    """Send what waits on this machine because the storage was away; fails where something still waits."""
    settings = bootstrap.load_settings(need_app=False)
    problems: list[str] = []
    rows = [_uploaded(spool, problems) for spool in _spools(settings)]
    if any(row["sent"] for row in rows):
        auditing.record_act("UPLOAD", "storage", {"storages": rows}, settings=settings)
    _show(rows, ("storage", "sent", "waiting"), as_json)
    for folder in bootstrap.strange_spools(settings):
        click.echo(
            f"{folder} waits for a storage that is not in the settings: set it again, or move it", err=True
        )
    if problems:
        raise StorageError("\n".join(problems))


@storage.command()
@click.argument("name")
@click.option("--app", metavar="APP", help="The app whose storage prefix it is under, where it has its own.")
@click.option("--hours", type=click.IntRange(1, 168), help="How long it is good for; default: LINK_HOURS.")
def link(name: str, app: str | None, hours: int | None) -> None:
    """Print an address that opens a kept file without a log-in for a while (local: its path)."""
    settings = bootstrap.load_settings(need_app=False)
    store = next(_stores(settings, app))
    click.echo(store.link(name, timedelta(hours=hours or settings.link_hours)))


def _stores(settings: Settings, app: str | None) -> Iterator[StorageService]:
    # Without the spool: that the storage is away is an error here, and what waits for it is not in it.
    prefixes = (settings.app(app).storage_prefix,) if app else bootstrap.storage_prefixes(settings)
    return (bootstrap.open_store(settings, prefix=prefix, spooled=False) for prefix in prefixes)


def _spools(settings: Settings) -> Sequence[Spooled]:
    stores = (
        bootstrap.open_store(settings, prefix=prefix) for prefix in bootstrap.storage_prefixes(settings)
    )
    return [store.backend for store in stores if isinstance(store.backend, Spooled)]


def _uploaded(spool: Spooled, problems: list[str]) -> dict[str, Any]:
    sent = 0
    try:
        sent = spool.send()
    except StorageError as error:
        sent = spool.sent
        problems.append(redacted(str(error)))
    return {"storage": place_of(spool), "sent": sent, "waiting": len(spool.waiting())}


def _row(report: StoredReport, store: StorageService) -> dict[str, Any]:
    return {
        "kept_at": report.stored_at.isoformat(timespec="seconds"),
        "type": report.report_type,
        "app": report.app,
        "certified": report.certified,
        "bytes": report.size_bytes,
        "names": list(report.names),
        "locations": [store.backend.location(name) for name in report.names],
    }


def _show(rows: Sequence[dict[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        click.echo("nothing", err=True)
        return
    table = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in table) for place in range(len(columns))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return _together(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _together(names: Sequence[str]) -> str:
    """Name files; those of one folder by the folder."""
    folders = {name.rpartition("/")[0] for name in names}
    return f"{folders.pop()}/ ({len(names)} files)" if len(folders) == 1 < len(names) else " ".join(names)
