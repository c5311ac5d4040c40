"""``flowledger workflow list|show|graph|publish``: what there is, and versions of it."""

from typing import Any

import click

from flowledger.cli.workflow import OpenWorkflows, echo_json, open_workflows
from flowledger.domain.workflows import exchange
from flowledger.domain.workflows.definition import WorkflowStatus
from flowledger.services.workflows.rows import connection_row, node_row, version_row, workflow_row
from flowledger.workflow_ports import StoredWorkflow

HEADINGS = ("id", "name", "status", "version", "published", "nodes", "tags", "changed")
STATUSES = [status.value for status in WorkflowStatus]


@click.command("list")
@click.option("--status", type=click.Choice(STATUSES))
@click.option("--name", help="Only workflows of this name.")
@click.option("--tag", help="Only workflows with this tag.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def list_workflows(status: str | None, name: str | None, tag: str | None, limit: int, as_json: bool) -> None:
    """List workflows, newest first."""
    with open_workflows() as opened:
        wanted = WorkflowStatus(status) if status else None
        stored = opened.store.workflows(status=wanted, name=name, tag=tag, limit=limit).workflows
        if as_json:
            echo_json([workflow_row(each) for each in stored])
        elif not stored:
            click.echo("no workflows match", err=True)
        else:
            from flowledger.cli.terminal import show_table  # rich costs a tenth of a second, JSON needs none

            show_table(HEADINGS, (_cells(opened, each) for each in stored))


def _cells(opened: OpenWorkflows, stored: StoredWorkflow) -> tuple[str, ...]:
    from flowledger.cli.terminal import cell

    row = workflow_row(stored)
    texts = (
        *(row["id"], row["name"], row["status"], row["version"], row["published_version"] or ""),
        *(len(stored.document["nodes"]), ", ".join(row["tags"]), opened.local_time(stored.updated_at)),
    )
    return tuple(cell(str(text)) for text in texts)


@click.command()
@click.argument("word", metavar="WORKFLOW")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def show(word: str, as_json: bool) -> None:
    """Show WORKFLOW, by its number or name, with nodes, connections and versions."""
    with open_workflows() as opened:
        stored = opened.workflow(word)
        versions = [version_row(each) for each in opened.store.versions(stored.id)]
    document = stored.document
    nodes = [node_row(stored.id, each) for each in document["nodes"]]
    connections = [connection_row(stored.id, each) for each in document["connections"]]
    row = workflow_row(stored)
    if as_json:
        echo_json({**row, "nodes": nodes, "connections": connections, "versions": versions})
    else:
        _show(row, nodes, connections, versions)


def _show(
    row: dict[str, Any],
    nodes: list[dict[str, Any]],
    connections: list[dict[str, Any]],
    versions: list[dict[str, Any]],
) -> None:
    from flowledger.cli.terminal import cell

    for name, value in row.items():
        if value not in (None, "", [], {}):
            click.echo(f"{name:18} {cell(str(value), 2000)}")
    aliases = {node["id"]: node["alias"] for node in nodes}
    for node in nodes:
        click.echo(cell(f"  {node['id']:>4} {node['node_type']:12} {node['alias']}  {node['name']}", 200))
    for each in connections:
        source, target = (aliases.get(each[f"{end}_node_id"], "?") for end in ("from", "to"))
        condition = f" if {each['condition']}" if each["condition"] else ""
        click.echo(cell(f"  {source} -> {target}  {each['connection_type']}{condition}", 200))
    for version in versions:
        words = f"{version['created_at']:%Y-%m-%d %H:%M} by {version['created_by']}, {version['digest'][:12]}"
        click.echo(f"  version {version['number']} ({version['version']}): {words}")


@click.command()
@click.argument("word", metavar="WORKFLOW")
@click.option("--version", "number", type=click.IntRange(min=1), help="A version; default: the draft.")
def graph(word: str, number: int | None) -> None:
    """Print WORKFLOW, by its number or name, as a Mermaid flowchart."""
    with open_workflows() as opened:
        form = opened.authoring.export(opened.workflow(word).id, number)
    click.echo(exchange.mermaid(exchange.imported(form)), nl=False)


@click.command()
@click.argument("word", metavar="WORKFLOW")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def publish(word: str, as_json: bool) -> None:
    """Make a version of the draft of WORKFLOW, by its number or name; executions take it from now on."""
    with open_workflows() as opened:
        version = opened.authoring.publish(opened.workflow(word).id, opened.user)
        number, digest = version.number, version.digest
        opened.record("PUBLISH_WORKFLOW", version.workflow_id, version=number, digest=digest)
    if as_json:
        echo_json(version_row(version))
    else:
        click.echo(f"version {version.number} ({version.version}) of workflow {version.workflow_id}")
