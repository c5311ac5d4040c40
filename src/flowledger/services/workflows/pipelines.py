"""Pipelines: the same workflows in other words, where a node is a step with conditions, groups, approvals.

Changes are the draft's; executions that run keep their version.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flowledger.domain.workflows import conditions, definition, expressions, regions, retrying
from flowledger.domain.workflows.definition import Document, NodeType
from flowledger.errors import ExpressionError, RecordConflictError, RecordNotFoundError, UsageError
from flowledger.services.workflows.authoring import GROUP_FIELDS, Authoring, Fields
from flowledger.workflow_ports import StoredWorkflow, WorkflowStore

APPROVAL_FIELDS = (
    *("approvers", "required_approvals", "timeout_hours", "auto_approve_on_timeout"),
    *("message", "reject_policy", "forbid_self_approval"),
)
NOTIFICATION_FIELDS = (
    *("on_start", "on_success", "on_failure", "on_approval_required"),
    *("channels", "recipients", "message_template"),
)
_BATCH = 200


class Grouped(NamedTuple):
    """A parallel group and the workflow that it belongs to."""

    workflow: StoredWorkflow
    group: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pipelines:
    """Changes steps and groups of drafts."""

    store: WorkflowStore
    authoring: Authoring

    # ---------------------------------------------------------------- steps

    def step(self, workflow_id: int, step_id: int) -> Mapping[str, Any]:
        """Return a step as its node stands in the draft.

        :raises RecordNotFoundError: when there is no such workflow or step.
        """
        return _node_in(self.authoring.get(workflow_id).document, step_id)

    def config_of(self, workflow_id: int, step_id: int) -> dict[str, Any]:
        """Return what ``configure`` sets of a step."""
        document = self.authoring.get(workflow_id).document
        node = _node_in(document, step_id)
        group = group_of(document, step_id)
        return {
            "step_id": step_id,
            "condition": node.get("conditions"),
            "parallel_group_id": None if group is None else group_key(group),
            "approval_config": {"required": needs_approval(node), **approval_of(node)},
            "retry_policy": node.get("retry_policy") or {},
            "notification_config": node.get("notification_config") or {},
        }

    def configure(self, workflow_id: int, step_id: int, wanted: Fields) -> None:
        """Set condition, parallel group, approval, retry policy and notifications of a step, those given.

        :raises UsageError: with the field that is wrong; RecordNotFoundError: without such a step or group.
        """

        def change(document: dict[str, Any]) -> dict[str, Any]:
            node = {**_node_in(document, step_id)}
            if "condition" in wanted:
                conditions.condition_of(wanted["condition"])
                node["conditions"] = wanted["condition"] or None
            if "approval_config" in wanted:
                _set_approval(node, wanted["approval_config"])
            if "retry_policy" in wanted:
                node["retry_policy"] = wanted["retry_policy"] or None
            if "notification_config" in wanted:
                node["notification_config"] = _notifications(wanted["notification_config"])
            changed = _with_node(document, node)
            if "parallel_group_id" in wanted:
                changed = _moved(changed, step_id, wanted["parallel_group_id"])
            read = definition.read(changed).node(step_id)
            assert read is not None
            retrying.policy_of(read, {})
            return changed

        self.authoring.change(workflow_id, change)

    # ---------------------------------------------------------------- parallel groups

    def groups(
        self, workflow_id: int | None = None, *, reaches: Callable[[int], bool] = lambda _: True
    ) -> Iterator[Grouped]:
        """Yield the groups of one workflow, or of all that are within reach."""
        for stored in self._workflows(workflow_id):
            if reaches(stored.id):
                for group in stored.document.get("groups") or ():
                    yield Grouped(stored, group)

    def group(
        self,
        group_id: str,
        workflow_id: int | None = None,
        *,
        reaches: Callable[[int], bool] = lambda _: True,
    ) -> Grouped:
        """Return the group of an id, which is unique in its workflow.

        :raises RecordNotFoundError: when there is none; RecordConflictError: when several workflows have one
            of that id, and none of them is named.
        """
        found = [
            each
            for each in self.groups(workflow_id, reaches=reaches)
            if group_id in (group_key(each.group), str(each.group["id"]))
        ]
        if not found:
            raise RecordNotFoundError(f"there is no parallel group {group_id:.80}")
        if len({each.workflow.id for each in found}) > 1:
            raise RecordConflictError(
                f"several pipelines have a parallel group {group_id:.80}: name one with ?pipeline="
            )
        return next((each for each in found if group_key(each.group) == group_id), found[0])

    def add_group(self, workflow_id: int, fields: Fields) -> Grouped:
        """Add a group; its ``key`` is the id that people give it, else its number is."""
        made: dict[str, Any] = {}

        def add(document: dict[str, Any]) -> dict[str, Any]:
            groups = list(document.get("groups") or ())
            key = fields.get("key")
            if key is not None and any(key in (group_key(each), str(each["id"])) for each in groups):
                raise RecordConflictError(f"the pipeline {workflow_id} has a parallel group {key:.80}")
            numbers = dict(document.get("numbers") or {})
            number = max(numbers.get("groups", 0), *(each["id"] for each in groups), 0) + 1
            group = {"id": number, **{name: fields[name] for name in GROUP_FIELDS if name in fields}}
            made.update(group)
            changed = {**document, "groups": [*groups, group], "numbers": {**numbers, "groups": number}}
            _check_group(changed, group)
            return changed

        return Grouped(self.authoring.change(workflow_id, add), made)

    def change_group(self, found: Grouped, fields: Fields) -> Grouped:
        """Change what is given of a group."""
        number = found.group["id"]
        made: dict[str, Any] = {}

        def change(document: dict[str, Any]) -> dict[str, Any]:
            groups = list(document.get("groups") or ())
            place = next((at for at, each in enumerate(groups) if each["id"] == number), None)
            if place is None:
                raise RecordNotFoundError(f"there is no parallel group {group_key(found.group):.80}")
            groups[place] = {**groups[place], **fields}
            made.update(groups[place])
            changed = {**document, "groups": groups}
            _check_group(changed, groups[place])
            return changed

        return Grouped(self.authoring.change(found.workflow.id, change), made)

    def delete_group(self, found: Grouped) -> None:
        """Delete a group; its steps stay."""
        self.authoring.delete_group(found.workflow.id, found.group["id"])

    def _workflows(self, workflow_id: int | None) -> Iterator[StoredWorkflow]:
        if workflow_id is not None:
            yield self.authoring.get(workflow_id)
            return
        after: int | None = None
        while True:
            page = self.store.workflows(after=after, limit=_BATCH)
            yield from page.workflows
            after = page.following
            if after is None:
                return


# -------------------------------------------------------------------- conditions


def evaluated(condition: Any, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return whether a step with this condition would be executed in a context, and why.

    An expression without a value is no error of the caller's: ``error`` has it, and the step is not executed.
    """
    text = _shown(condition)
    try:
        parsed = conditions.condition_of(condition)
        result = parsed.evaluate(expressions.MappingScope(_Missing(context)))
    except ExpressionError as error:
        return {
            "result": False,
            "error": str(error),
            "should_execute": False,
            "reason": "the condition has no value",
            "evaluated_expression": text,
        }
    reason = "no condition" if not condition else f"the condition is {'true' if result else 'false'}"
    return {
        "result": result,
        "error": None,
        "should_execute": result,
        "reason": reason,
        "evaluated_expression": text,
    }


class _Missing(dict[str, Any]):
    """A context in which a path that leads nowhere is null, as in an execution."""

    def __missing__(self, key: str) -> None:
        return None


def _shown(condition: Any) -> str:
    if isinstance(condition, str):
        return condition
    if isinstance(condition, Mapping) and "field" not in condition:
        return str(condition.get("expression") or condition.get("type") or "")
    entries = [condition] if isinstance(condition, Mapping) else condition
    if not isinstance(entries, Sequence):
        return "" if condition is None else str(condition)
    words: list[str] = []
    for each in entries:
        if isinstance(each, Mapping):
            joined = f"{each.get('logic') or 'and'} " if words else ""
            words.append(f"{joined}{each.get('field')} {each.get('operator')} {each.get('value')!r}")
    return " ".join(words)


# -------------------------------------------------------------------- what a document has


def group_key(group: Mapping[str, Any]) -> str:
    """Return the id of a group as people know it."""
    return str(group.get("key") or group["id"])


def group_of(document: Document, step_id: int) -> Mapping[str, Any] | None:
    """Return the group that a step is in."""
    for group in document.get("groups") or ():
        if step_id in (group.get("steps") or ()):
            found: Mapping[str, Any] = group
            return found
    return None


def needs_approval(node: Mapping[str, Any]) -> bool:
    """Return whether people have to approve of a step."""
    return node["node_type"] == NodeType.APPROVAL or node.get("approval_required") is True


def approval_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an approval of a step asks for, where it asks for anything."""
    is_approval = node["node_type"] == NodeType.APPROVAL
    config = (node.get("config") if is_approval else node.get("approval_config")) or {}
    return {name: config[name] for name in APPROVAL_FIELDS if name in config}


def _set_approval(node: dict[str, Any], given: Any) -> None:
    """Set the approval of a step; ``required`` is a yes or no, or the number of approvals."""
    config = dict(given or {})
    required = config.pop("required", bool(config.get("approvers")))
    if "approval_message" in config:
        config.setdefault("message", config.pop("approval_message"))
    if unknown := [name for name in config if name not in APPROVAL_FIELDS]:
        raise UsageError(
            f"approval_config: unknown field {unknown[0]!r:.80}; there are {', '.join(APPROVAL_FIELDS)}"
        )
    approvers = config.get("approvers", [])
    if not isinstance(approvers, list) or not all(isinstance(each, str) and each for each in approvers):
        raise UsageError("approval_config.approvers must be a list of names")
    if isinstance(required, int) and not isinstance(required, bool):
        config.setdefault("required_approvals", required)
    if node["node_type"] == NodeType.APPROVAL:
        kept = {name: each for name, each in node["config"].items() if name not in APPROVAL_FIELDS}
        node["config"] = {**kept, **config}
    else:
        node["approval_required"] = bool(required) or None
        node["approval_config"] = config or None


def _notifications(given: Any) -> Mapping[str, Any] | None:
    config = dict(given or {})
    if unknown := [name for name in config if name not in NOTIFICATION_FIELDS]:
        raise UsageError(
            f"notification_config: unknown field {unknown[0]!r:.80}; "
            f"there are {', '.join(NOTIFICATION_FIELDS)}"
        )
    return config or None


def _node_in(document: Document, step_id: int) -> Mapping[str, Any]:
    for node in document.get("nodes") or ():
        if node["id"] == step_id:
            found: Mapping[str, Any] = node
            return found
    raise RecordNotFoundError(f"the pipeline has no step {step_id}")


def _with_node(document: dict[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    nodes = [node if each["id"] == node["id"] else each for each in document["nodes"]]
    return {**document, "nodes": nodes}


def _moved(document: dict[str, Any], step_id: int, wanted: Any) -> dict[str, Any]:
    """Return the document with a step in one group, or in none."""
    groups = [
        {**group, "steps": [each for each in group.get("steps") or () if each != step_id]}
        for group in document.get("groups") or ()
    ]
    if wanted in (None, ""):
        return {**document, "groups": groups}
    place = next((at for at, each in enumerate(groups) if str(wanted) in _names_of(each)), None)
    if place is None:
        raise RecordNotFoundError(f"the pipeline has no parallel group {wanted!s:.80}")
    groups[place] = {**groups[place], "steps": [*groups[place]["steps"], step_id]}
    changed = {**document, "groups": groups}
    _check_group(changed, groups[place])
    return changed


def _names_of(group: Mapping[str, Any]) -> tuple[str, str]:
    return group_key(group), str(group["id"])


def _check_group(document: Document, group: Mapping[str, Any]) -> None:
    """Refuse a group of unknown steps, or of steps that depend on each other.

    :raises UsageError: with the step.
    """
    read = definition.read(document)
    faults: list[str] = []

    def report(alias: str | None, field: str, message: str) -> None:
        if field == f"groups[{group['name']}]":
            faults.append(f"{field}: {alias or ''} {message}".replace(":  ", ": "))

    regions.shape_of(read, report)
    # A draft's group may be filled later.
    if len(group.get("steps") or ()) >= 2 and faults:
        raise UsageError(faults[0])
    known = {node.id for node in read.nodes}
    for step in group.get("steps") or ():
        if step not in known:
            raise UsageError(f"groups[{group['name']}]: there is no step {step}")
