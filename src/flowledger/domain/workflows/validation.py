"""What has to be right before a workflow is published: every fault at once, with its node and field."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flowledger.domain.runs import Json
from flowledger.domain.workflows import containers, delays, references, regions, retrying, schemas
from flowledger.domain.workflows.definition import (
    RESERVED_WORDS,
    ROOTS,
    Connection,
    ConnectionType,
    Definition,
    Node,
    NodeType,
)
from flowledger.errors import UsageError

DEEPEST_SUB_WORKFLOWS = 5
_SOURCES = {
    ConnectionType.PARALLEL: NodeType.PARALLEL,
    ConnectionType.LOOP: NodeType.LOOP,
    ConnectionType.CONDITIONAL_TRUE: NodeType.CONDITION,
    ConnectionType.CONDITIONAL_FALSE: NodeType.CONDITION,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {"join": ("all", "any"), "skip_as": ("success", "skipped")}
_SWITCHES = ("continue_on_failure", "approval_required")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a node (None: with the workflow) at one of its fields.

    A warning does not keep a workflow from being published.
    """

    node: str | None
    field: str
    message: str
    is_warning: bool = False


@dataclass(slots=True)
class Surroundings:
    """What a workflow can refer to.

    ``node_types`` are the schemas of configs by type, ``workflows`` gives the published definition of another
    workflow, ``workflow_id`` is this one's id.  Where ``api_ids`` or ``channels`` is None, all are let pass.
    """

    api_ids: Collection[int] | None = None
    node_types: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    channels: Collection[str] | None = None
    workflows: Callable[[int], Definition | None] = lambda _: None
    workflow_id: int | None = None


def faults(definition: Definition, surroundings: Surroundings) -> list[Fault]:
    """Return all faults of a workflow, errors first."""
    check = _Check(definition, surroundings)
    check.everything()
    return sorted(dict.fromkeys(check.faults), key=lambda fault: fault.is_warning)


class _Check:
    def __init__(self, definition: Definition, surroundings: Surroundings) -> None:
        self.definition = definition
        self.surroundings = surroundings
        self.faults: list[Fault] = []

    def error(self, node: str | None, field: str, message: str) -> None:
        self.faults.append(Fault(node, field, message))

    def warn(self, node: str | None, field: str, message: str) -> None:
        self.faults.append(Fault(node, field, message, is_warning=True))

    def everything(self) -> None:
        self._workflow()
        self._names()
        for node in self.definition.nodes:
            self._node(node)
        for connection in self.definition.connections:
            self._connection(connection)
        shape = regions.shape_of(self.definition, self.error)
        self._reach(shape)
        self._leaving(shape)
        self._sub_workflows()
        references.check(self.definition, shape, self.error, self.warn)

    # ---------------------------------------------------------------- the whole

    def _workflow(self) -> None:
        config = self.definition.config
        handling = config.get("error_handling")
        if handling not in (None, "stop", "continue", "cancel"):
            self.error(None, "config.error_handling", "must be stop, continue or cancel")
        _positive(config.get("timeout"), partial(self.error, None, "config.timeout"))
        for group in self.definition.groups:
            place = f"groups[{group.name}]"
            if group.sync_policy not in containers.POLICIES:
                self.error(None, f"{place}.sync_policy", f"must be one of {', '.join(containers.POLICIES)}")
            _positive(group.timeout_seconds, partial(self.error, None, f"{place}.timeout_seconds"))

    def _names(self) -> None:
        nodes = self.definition.nodes
        starts = [node for node in nodes if node.node_type == NodeType.START]
        if not starts:
            self.error(None, "nodes", "there is no START")
        for node in starts[1:]:
            self.error(node.alias, "node_type", f"there is another START: {starts[0].alias}")
        if not any(node.node_type == NodeType.END for node in nodes):
            self.error(None, "nodes", "there is no END")
        for name in ("id", "alias"):
            for value, number in Counter(getattr(node, name) for node in nodes).items():
                if number > 1:
                    self.error(str(value), name, f"{number} nodes have it")
        for node in nodes:
            if not node.alias.isidentifier() or node.alias.lower() in RESERVED_WORDS:
                self.error(node.alias, "alias", "must be an identifier and no word of expressions")
            elif node.alias in ROOTS:
                self.warn(node.alias, "alias", f"expressions find it as nodes['{node.alias}'] only")

    def _reach(self, shape: regions.Shape) -> None:
        starts = [index for index, node in enumerate(shape.nodes) if node.node_type == NodeType.START]
        reached = regions.reachable(starts, shape.outgoing())
        for index, node in enumerate(shape.nodes):
            if starts and index not in reached and node.node_type != NodeType.START:
                self.error(node.alias, "connections", "cannot be reached from START")

    # ---------------------------------------------------------------- nodes

    def _node(self, node: Node) -> None:
        self._config(node)
        self._options(node)
        if node.node_type == NodeType.APPROVAL:
            self._approval(node, "config", node.config)
        if node.options.get("approval_required") is True:
            config = node.options.get("approval_config")
            self._approval(node, "approval_config", config if isinstance(config, Mapping) else {})
        try:
            policy = retrying.policy_of(node, self.definition.config)
        except UsageError as error:
            self.error(node.alias, "retry_policy", str(error))
            return
        if node.node_type == NodeType.API_CALL:
            self._call(node, policy.max_retries)

    def _config(self, node: Node) -> None:
        types = self.surroundings.node_types
        if node.node_type not in types and node.node_type not in NodeType.__members__:
            text = f"there is no type {node.node_type!r:.80}, or its plugin is not installed"
            self.error(node.alias, "node_type", text)
        schema = schemas.json_schema(types.get(node.node_type) or {})
        misfits = {
            f"config.{place}" if place else "config": message
            for place, message in schemas.misfits(node.config, schema)
        }
        for place, message in {**dict(_own_misfits(node)), **misfits}.items():
            self.error(node.alias, place, message)
        channel, channels = node.config.get("channel"), self.surroundings.channels
        if node.node_type != NodeType.NOTIFY or channels is None or schemas.is_template(channel):
            return
        if isinstance(channel, str) and channel not in channels:
            self.error(node.alias, "config.channel", f"there is no channel {channel!r:.80}")

    def _options(self, node: Node) -> None:
        for name, choices in _CHOICES.items():
            if node.options.get(name) not in (None, *choices):
                self.error(node.alias, name, f"must be one of {', '.join(choices)}")
        for name in _SWITCHES:
            if not isinstance(node.options.get(name, False), bool):
                self.error(node.alias, name, "must be true or false")
        _positive(node.options.get("timeout"), partial(self.error, node.alias, "timeout"))

    def _approval(self, node: Node, place: str, config: Mapping[str, Json]) -> None:
        approvers, required = config.get("approvers"), config.get("required_approvals", 1)
        if schemas.is_template(approvers):
            return
        if not isinstance(approvers, list | tuple) or not approvers:
            self.error(node.alias, f"{place}.approvers", "must name somebody")
            return
        if schemas.is_template(required):
            return
        if isinstance(required, bool) or not isinstance(required, int) or required < 1:
            self.error(node.alias, f"{place}.required_approvals", "must be a whole number from 1 on")
        elif required > len(set(map(str, approvers))) and not any(map(schemas.is_template, approvers)):
            message = f"{required} approvals are wanted of {len(set(map(str, approvers)))} approvers"
            self.error(node.alias, f"{place}.required_approvals", message)

    def _call(self, node: Node, max_retries: int) -> None:
        config, ids = node.config, self.surroundings.api_ids
        api_id = config.get("api_id")
        if api_id is None and not config.get("url"):
            self.error(node.alias, "config.api_id", "a call needs api_id or url")
        is_known = ids is None or (type(api_id) is int and api_id in ids)
        if api_id is not None and not schemas.is_template(api_id) and not is_known:
            self.error(node.alias, "config.api_id", f"there is no API {api_id!r:.80}")
        if config.get("timeout") is None and node.options.get("timeout") is None:
            self.warn(node.alias, "config.timeout", "no timeout: 30 seconds are taken")
        if max_retries and str(config.get("method") or "GET").upper() in ("POST", "PATCH"):
            self.warn(node.alias, "retry_policy", "repeats a call that may not be idempotent")

    # ---------------------------------------------------------------- connections

    def _connection(self, connection: Connection) -> None:
        source = self.definition.node(connection.from_id)
        target = self.definition.node(connection.to_id)
        if source is None or target is None:
            return  # the shape names it
        kind = connection.connection_type
        place = f"connections[{connection.id}]"
        if _SOURCES.get(kind, source.node_type) != source.node_type:
            self.error(source.alias, f"{place}.connection_type", f"{kind} leads only from a {_SOURCES[kind]}")
        if source.node_type == NodeType.END:
            self.error(source.alias, place, "nothing leads on from an END")
        if target.node_type == NodeType.START:
            self.error(target.alias, place, "nothing leads to START")
        is_default = connection.config.get("default") is True
        has_condition = connection.condition not in (None, "", {}, [])
        if kind is ConnectionType.CONDITIONAL and not has_condition and not is_default:
            self.error(
                source.alias, f"{place}.condition", "a CONDITIONAL connection needs a condition, or default"
            )
        if kind is not ConnectionType.CONDITIONAL and has_condition:
            self.error(
                source.alias, f"{place}.condition", f"only a CONDITIONAL connection has one, no {kind}"
            )
        if connection.config.get("on", "success") not in ("success", "failure", "always"):
            self.error(source.alias, f"{place}.config.on", "must be success, failure or always")
        delay = connection.config.get("delay")
        if (
            isinstance(delay, bool)
            or not isinstance(delay, int | float | None)
            or not 0 <= (delay or 0) < 1e9
        ):
            self.error(source.alias, f"{place}.config.delay", "must be a number of seconds")

    def _leaving(self, shape: regions.Shape) -> None:
        outgoing = shape.outgoing()
        for index, node in enumerate(shape.nodes):
            kinds = Counter(link.connection.connection_type for link in outgoing[index])
            if node.node_type == NodeType.PARALLEL:
                branches = {
                    link.target for link in outgoing[index] if link.connection.connection_type == "PARALLEL"
                }
                if len(branches) < 2:
                    self.error(node.alias, "connections", "a PARALLEL needs two branches or more")
            if node.node_type == NodeType.LOOP and kinds[ConnectionType.LOOP] != 1:
                self.error(node.alias, "connections", "a LOOP needs exactly one LOOP connection")
            sides = (kinds[ConnectionType.CONDITIONAL_TRUE], kinds[ConnectionType.CONDITIONAL_FALSE])
            if node.node_type == NodeType.CONDITION and not all(sides):
                self.warn(node.alias, "connections", "only one side of the CONDITION leads on")
            defaults = [link for link in outgoing[index] if link.connection.config.get("default") is True]
            if len(defaults) > 1:
                self.error(node.alias, "connections", "has two default connections")
            is_inside = bool(shape.region_of[index])
            if not outgoing[index] and not is_inside and node.node_type != NodeType.END:
                self.warn(node.alias, "connections", "leads nowhere and is no END")
            if is_inside and node.node_type == NodeType.END and not node.config.get("error_message"):
                self.warn(node.alias, "connections", "an END inside a branch or a body ends only that")

    # ---------------------------------------------------------------- sub-workflows

    def _sub_workflows(self) -> None:
        for node in self.definition.nodes:
            if node.node_type != NodeType.SUBWORKFLOW:
                continue
            workflow_id = node.config.get("workflow_id")
            if schemas.is_template(workflow_id):
                continue
            if type(workflow_id) is not int:
                self.error(node.alias, "config.workflow_id", "must be the id of a workflow")
                continue
            problem = self._below(workflow_id)
            if problem:
                self.error(node.alias, "config.workflow_id", problem)

    def _below(self, workflow_id: int) -> str | None:
        """Return what is wrong with a sub-workflow and those below it."""
        pending: list[tuple[int, ...]] = [(workflow_id,)]
        visited: set[tuple[int, int]] = set()
        while pending:
            path = pending.pop()
            if path[-1] == self.surroundings.workflow_id or path[-1] in path[:-1]:
                return f"recursion: workflow {' > '.join(map(str, path))}"
            if len(path) >= DEEPEST_SUB_WORKFLOWS:
                return f"sub-workflows are deeper than {DEEPEST_SUB_WORKFLOWS}: {' > '.join(map(str, path))}"
            if (path[-1], len(path)) in visited:
                continue
            visited.add((path[-1], len(path)))
            definition = self.surroundings.workflows(path[-1])
            if definition is None:
                return f"workflow {path[-1]} is not published"
            inner = (
                node.config.get("workflow_id")
                for node in definition.nodes
                if node.node_type == NodeType.SUBWORKFLOW
            )
            pending += [(*path, each) for each in inner if type(each) is int]
        return None


def _own_misfits(node: Node) -> list[tuple[str, str]]:
    """Return what the planner would refuse of a config, as far as it is no template."""
    plain = {name: value for name, value in node.config.items() if not schemas.is_template(value)}
    checks: list[Callable[[], object]] = []
    match node.node_type:
        case NodeType.DELAY if len(plain) == len(node.config):
            checks.append(lambda: delays.delay_of(plain))
        case NodeType.PARALLEL:
            checks.append(lambda: containers.policy_of(plain))
            checks.append(lambda: containers.limit_of(plain, containers.DEFAULT_CONCURRENT))
            checks.append(lambda: containers.timeout_s(plain, {}))
        case NodeType.LOOP:
            checks.append(lambda: containers.passes_of(plain))
            checks.append(lambda: containers.on_max_of(plain))
            checks.append(lambda: containers.limit_of(plain, 1))
            checks.append(lambda: containers.timeout_s(plain, {}))
        case NodeType.MERGE:
            checks.append(lambda: _strategy(plain))
    problems = []
    for check in checks:
        try:
            check()
        except UsageError as error:
            word = str(error).partition(" ")[0]
            problems.append((f"config.{word}" if word in node.config else "config", str(error)))
    return problems


def _strategy(config: Mapping[str, Json]) -> None:
    value = config.get("strategy")
    if value is not None and str(value).upper() not in ("ALL", "FIRST", "MAJORITY"):
        raise UsageError(f"strategy must be FIRST, ALL or MAJORITY, not {value!r:.80}")


def _positive(value: Json, report: Callable[[str], None]) -> None:
    if value is None or schemas.is_template(value):
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        report("must be a number of seconds above 0")
