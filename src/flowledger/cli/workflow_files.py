"""``flowledger workflow apply|validate|export|import|schema``: workflows as files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from flowledger import bootstrap
from flowledger.bootstrap.node_handlers import own_kinds
from flowledger.cli.workflow import OpenWorkflows, echo_json, is_file, open_workflows
from flowledger.domain.workflows import file_schema
from flowledger.domain.workflows.validation import Fault
from flowledger.errors import InvalidWorkflowError
from flowledger.io.atomic import atomic_write
from flowledger.services.workflows import files
from flowledger.services.workflows.files import WorkflowFile
from flowledger.services.workflows.rows import fault_row, workflow_row

SCHEMA_FILE = Path("config/workflow.schema.json")
STANDARD = "-"
READABLE = 0o644


def read(name: str) -> list[WorkflowFile]:
    """Read the workflows of a file, or of standard input, and check that they are some."""
    if name == STANDARD:
        name = "standard input"
        found = files.read_text(files.text_from(sys.stdin.buffer, name), name)
    else:
        found = files.read_file(Path(name))
    for each in found:
        each.check()
    return found


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="FILE...")
@click.option("--draft", is_flag=True, help="Do not publish.")
@click.option("--dry-run", is_flag=True, help="Check the files, change nothing.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def apply(names: Sequence[str], draft: bool, dry_run: bool, as_json: bool) -> None:
    """Make the workflows of each FILE (YAML or JSON, - is standard input) what it says, and publish them.

    A workflow is found by its name.  All files are checked before the first is applied.
    """
    forms = [each for name in names for each in read(name)]
    with open_workflows() as opened:
        if not draft:
            _refuse_faults(opened, forms)
        if dry_run:
            click.echo(f"{len(forms)} workflows could be applied", err=True)
            return
        rows = [applied(opened, each, publish=not draft) for each in forms]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        version = f"version {row['published_version']}" if row["status"] == "active" else row["status"]
        click.echo(f"{row['result']:9}  {row['id']:>4}  {row['name']}  {version}")


def _refuse_faults(opened: OpenWorkflows, forms: Sequence[WorkflowFile]) -> None:
    refused: list[InvalidWorkflowError] = []
    for each in forms:
        faults = opened.authoring.check_import(each.form)["faults"]
        try:
            each.refuse(faults)
        except InvalidWorkflowError as error:
            refused.append(error)
        for line in each.lines(fault for fault in faults if fault.is_warning):
            click.echo(line, err=True)
    if refused:
        raise InvalidWorkflowError(
            "\n".join(map(str, refused)), [line for error in refused for line in error.faults]
        )


def applied(opened: OpenWorkflows, file: WorkflowFile, *, publish: bool = True) -> dict[str, Any]:
    """Make a workflow what a file says, and return it with what that changed."""
    is_there = bool(opened.store.workflows(name=file.title, limit=1).workflows)
    stored, is_changed = opened.authoring.apply(file.form, opened.user, publish=publish)
    result = "created" if not is_there else "changed" if is_changed else "unchanged"
    if is_changed:
        opened.record("APPLY_WORKFLOW", stored.id, name=file.title, result=result, version=stored.published)
    return {"result": result, "file": file.name, **workflow_row(stored)}


@click.command()
@click.argument("word", metavar="FILE-OR-WORKFLOW")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def validate(word: str, as_json: bool) -> int:
    """List all that keeps a file, or a workflow by its number or name, from being published.

    Ends with status 1 where there is something.
    """
    faults: list[Fault] = []
    lines: list[str] = []
    with open_workflows() as opened:
        if is_file(word) or word == STANDARD:
            for each in read(word):
                of_this = opened.authoring.check_import(each.form)["faults"]
                faults += of_this
                lines += each.lines(of_this)
        else:
            faults = opened.authoring.faults(opened.workflow(word).id)
            lines = [
                f"{'warning: ' if fault.is_warning else ''}{fault.node or 'workflow'}: {fault.field}:"
                f" {fault.message}"
                for fault in faults
            ]
    errors = [fault for fault in faults if not fault.is_warning]
    if as_json:
        warnings = [fault for fault in faults if fault.is_warning]
        echo_json(
            {
                "valid": not errors,
                "errors": [*map(fault_row, errors)],
                "warnings": [*map(fault_row, warnings)],
            }
        )
    else:
        for line in lines:
            click.echo(line)
        if not errors:
            click.echo("nothing keeps it from being published", err=True)
    return 1 if errors else 0


@click.command()
@click.argument("word", metavar="WORKFLOW")
@click.option("--version", "number", type=click.IntRange(min=1), help="A version; default: the draft.")
@click.option("--format", "kind", type=click.Choice(["yaml", "json"]), help="Default: as --out, or YAML.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
def export(word: str, number: int | None, kind: str | None, out: Path | None) -> None:
    """Write WORKFLOW, by its number or name, as a file that apply and import read."""
    with open_workflows() as opened:
        form = opened.authoring.export(opened.workflow(word).id, number)
    kind = kind or ("json" if out is not None and out.suffix.lower() == ".json" else "yaml")
    text = files.text_of(form, kind)
    if out is None:
        click.echo(text, nl=False)
        return
    _write(out, text)


@click.command("import")
@click.argument("names", nargs=-1, required=True, metavar="FILE...")
@click.option("--name", help="Its name here; default: that of the file.")
@click.option("--dry-run", is_flag=True, help="Say what would be stored, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def import_(names: Sequence[str], name: str | None, dry_run: bool, as_json: bool) -> None:
    """Store the workflows of each FILE as new drafts; a name that is taken gets (副本).

    Exports of older programs are read too: rows of tables, nodes by number, alias or name.
    """
    forms = [each for file in names for each in read(file)]
    if name is not None and len(forms) > 1:
        raise click.UsageError("--name is for a file with one workflow")
    with open_workflows() as opened:
        if dry_run:
            rows = [_planned(opened, each) for each in forms]
        else:
            rows = [_imported(opened, each, name) for each in forms]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        word = f"would be stored, {row['nodes']} nodes" if dry_run else f"stored as {row['id']}"
        click.echo(f"{row['name']}: {word}")
        for line in row.get("lines", ()):
            click.echo(f"  {line}")


def _imported(opened: OpenWorkflows, file: WorkflowFile, name: str | None) -> dict[str, Any]:
    stored = opened.authoring.import_form(file.form, name=name)
    opened.record("IMPORT_WORKFLOW", stored.id, name=stored.document["name"])
    return workflow_row(stored)


def _planned(opened: OpenWorkflows, file: WorkflowFile) -> dict[str, Any]:
    planned = opened.authoring.check_import(file.form)
    faults = planned.pop("faults")
    missing = [f"the API {each} is registered anew" for each in planned["new_apis"]]
    return {**planned, "lines": [*missing, *file.lines(faults)]}


@click.command()
@click.option("--write", is_flag=True, help=f"Write it to {SCHEMA_FILE}.")
def schema(write: bool) -> None:
    """Print the JSON Schema of files of workflows, for editors."""
    text = schema_text()
    if not write:
        click.echo(text, nl=False)
        return
    file = bootstrap.settings_root() / SCHEMA_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, text)


def schema_text() -> str:
    """Return the schema as text, always the same for the same types of nodes."""
    kinds = {each.type_name: (each.description, each.config_schema) for each in own_kinds()}
    return files.text_of(file_schema.file_schema(kinds), "json")


def _write(file: Path, text: str) -> None:
    try:
        with atomic_write(file, READABLE) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written ({error.strerror})") from None
    click.echo(f"written: {file}", err=True)
