"""A workflow as people define it: nodes, connections between them, and options (docs/orchestration.md).

A draft is kept as JSON, the *document*: ``{name, description, version, config, tags, nodes, connections,
groups}``.  Integer ids are unique in their workflow.  ``read`` turns it into values; whether the workflow
makes sense is for ``validation`` to say.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flowledger.domain.runs import Json
from flowledger.errors import UsageError

Document = Mapping[str, Any]
NODE_OPTIONS = (
    *("conditions", "condition_logic", "join", "skip_as", "retry_policy", "timeout", "continue_on_failure"),
    *("approval_required", "approval_config", "notification_config"),
)
"""What any node may have beside its type's own ``config``."""


class NodeType(StrEnum):
    """The types that Flowledger brings; plugins add others, so a node's type is any word."""

    START = "START"
    END = "END"
    API_CALL = "API_CALL"
    CONDITION = "CONDITION"
    DELAY = "DELAY"
    PARALLEL = "PARALLEL"
    LOOP = "LOOP"
    APPROVAL = "APPROVAL"
    SUBWORKFLOW = "SUBWORKFLOW"
    TRANSFORM = "TRANSFORM"
    MERGE = "MERGE"
    NOTIFY = "NOTIFY"
    REPORT = "REPORT"
    DIFY_RUN = "DIFY_RUN"
    COZE_RUN = "COZE_RUN"


class ConnectionType(StrEnum):
    """How one node leads to another."""

    SEQUENCE = "SEQUENCE"
    CONDITIONAL = "CONDITIONAL"
    CONDITIONAL_TRUE = "CONDITIONAL_TRUE"
    CONDITIONAL_FALSE = "CONDITIONAL_FALSE"
    PARALLEL = "PARALLEL"
    LOOP = "LOOP"


class WorkflowStatus(StrEnum):
    """Whether a workflow can be executed."""

    DRAFT = "draft"
    ACTIVE = "active"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a workflow; ``options`` holds what is there of ``NODE_OPTIONS``."""

    id: int
    alias: str
    name: str
    node_type: str
    config: Mapping[str, Json] = field(default_factory=dict)
    description: str = ""
    position_x: float | None = None
    position_y: float | None = None
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Connection:
    """A way from one node to another, by their ids."""

    id: int
    from_id: int
    to_id: int
    connection_type: ConnectionType = ConnectionType.SEQUENCE
    condition: Json = None
    config: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of a pipeline that run in parallel; ``sync_policy`` is wait_all, wait_any or fail_fast."""

    id: int
    name: str
    description: str = ""
    sync_policy: str = "wait_all"
    timeout_seconds: float | None = None
    node_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """A whole workflow."""

    name: str
    description: str = ""
    version: str = "1.0"
    config: Mapping[str, Json] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    connections: tuple[Connection, ...] = ()
    groups: tuple[Group, ...] = ()

    def node(self, node_id: int) -> Node | None:
        """Return a node by its id; None where there is none."""
        return next((node for node in self.nodes if node.id == node_id), None)


def read(document: Document) -> Definition:
    """Return the workflow that a document describes.

    :raises UsageError: with the place, where a part is not of its kind (a name that is no text, and so on).
    """
    return Definition(
        name=_text(document, "name", "the workflow"),
        description=_text(document, "description", "the workflow", default=""),
        version=_text(document, "version", "the workflow", default="1.0"),
        config=_object(document, "config", "the workflow"),
        tags=tuple(str(tag) for tag in _list(document, "tags", "the workflow")),
        nodes=tuple(_node(each, number) for number, each in enumerate(_objects(document, "nodes"), 1)),
        connections=tuple(
            _connection(each, number) for number, each in enumerate(_objects(document, "connections"), 1)
        ),
        groups=tuple(_group(each, number) for number, each in enumerate(_objects(document, "groups"), 1)),
    )


def alias_from(name: str, taken: Collection[str] = ()) -> str:
    """Return an identifier for a node: its name with ``_`` for what no identifier has, and a number if taken.

    Letters of every script stay, so that ``读取`` is an alias; one that begins with a digit gets a ``_``.
    """
    text = re.sub(r"\W+", "_", unicodedata.normalize("NFKC", name)).strip("_") or "node"
    text = f"_{text}" if text[0].isdigit() else text
    alias, number = text, 1
    while alias in taken or alias.lower() in RESERVED_WORDS:
        number += 1
        alias = f"{text}_{number}"
    return alias


RESERVED_WORDS = frozenset(
    ("and", "or", "not", "in", "is", "null", "none", "empty", "true", "false"),
)
"""Words of expressions, which no alias can be."""
ROOTS = ("input", "nodes", "response", "loop", "execution", "variables", "previous_step", "secrets")
"""Names that expressions find first: a node of such an alias is found as ``nodes['loop']``."""


def _node(document: Document, number: int) -> Node:
    place = f"node {document.get('name') or number}"
    return Node(
        id=_integer(document, "id", place),
        alias=_text(document, "alias", place),
        name=_text(document, "name", place),
        node_type=_text(document, "node_type", place),
        config=_object(document, "config", place),
        description=_text(document, "description", place, default=""),
        position_x=_number(document, "position_x", place),
        position_y=_number(document, "position_y", place),
        options={name: document[name] for name in NODE_OPTIONS if document.get(name) is not None},
    )


def _connection(document: Document, number: int) -> Connection:
    place = f"connection {number}"
    word = _text(document, "connection_type", place, default=ConnectionType.SEQUENCE.value)
    if word not in ConnectionType.__members__:
        raise UsageError(
            f"{place}: unknown connection_type {word!r:.80}: one of {', '.join(ConnectionType.__members__)}"
        )
    return Connection(
        id=_integer(document, "id", place),
        from_id=_integer(document, "from_node_id", place),
        to_id=_integer(document, "to_node_id", place),
        connection_type=ConnectionType(word),
        condition=document.get("condition"),
        config=_object(document, "config", place),
    )


def _group(document: Document, number: int) -> Group:
    place = f"group {document.get('name') or number}"
    ids = _list(document, "steps", place)
    if not all(type(each) is int for each in ids):
        raise UsageError(f"{place}: steps must be the ids of nodes")
    return Group(
        id=_integer(document, "id", place),
        name=_text(document, "name", place),
        description=_text(document, "description", place, default=""),
        sync_policy=_text(document, "sync_policy", place, default="wait_all"),
        timeout_seconds=_number(document, "timeout_seconds", place),
        node_ids=tuple(ids),
    )


def _text(document: Document, name: str, place: str, *, default: str | None = None) -> str:
    value = document.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise UsageError(f"{place}: {name} must be a text")
    return value


def _integer(document: Document, name: str, place: str) -> int:
    value = document.get(name)
    if type(value) is not int or value < 1:
        raise UsageError(f"{place}: {name} must be a whole number from 1 on")
    return value


def _number(document: Document, name: str, place: str) -> float | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise UsageError(f"{place}: {name} must be a number below 1e12")
    return float(value)


def _object(document: Document, name: str, place: str) -> Mapping[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{place}: {name} must be an object")
    return value


def _list(document: Document, name: str, place: str) -> Sequence[Any]:
    value = document.get(name)
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise UsageError(f"{place}: {name} must be a list")
    return value


def _objects(document: Document, name: str) -> Sequence[Document]:
    values = _list(document, name, "the workflow")
    for number, value in enumerate(values, 1):
        if not isinstance(value, Mapping):
            raise UsageError(f"the workflow: {name}, entry {number} must be an object")
    return values
