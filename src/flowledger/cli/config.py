"""``flowledger config``: show the settings, check them all, write the JSON Schema of their files."""

import json
from collections.abc import Iterator
from typing import Any

import click

from flowledger import bootstrap
from flowledger.bootstrap import config_checks
from flowledger.settings import Inspection
from flowledger.settings.config import EffectiveSetting, effective_settings
from flowledger.settings.problems import readable_secret_files
from flowledger.settings.schema import SCHEMAS, schema_text, write_schemas

LONGEST_COLUMN = 48


@click.group()
def config() -> None:
    """Show and check the settings."""


@config.command(short_help="Show every setting and its place.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: name → value and where it came from.")
def show(as_json: bool) -> int:
    """Show every setting, secrets masked, with where each value came from."""
    rows = list(effective_settings(bootstrap.inspect_settings(need_app=False)))
    if as_json:
        document = {row.name: {"value": row.value, "from": row.origin} for row in rows}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_lines(rows)))
    return 0


def _lines(rows: list[EffectiveSetting]) -> Iterator[str]:
    texts = [(row.name, _text(row.value), row.origin) for row in rows]
    names, values = (max(len(text[column]) for text in texts) for column in (0, 1))
    widths = min(names, LONGEST_COLUMN), min(values, LONGEST_COLUMN)
    for name, value, origin in texts:
        yield f"{name:{widths[0]}}  {value:{widths[1]}}  {origin}"


def _text(value: Any) -> str:
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@config.command("check", short_help="Say all problems at once.")
@click.option(
    "--online", is_flag=True, help="Ask ledger, bucket, mail servers and Dify too whether they take us."
)
def check_all(online: bool) -> int:
    """Check the settings and the files of config/ and say all problems at once.

    Nothing is asked outside of this machine, unless --online is said; no message is sent to anybody.
    """
    inspection, problems = config_checks.settings_problems()
    if online:
        probed = config_checks.probe(inspection)
        problems = (*problems, *probed.problems)
        for line in probed.notes:
            click.echo(f"note  {line}")
    for line in problems:
        click.echo(f"MEND  {line}")
    for file in readable_secret_files(inspection.reading, bootstrap.settings_root()):
        click.echo(f"note  {file} can be read by other users of this machine: chmod 600 {file}")
    if not problems:
        click.echo(_summary(inspection))
    return 1 if problems else 0


def _summary(inspection: Inspection) -> str:
    settings = inspection.settings
    return (
        f"ok    settings: {len(settings.apps)} app(s), time zone {settings.timezone}\n"
        f"ok    storage: {settings.storage_type}\n"
        f"ok    channels: {', '.join(settings.channels) or 'none'}\n"
        "ok    schedules and templates"
    )


@config.command(short_help="Print or write the JSON Schema of the files.")
@click.argument("name", type=click.Choice(list(SCHEMAS)), default="settings")
@click.option("--write", is_flag=True, help="Write all of them into config/.")
def schema(name: str, write: bool) -> int:
    """Print the JSON Schema of settings.yaml or deployments.yaml, for editors."""
    if not write:
        click.echo(schema_text(name), nl=False)
        return 0
    for file in write_schemas(bootstrap.settings_root()):
        click.echo(f"written: {file}")
    return 0
