"""Authoring: workflows, their nodes and connections, from the first draft to a published version."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flowledger.domain.workflows import completing, definition, exchange, validation
from flowledger.domain.workflows.definition import (
    NODE_OPTIONS,
    Definition,
    Document,
    WorkflowStatus,
    alias_from,
)
from flowledger.domain.workflows.validation import Fault, Surroundings
from flowledger.errors import InvalidWorkflowError, RecordConflictError, RecordNotFoundError, UsageError
from flowledger.ports import Clock
from flowledger.services.workflows.registry import checked_api
from flowledger.workflow_ports import StoredWorkflow, WorkflowStore, WorkflowVersion

HEAD = ("name", "description", "version", "config", "tags")
NODE_FIELDS = ("name", "node_type", "config", "position_x", "position_y", "description", "alias")
CONNECTION_FIELDS = ("from_node_id", "to_node_id", "connection_type", "condition", "config")
GROUP_FIELDS = ("name", "description", "sync_policy", "timeout_seconds", "steps", "key")
MOST_NODES = 5_000
Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Authoring:
    """Changes drafts, checks and publishes them.

    ``node_types`` are the JSON Schemas of configs by type; ``channels`` the names that NOTIFY may use.
    """

    store: WorkflowStore
    clock: Clock
    node_types: Callable[[], Mapping[str, Mapping[str, Any]]] = dict
    channels: Sequence[str] | None = None
    _parts: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "nodes": (*NODE_FIELDS, *NODE_OPTIONS),
            "connections": CONNECTION_FIELDS,
            "groups": GROUP_FIELDS,
        },
        repr=False,
    )

    # ---------------------------------------------------------------- workflows

    def create(self, fields: Fields) -> StoredWorkflow:
        """Store a new draft.

        :raises UsageError: with the field that is wrong.
        """
        document = {**_known(fields, HEAD, "the workflow"), "nodes": [], "connections": [], "groups": []}
        definition.read(document)
        return self.store.create_workflow(document, self.clock())

    def get(self, workflow_id: int) -> StoredWorkflow:
        """Return one workflow.

        :raises RecordNotFoundError: when there is none.
        """
        stored = self.store.workflow(workflow_id)
        if stored is None:
            raise _missing_workflow(workflow_id)
        return stored

    def update(self, workflow_id: int, fields: Fields, *, revision: int | None = None) -> StoredWorkflow:
        """Change name, description, version, config or tags.

        :raises RecordConflictError: when ``revision`` is given and the draft has another one by now.
        """
        changes = _known(fields, HEAD, "the workflow")
        return self.change(workflow_id, lambda document: {**document, **changes}, revision=revision)

    def delete(self, workflow_id: int) -> None:
        """Delete a workflow; its executions stay in the history."""
        if not self.store.delete_workflow(workflow_id):
            raise _missing_workflow(workflow_id)

    # ---------------------------------------------------------------- nodes, connections, groups

    def add_node(self, workflow_id: int, fields: Fields) -> dict[str, Any]:
        """Add a node and return it with its id and alias."""
        return self._add(workflow_id, "nodes", fields)

    def update_node(self, workflow_id: int, node_id: int, fields: Fields) -> dict[str, Any]:
        """Change a node; its alias stays when it is renamed."""
        return self._update(workflow_id, "nodes", node_id, fields)

    def delete_node(self, workflow_id: int, node_id: int) -> None:
        """Delete a node with the connections that lead to and from it."""

        def without(document: dict[str, Any]) -> dict[str, Any]:
            connections = [
                each
                for each in document["connections"]
                if node_id not in (each["from_node_id"], each["to_node_id"])
            ]
            groups = [
                {**group, "steps": [step for step in group.get("steps") or () if step != node_id]}
                for group in document.get("groups") or ()
            ]
            return {**_without(document, "nodes", node_id), "connections": connections, "groups": groups}

        self.change(workflow_id, without)

    def add_connection(self, workflow_id: int, fields: Fields) -> dict[str, Any]:
        """Add a connection and return it with its id; a draft's may lead to a node that is still to come."""
        return self._add(workflow_id, "connections", fields)

    def update_connection(self, workflow_id: int, connection_id: int, fields: Fields) -> dict[str, Any]:
        """Change a connection."""
        return self._update(workflow_id, "connections", connection_id, fields)

    def delete_connection(self, workflow_id: int, connection_id: int) -> None:
        """Delete a connection."""
        self.change(workflow_id, lambda document: _without(document, "connections", connection_id))

    def add_group(self, workflow_id: int, fields: Fields) -> dict[str, Any]:
        """Add a parallel group and return it with its id."""
        return self._add(workflow_id, "groups", fields)

    def update_group(self, workflow_id: int, group_id: int, fields: Fields) -> dict[str, Any]:
        """Change a parallel group."""
        return self._update(workflow_id, "groups", group_id, fields)

    def delete_group(self, workflow_id: int, group_id: int) -> None:
        """Delete a parallel group; its steps stay."""
        self.change(workflow_id, lambda document: _without(document, "groups", group_id))

    # ---------------------------------------------------------------- checking, publishing

    def faults(self, workflow_id: int) -> list[Fault]:
        """Return all that keeps a draft from being published, and what is doubtful in it."""
        stored = self.get(workflow_id)
        return validation.faults(definition.read(stored.document), self._surroundings(workflow_id))

    def publish(self, workflow_id: int, by: str) -> WorkflowVersion:
        """Make an immutable version of the draft; the same draft again is the same version.

        :raises InvalidWorkflowError: with every fault, when it cannot be executed.
        """
        stored = self.get(workflow_id)
        faults = validation.faults(definition.read(stored.document), self._surroundings(workflow_id))
        _refuse_faults(faults, stored.document)
        return self._publish(stored, stored.document, by)

    def runnable(self, workflow_id: int, by: str) -> WorkflowVersion:
        """Return the version that an execution takes: the published one, or the draft as it is.

        A draft gets a START and an END where it has none (``domain.workflows.completing``); an API that is
        not registered fails its step, not the order.

        :raises InvalidWorkflowError: with every fault, when the draft cannot be executed;
            RecordConflictError: when the workflow is inactive.
        """
        stored = self.get(workflow_id)
        if stored.status is WorkflowStatus.INACTIVE:
            raise RecordConflictError(f"the workflow {workflow_id} is inactive: publish it again first")
        if stored.status is WorkflowStatus.ACTIVE and stored.published is not None:
            version = self.store.version(workflow_id, stored.published)
            if version is not None:
                return version
        document, _ = completing.completed(stored.document)
        surroundings = replace(self._surroundings(workflow_id), api_ids=None)
        _refuse_faults(validation.faults(definition.read(document), surroundings), document)
        return self._publish(stored, document, by, activates=False)

    def deactivate(self, workflow_id: int) -> StoredWorkflow:
        """Let a workflow be executed no more; what runs goes on."""
        return self.change(workflow_id, lambda document: document, status=WorkflowStatus.INACTIVE)

    # ---------------------------------------------------------------- files

    def export(self, workflow_id: int, number: int | None = None) -> dict[str, Any]:
        """Return a workflow in its exported form: the draft, or one version."""
        if number is None:
            document = self.get(workflow_id).document
        else:
            version = self.store.version(workflow_id, number)
            if version is None:
                raise RecordNotFoundError(f"the workflow {workflow_id} has no version {number}")
            document = version.document
        used = {node["config"].get("api_id") for node in document["nodes"]}
        apis = [{"id": api.id, **api.fields} for api in self.store.apis() if api.id in used]
        return exchange.exported(document, apis)

    def import_form(self, form: Mapping[str, Any], *, name: str | None = None) -> StoredWorkflow:
        """Store an exported workflow as a new draft; its APIs are registered anew where they are missing."""
        document = exchange.imported(form)
        document["name"] = self._free_name(name or document["name"])
        numbers = {api["id"]: self._register(api) for api in exchange.apis_of(form)}
        _renumber_apis(document, numbers)
        return self.store.create_workflow(document, self.clock())

    def check_import(self, form: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an import would do, without doing it: the name, new APIs, faults."""
        document = exchange.imported(form)
        known = {_api_key(api.fields) for api in self.store.apis()}
        new = [api for api in exchange.apis_of(form) if _api_key(api) not in known]
        listed = {api["id"] for api in exchange.apis_of(form)}
        surroundings = replace(self._surroundings(None), api_ids={*listed, *self._api_ids()})
        return {
            "name": self._free_name(document["name"]),
            "nodes": len(document["nodes"]),
            "connections": len(document["connections"]),
            "new_apis": [api.get("name") or api.get("path") or api.get("url") for api in new],
            "faults": validation.faults(definition.read(document), surroundings),
        }

    def apply(self, form: Mapping[str, Any], by: str, *, publish: bool = True) -> tuple[StoredWorkflow, bool]:
        """Make the workflow of this name what a file says, and publish it; say whether anything changed.

        :raises InvalidWorkflowError: with every fault; the draft is stored all the same.
        """
        document = exchange.imported(form)
        numbers = {api["id"]: self._register(api) for api in exchange.apis_of(form)}
        _renumber_apis(document, numbers)
        named = self.store.workflows(name=document["name"], limit=2).workflows
        if len(named) > 1:
            raise RecordConflictError(f"two workflows are named {document['name']!r:.80}: delete one first")
        changed = not named or exchange.digest_of(named[0].document) != exchange.digest_of(document)
        if not named:
            stored = self.store.create_workflow(document, self.clock())
        elif changed:
            stored = self.change(named[0].id, lambda current: exchange.with_numbers_of(current, document))
        else:
            stored = named[0]
        if publish:
            self.publish(stored.id, by)
            stored = self.get(stored.id)
        return stored, changed

    # ---------------------------------------------------------------- the rest

    def _add(self, workflow_id: int, part: str, fields: Fields) -> dict[str, Any]:
        made: dict[str, Any] = {}

        def add(document: dict[str, Any]) -> dict[str, Any]:
            entries = list(document.get(part) or ())
            if len(entries) >= MOST_NODES:
                raise UsageError(f"a workflow has at most {MOST_NODES} {part}")
            entry = {**_known(fields, self._parts[part], part), "id": _next_number(document, part)}
            if part == "nodes":
                entry = _with_alias(entry, entries)
            made.clear()
            made.update(entry)
            return {**document, part: [*entries, entry], "numbers": _numbered(document, part, entry["id"])}

        self.change(workflow_id, add)
        return made

    def _update(self, workflow_id: int, part: str, number: int, fields: Fields) -> dict[str, Any]:
        changes = _known(fields, self._parts[part], part)
        made: dict[str, Any] = {}

        def update(document: dict[str, Any]) -> dict[str, Any]:
            entry = {**_entry(document, part, number), **changes}
            made.clear()
            made.update(entry)
            return {
                **document,
                part: [entry if each["id"] == number else each for each in document[part]],
            }

        self.change(workflow_id, update)
        return made

    def change(
        self,
        workflow_id: int,
        change: Callable[[dict[str, Any]], Mapping[str, Any]],
        *,
        status: WorkflowStatus | None = None,
        revision: int | None = None,
    ) -> StoredWorkflow:
        """Store what ``change`` makes of a draft's document, atomically; what it raises ends it."""

        def apply(stored: StoredWorkflow) -> tuple[Document, WorkflowStatus]:
            if revision is not None and stored.revision != revision:
                raise RecordConflictError(
                    f"the workflow {workflow_id} has revision {stored.revision} by now, not {revision}"
                )
            document = change(dict(stored.document))
            definition.read(document)
            _check_aliases(document)
            return document, status or stored.status

        changed = self.store.change_workflow(workflow_id, apply, self.clock())
        if changed is None:
            raise _missing_workflow(workflow_id)
        return changed

    def _publish(
        self, stored: StoredWorkflow, document: Document, by: str, *, activates: bool = True
    ) -> WorkflowVersion:
        digest = exchange.digest_of(document)
        version = self.store.publish(
            stored.id, stored.revision, document, digest, self.clock(), by, activates=activates
        )
        if version is None:
            raise _missing_workflow(stored.id)
        return version

    def _surroundings(self, workflow_id: int | None) -> Surroundings:
        return Surroundings(
            api_ids=self._api_ids(),
            node_types=self.node_types(),
            channels=self.channels,
            workflows=self._published,
            workflow_id=workflow_id,
        )

    def _api_ids(self) -> set[int]:
        return {api.id for api in self.store.apis()}

    def _published(self, workflow_id: int) -> Definition | None:
        version = self.store.version(workflow_id)
        return None if version is None else definition.read(version.document)

    def _free_name(self, name: str) -> str:
        """Return a name that no workflow has: the copy of a taken one is marked."""
        while self.store.workflows(name=name, limit=1).workflows:
            name = f"{name}(副本)"
        return name

    def _register(self, api: Mapping[str, Any]) -> int:
        """Return the number of an API here: the one that is the same, or a new one."""
        for known in self.store.apis():
            if _api_key(known.fields) == _api_key(api):
                return known.id
        fields = {name: value for name, value in api.items() if name != "id"}
        # As the registry takes it: a file brings no secrets in plain words either.
        stored = self.store.save_api(None, checked_api(fields), self.clock())
        assert stored is not None
        return stored.id


def _api_key(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(fields.get(name) for name in ("system", "method", "path", "url", "version"))


def _renumber_apis(document: dict[str, Any], numbers: Mapping[Any, int]) -> None:
    for node in document["nodes"]:
        api_id = node["config"].get("api_id")
        if api_id in numbers:
            node["config"] = {**node["config"], "api_id": numbers[api_id]}


def _known(fields: Fields, names: Sequence[str], place: str) -> dict[str, Any]:
    if unknown := [name for name in fields if name not in names]:
        raise UsageError(f"{place}: unknown field {unknown[0]!r:.80}; there are {', '.join(names)}")
    return {name: value for name, value in fields.items() if value is not None}


def _next_number(document: Document, part: str) -> int:
    """Return a number that no entry has had: one that was deleted may be named in old records."""
    last = (document.get("numbers") or {}).get(part, 0)
    return max([last, *(each["id"] for each in document.get(part) or ())], default=0) + 1


def _numbered(document: Document, part: str, number: int) -> dict[str, int]:
    return {**(document.get("numbers") or {}), part: number}


def _with_alias(entry: dict[str, Any], entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    taken = [each["alias"] for each in entries]
    return {"config": {}, **entry, "alias": entry.get("alias") or alias_from(str(entry.get("name")), taken)}


def _check_aliases(document: Document) -> None:
    aliases = [node["alias"] for node in document.get("nodes") or ()]
    if doubled := sorted({alias for alias in aliases if aliases.count(alias) > 1}):
        raise RecordConflictError(f"two nodes would have the alias {doubled[0]!r:.80}: choose another one")


def _entry(document: Document, part: str, number: int) -> Mapping[str, Any]:
    for each in document.get(part) or ():
        if each["id"] == number:
            entry: Mapping[str, Any] = each
            return entry
    raise RecordNotFoundError(f"the workflow has no {part.removesuffix('s')} {number}")


def _without(document: dict[str, Any], part: str, number: int) -> dict[str, Any]:
    _entry(document, part, number)
    return {**document, part: [each for each in document[part] if each["id"] != number]}


def _missing_workflow(workflow_id: int) -> RecordNotFoundError:
    return RecordNotFoundError(f"there is no workflow {workflow_id}")


def _refuse_faults(faults: Sequence[Fault], document: Document) -> None:
    errors = [fault for fault in faults if not fault.is_warning]
    if errors:
        lines = [f"{fault.node or 'workflow'}: {fault.field}: {fault.message}" for fault in errors]
        raise InvalidWorkflowError(
            f"the workflow {str(document.get('name'))!r:.80} has {len(errors)} faults:\n"
            + "\n".join(f"  - {line}" for line in lines),
            lines,
        )
