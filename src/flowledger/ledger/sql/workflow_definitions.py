"""Reads and writes workflows, their versions, the registry of APIs and node types."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from flowledger.domain.workflows.definition import Document, WorkflowStatus
from flowledger.errors import RecordConflictError
from flowledger.ledger.sql import workflow_rows
from flowledger.ledger.sql.database import Database
from flowledger.ledger.sql.workflow_schema import (
    apis,
    node_types,
    workflow_executions,
    workflow_versions,
    workflows,
)
from flowledger.workflow_ports import (
    StoredApi,
    StoredNodeType,
    StoredWorkflow,
    WorkflowPage,
    WorkflowVersion,
)

OPEN = ("pending", "running", "paused")
_this = workflows.c.id == sa.bindparam("id_")
_read = sa.select(workflows).where(_this)
_of_workflow = workflow_versions.c.workflow == sa.bindparam("workflow_")
_versions = sa.select(workflow_versions).where(_of_workflow).order_by(workflow_versions.c.number.desc())


def insert_workflow(connection: Connection, document: Document, at: datetime) -> StoredWorkflow:
    """Insert a draft."""
    row = {
        **workflow_rows.document_row(document),
        **{"status": WorkflowStatus.DRAFT.value, "revision": 1, "created_at": at, "updated_at": at},
    }
    inserted = connection.execute(sa.insert(workflows).returning(*workflows.c), row).one()
    return workflow_rows.workflow_from(inserted)


def read_workflow(connection: Connection, workflow_id: int) -> StoredWorkflow | None:
    """Read one workflow."""
    row = connection.execute(_read, {"id_": workflow_id}).first()
    return None if row is None else workflow_rows.workflow_from(row)


def read_workflows(
    connection: Connection,
    database: Database,
    status: WorkflowStatus | None,
    name: str | None,
    tag: str | None,
    among: Collection[int] | None,
    after: int | None,
    limit: int,
) -> WorkflowPage:
    """Read a page of workflows, newest first."""
    statement = sa.select(workflows).order_by(workflows.c.id.desc()).limit(limit + 1)
    if status is not None:
        statement = statement.where(workflows.c.status == status.value)
    if name is not None:
        statement = statement.where(workflows.c.name == name)
    if tag is not None:
        statement = statement.where(database.holds(workflows.c.tags, f"\n{tag}\n"))
    if among is not None:
        statement = statement.where(workflows.c.id.in_(among))
    if after is not None:
        statement = statement.where(workflows.c.id < after)
    found = [workflow_rows.workflow_from(row) for row in connection.execute(statement)]
    page = found[:limit]
    return WorkflowPage(page, page[-1].id if len(found) > limit else None)


def change_workflow(
    connection: Connection,
    workflow_id: int,
    change: Callable[[StoredWorkflow], tuple[Document, WorkflowStatus]],
    at: datetime,
) -> StoredWorkflow | None:
    """Store what a change makes of a workflow; the lock on it has to be held."""
    stored = read_workflow(connection, workflow_id)
    if stored is None:
        return None
    document, status = change(stored)
    row = {
        **workflow_rows.document_row(document),
        **{"status": status.value, "revision": stored.revision + 1, "updated_at": at},
    }
    connection.execute(sa.update(workflows).where(_this).values(**row), {"id_": workflow_id})
    return read_workflow(connection, workflow_id)


def delete_workflow(connection: Connection, workflow_id: int) -> bool:
    """Delete a workflow, and those of its versions that no execution has; the lock on it has to be held.

    :raises RecordConflictError: while an execution of it is open.
    """
    of_it = workflow_executions.c.workflow == workflow_id
    is_open = workflow_executions.c.status.in_(OPEN)
    count = sa.select(sa.func.count()).select_from(workflow_executions)
    busy = connection.scalar(count.where(of_it, is_open))
    if busy:
        raise RecordConflictError(
            f"the workflow {workflow_id} has {busy} executions that have not ended: cancel them first"
        )
    used = sa.select(workflow_executions.c.version).where(of_it)
    connection.execute(
        sa.delete(workflow_versions).where(
            workflow_versions.c.workflow == workflow_id, workflow_versions.c.number.not_in(used)
        )
    )
    return connection.execute(sa.delete(workflows).where(_this), {"id_": workflow_id}).rowcount > 0


def insert_version(
    connection: Connection,
    workflow_id: int,
    revision: int,
    snapshot: Document,
    digest: str,
    at: datetime,
    by: str,
    *,
    activates: bool,
) -> WorkflowVersion | None:
    """Insert a version unless the newest one is the same; the lock on the workflow has to be held.

    :raises RecordConflictError: when the draft was changed since it was read.
    """
    stored = read_workflow(connection, workflow_id)
    if stored is None:
        return None
    if stored.revision != revision:
        raise RecordConflictError(
            f"the workflow {workflow_id} was changed meanwhile (revision {stored.revision}, not {revision}):"
            " look at it and publish again"
        )
    newest = read_version(connection, workflow_id, None)
    if newest is None or newest.digest != digest:  # the same again is the same version
        number = 1 if newest is None else newest.number + 1
        row = {
            **{"workflow": workflow_id, "number": number, "version": str(snapshot.get("version", ""))},
            **{"digest": digest, "document": dict(snapshot), "created_at": at, "created_by": by},
        }
        connection.execute(sa.insert(workflow_versions), row)
        newest = read_version(connection, workflow_id, number)
        assert newest is not None
    if activates:
        active = {"status": WorkflowStatus.ACTIVE.value, "published": newest.number}
        connection.execute(sa.update(workflows).where(_this).values(**active), {"id_": workflow_id})
    return newest


def read_versions(connection: Connection, workflow_id: int) -> Sequence[WorkflowVersion]:
    """Read all versions of a workflow, newest first."""
    rows = connection.execute(_versions, {"workflow_": workflow_id})
    return [workflow_rows.version_from(row) for row in rows]


def read_version(connection: Connection, workflow_id: int, number: int | None) -> WorkflowVersion | None:
    """Read one version, or the newest."""
    statement = _versions.limit(1)
    if number is not None:
        statement = statement.where(workflow_versions.c.number == number)
    row = connection.execute(statement, {"workflow_": workflow_id}).first()
    return None if row is None else workflow_rows.version_from(row)


def write_api(
    connection: Connection, api_id: int | None, fields: Mapping[str, Any], at: datetime
) -> StoredApi | None:
    """Insert an API, or replace one."""
    values: dict[str, Any] = {"fields": dict(fields), "updated_at": at}
    if api_id is None:
        statement: Any = sa.insert(apis).values(**values, created_at=at)
    else:
        statement = sa.update(apis).where(apis.c.id == api_id).values(**values)
    row = connection.execute(statement.returning(*apis.c)).first()
    return None if row is None else workflow_rows.api_from(row)


def read_api(connection: Connection, api_id: int) -> StoredApi | None:
    """Read one API."""
    row = connection.execute(sa.select(apis).where(apis.c.id == api_id)).first()
    return None if row is None else workflow_rows.api_from(row)


def read_apis(connection: Connection) -> Sequence[StoredApi]:
    """Read all APIs by id."""
    return [workflow_rows.api_from(row) for row in connection.execute(sa.select(apis).order_by(apis.c.id))]


def delete_api(connection: Connection, api_id: int) -> bool:
    """Delete one API and return whether there was one."""
    return connection.execute(sa.delete(apis).where(apis.c.id == api_id)).rowcount > 0


def write_node_type(connection: Connection, node_type: StoredNodeType) -> None:
    """Put a node type in the place of the one of its name; the lock on node types has to be held."""
    connection.execute(sa.delete(node_types).where(node_types.c.type_name == node_type.type_name))
    connection.execute(
        sa.insert(node_types),
        {
            "type_name": node_type.type_name,
            "description": node_type.description,
            "config_schema": dict(node_type.config_schema),
            "handler": node_type.handler,
            "created_at": node_type.created_at,
        },
    )


def read_node_types(connection: Connection) -> Sequence[StoredNodeType]:
    """Read the node types by name."""
    rows = connection.execute(sa.select(node_types).order_by(node_types.c.type_name))
    return [workflow_rows.node_type_from(row) for row in rows]
