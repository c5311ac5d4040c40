"""``WorkflowOrchestrator``: workflows, their nodes and connections, from Python."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from flowledger.domain.workflows.definition import ConnectionType, NodeType, WorkflowStatus
from flowledger.errors import UsageError
from flowledger.ports import Ledger
from flowledger.records.workflow_access import Row, open_access
from flowledger.services.workflows import files, rows

Fields = Mapping[str, Any]


class WorkflowOrchestrator:
    """Defines and publishes workflows; the work runs in threads, so the event loop is not blocked.

    ``config`` holds options that override the settings; without ``ledger`` it opens the one they name.
    Errors: ``UsageError`` with the field that is wrong, ``InvalidWorkflowError`` with every fault,
    ``RecordNotFoundError``, ``RecordConflictError``, ``LedgerError``.
    """

    def __init__(self, config: Fields | None = None, *, ledger: Ledger | None = None) -> None:
        self._access = open_access(config, ledger)
        self._authoring = self._access.services.authoring

    async def create_workflow(
        self,
        name: str,
        description: str = "",
        version: str = "1.0",
        config: Fields | None = None,
        tags: Sequence[str] = (),
    ) -> Row:
        """Store a new draft and return it with its id."""
        fields = {
            "name": name,
            "description": description,
            "version": version,
            "config": config,
            "tags": list(tags),
        }
        return Row(rows.workflow_row(await asyncio.to_thread(self._authoring.create, fields)))

    async def add_node(
        self,
        workflow_id: int,
        name: str,
        node_type: NodeType | str,
        config: Fields | None = None,
        position_x: float | None = None,
        position_y: float | None = None,
        description: str | None = None,
        **options: Any,
    ) -> Row:
        """Add a node to a draft and return it with its id and alias.

        ``options`` are ``alias`` and what any node may have: ``retry_policy``, ``timeout``, ``conditions`` …
        """
        fields = {
            "name": name,
            "node_type": str(node_type),
            "config": config,
            "position_x": position_x,
            "position_y": position_y,
            "description": description,
            **options,
        }
        node = await asyncio.to_thread(self._authoring.add_node, workflow_id, fields)
        return Row(rows.node_row(workflow_id, node))

    async def add_connection(
        self,
        workflow_id: int,
        from_node_id: int,
        to_node_id: int,
        connection_type: ConnectionType | str = ConnectionType.SEQUENCE,
        condition: Any = None,
        config: Fields | None = None,
    ) -> Row:
        """Add a connection between two nodes of a draft and return it with its id."""
        fields = {
            "from_node_id": from_node_id,
            "to_node_id": to_node_id,
            "connection_type": str(connection_type),
            "condition": condition,
            "config": config,
        }
        connection = await asyncio.to_thread(self._authoring.add_connection, workflow_id, fields)
        return Row(rows.connection_row(workflow_id, connection))

    async def publish(self, workflow_id: int) -> Row:
        """Make an immutable version of the draft; the same draft again is the same version."""
        version = await asyncio.to_thread(self._authoring.publish, workflow_id, self._access.user)
        return Row(rows.version_row(version))

    async def export_workflow(self, workflow_id: int, version: int | None = None) -> dict[str, Any]:
        """Return a workflow in the form of files: the draft, or one version."""
        return await asyncio.to_thread(self._authoring.export, workflow_id, version)

    async def import_workflow(self, workflow: Fields | str, name: str | None = None) -> Row:
        """Store an exported workflow, or the text of a file, as a new draft; a taken name gets (副本)."""
        form = _only_form(workflow) if isinstance(workflow, str) else workflow
        stored = await asyncio.to_thread(lambda: self._authoring.import_form(form, name=name))
        return Row(rows.workflow_row(stored))

    async def get_workflows(
        self, status: str | None = None, name: str | None = None, tag: str | None = None, limit: int = 50
    ) -> list[Row]:
        """Return workflows, newest first.

        :raises UsageError: for an unknown status, or a limit that is not 1 to 1,000.
        """
        if status is not None and status not in list(WorkflowStatus):
            raise UsageError(f"status must be one of {', '.join(WorkflowStatus)}, not {status!r:.40}")
        if not 1 <= limit <= 1000:
            raise UsageError(f"limit must be 1 to 1,000, not {limit!r:.40}")
        wanted = None if status is None else WorkflowStatus(status)
        page = await asyncio.to_thread(
            lambda: self._authoring.store.workflows(status=wanted, name=name, tag=tag, limit=limit)
        )
        return [Row(rows.workflow_row(each)) for each in page.workflows]

    async def get_workflow_nodes(self, workflow_id: int) -> list[Row]:
        """Return the nodes of a draft by id."""
        stored = await asyncio.to_thread(self._authoring.get, workflow_id)
        return [Row(rows.node_row(workflow_id, each)) for each in stored.document["nodes"]]


def _only_form(text: str) -> Any:
    forms = files.read_text(text, "the workflow")
    if len(forms) != 1:
        raise UsageError(f"the text holds {len(forms)} workflows: import one after the other")
    return forms[0].form
