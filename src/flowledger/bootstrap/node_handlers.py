"""Types of nodes: those that Flowledger brings, those of installed plugins, and what executes each."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from flowledger import plugins
from flowledger.workflow_ports import NodeHandler, UnknownHandlerError, WorkflowStore

KEPT_S = 5.0
"""How long it is relied on which handler executes a custom type."""


class NodeKind(NamedTuple):
    """A type of node: the JSON Schema of its config, and its handler, "" where the planner decides it.

    ``is_installed`` is false of a type whose plugin is not here.
    """

    type_name: str
    description: str
    config_schema: Mapping[str, Any]
    handler: str = ""
    is_custom: bool = False
    is_installed: bool = True


def node_kinds(store: WorkflowStore) -> Sequence[NodeKind]:
    """Return all types of nodes: Flowledger's own, then the stored ones by name."""
    installed = installed_handlers()
    custom = (
        NodeKind(
            each.type_name,
            each.description,
            each.config_schema,
            each.handler,
            is_custom=True,
            is_installed=each.handler in installed,
        )
        for each in store.node_types()
        if each.type_name not in plugins.NODES
    )
    return [*own_kinds(), *custom]


def node_schemas(store: WorkflowStore) -> Mapping[str, Mapping[str, Any]]:
    """Return the schema of the config of every type that can be executed here, by type."""
    return {each.type_name: each.config_schema for each in node_kinds(store) if each.is_installed}


@cache
def own_kinds() -> Sequence[NodeKind]:
    """Return the types that Flowledger brings."""
    classes = {name: plugins.load("node type", name) for name in plugins.NODES}
    return [
        NodeKind(
            name,
            (each.__doc__ or "").partition("\n")[0],
            each.config_schema,
            plugins.NODES[name] if hasattr(each, "run") else "",
        )
        for name, each in classes.items()
    ]


@cache
def installed_handlers() -> Mapping[str, EntryPoint]:
    """Return the handlers that installed packages bring, by the names that custom types have for them."""
    group = plugins.NODE_PLUGINS
    own = (EntryPoint(name, value, group) for name, value in plugins.NODE_HANDLERS.items())
    return {each.name: each for each in (*own, *entry_points(group=group))}


@dataclass
class Handlers:
    """Returns what executes nodes of a type; each handler is made once.

    ``parts`` are what handlers may need, by the name of the field that holds it.
    """

    store: WorkflowStore
    parts: Mapping[str, Any]
    clock: Callable[[], float] = time.monotonic
    _made: dict[str, NodeHandler] = field(default_factory=dict, repr=False)
    _custom: Mapping[str, str] = field(default_factory=dict, repr=False)
    _read_at: float = field(default=float("-inf"), repr=False)

    def __call__(self, node_type: str) -> NodeHandler:
        """Return the handler of a type.

        :raises UnknownHandlerError: when none executes it here.
        """
        name = node_type if node_type in plugins.NODES else self._handler_of(node_type)
        if name not in self._made:
            self._made[name] = self._own(name) if name == node_type else self._plugin(node_type, name)
        return self._made[name]

    def _handler_of(self, node_type: str) -> str:
        now = self.clock()
        if node_type not in self._custom or now - self._read_at > KEPT_S:
            self._custom = {each.type_name: each.handler for each in self.store.node_types()}
            self._read_at = now
        if node_type not in self._custom:
            raise UnknownHandlerError(f"there is no type of node {node_type!r:.80}")
        return f"{plugins.NODE_PLUGINS}:{self._custom[node_type]}"

    def _own(self, node_type: str) -> NodeHandler:
        made: NodeHandler = self._with_parts(plugins.load("node type", node_type))
        if not hasattr(made, "run"):
            raise UnknownHandlerError(f"nodes of type {node_type} are decided by the planner, not executed")
        return made

    def _plugin(self, node_type: str, name: str) -> NodeHandler:
        word = name.partition(":")[2]
        entry_point = installed_handlers().get(word)
        if entry_point is None:
            raise UnknownHandlerError(
                f"nodes of type {node_type} are executed by {word!r:.80}, which no installed package brings"
            )
        try:
            made: NodeHandler = self._with_parts(entry_point.load())
        except Exception as error:  # a plugin is anybody's
            raise UnknownHandlerError(
                f"the handler {word!r:.80} of nodes of type {node_type} cannot be loaded:"
                f" {type(error).__name__}: {error}"
            ) from error
        if not callable(getattr(made, "run", None)):
            raise UnknownHandlerError(f"the handler {word!r:.80} of nodes of type {node_type} has no run")
        return made

    def _with_parts(self, loaded: Any) -> Any:
        if not isinstance(loaded, type):
            return loaded
        names = {each.name for each in fields(loaded)} if is_dataclass(loaded) else set()
        return loaded(**{name: self.parts[name] for name in names & self.parts.keys()})
