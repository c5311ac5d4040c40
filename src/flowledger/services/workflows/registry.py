"""The registries behind workflows: APIs that nodes call by number, and types of nodes that plugins bring."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema

from flowledger.domain.workflows import schemas, templates
from flowledger.errors import ExpressionError, RecordConflictError, RecordNotFoundError, UsageError
from flowledger.ports import Clock
from flowledger.workflow_ports import StoredApi, StoredNodeType, WorkflowStore

API_FIELDS = (
    *("name", "description", "system", "base_url", "method", "path", "version", "enabled"),
    *("request_schema", "response_schema", "headers", "parameters", "timeout", "auth"),
)
AUTH_FIELDS: Mapping[str, Sequence[str]] = {"none": (), "bearer": ("token",), "header": ("value",)}
"""Ways to prove who calls, and which fields of ``auth`` are secrets then."""
SECRET_HEADERS = frozenset(("authorization", "proxy-authorization", "cookie", "x-api-key"))
TYPE_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
MOST_APIS = 10_000
Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Registry:
    """Stores APIs and types of nodes.

    ``handlers`` are the names of handlers that are installed, ``own_types`` those that Flowledger brings.
    """

    store: WorkflowStore
    clock: Clock
    handlers: Callable[[], Collection[str]] = tuple
    own_types: Callable[[], Collection[str]] = tuple

    def api(self, api_id: int) -> StoredApi:
        """Return an API.

        :raises RecordNotFoundError: when there is none.
        """
        api = self.store.api(api_id)
        if api is None:
            raise _missing_api(api_id)
        return api

    def save_api(self, api_id: int | None, fields: Fields) -> StoredApi:
        """Store a new API (None), or replace one.

        :raises UsageError: with the field that is wrong; RecordNotFoundError: without one of that number.
        """
        checked = checked_api(fields)
        if api_id is None and len(self.store.apis()) >= MOST_APIS:
            raise UsageError(f"there are {MOST_APIS:,} APIs already: delete some first")
        saved = self.store.save_api(api_id, checked, self.clock())
        if saved is None:
            raise _missing_api(api_id)
        return saved

    def delete_api(self, api_id: int) -> None:
        """Delete an API; nodes that call it fail from then on."""
        if not self.store.delete_api(api_id):
            raise _missing_api(api_id)

    def save_node_type(self, fields: Fields) -> StoredNodeType:
        """Make a type of nodes known, or replace it: a name for an installed handler, never code.

        :raises UsageError: when a field is wrong, or no such handler is installed; RecordConflictError: when
            Flowledger has a type of that name itself.
        """
        name, handler = str(fields.get("type_name", "")), str(fields.get("execution_handler", ""))
        if not TYPE_NAME.fullmatch(name):
            raise UsageError("type_name must be of A to Z, 0 to 9 and _, at most 64, and begin with a letter")
        if name in self.own_types():
            raise RecordConflictError(f"the type {name} is Flowledger's own: choose another name")
        installed = self.handlers()
        if handler not in installed:
            raise UsageError(
                f"no handler {handler!r:.80} is installed here; there are {', '.join(sorted(installed))}"
            )
        made = StoredNodeType(
            type_name=name,
            description=str(fields.get("description") or ""),
            config_schema=_checked_schema(fields.get("config_schema") or {}, "config_schema"),
            handler=handler,
            created_at=self.clock(),
        )
        self.store.save_node_type(made)
        return made


def checked_api(fields: Fields) -> dict[str, Any]:
    """Return the fields of an API as they are stored.

    :raises UsageError: with the field that is wrong.
    """
    if unknown := [name for name in fields if name not in API_FIELDS]:
        raise UsageError(f"api: unknown field {unknown[0]!r:.80}; there are {', '.join(API_FIELDS)}")
    checked = {name: value for name, value in fields.items() if value is not None}
    if not str(checked.get("path") or checked.get("base_url") or "").strip():
        raise UsageError("path: an API needs a path (below system or base_url), or a whole address")
    for name in ("request_schema", "response_schema"):
        if name in checked:
            checked[name] = _checked_schema(checked[name], name)
    _check_auth(checked.get("auth") or {})
    for name, value in (checked.get("headers") or {}).items():
        if name.lower() in SECRET_HEADERS:
            _check_reference(value, f"headers.{name}")
    for name, value in checked.items():
        try:
            templates.compile_template(value)
        except ExpressionError as error:
            raise UsageError(f"{name}: {error}") from None
    return checked


def _check_auth(auth: Mapping[str, Any]) -> None:
    kind = str(auth.get("type") or "none").lower()
    if kind not in AUTH_FIELDS:
        raise UsageError(f"auth.type: {kind[:40]!r} is unknown: one of {', '.join(AUTH_FIELDS)}")
    for name in AUTH_FIELDS[kind]:
        _check_reference(auth.get(name), f"auth.{name}")


def _check_reference(value: Any, place: str) -> None:
    """Refuse a secret that is not referred to by its name: readers of the registry would see it."""
    if not (isinstance(value, str) and schemas.is_template(value) and "secrets" in value):
        raise UsageError(
            f"{place} must refer to a secret: write {{{{secrets.NAME}}}} and set NAME in WORKFLOW_SECRETS"
        )


def _checked_schema(schema: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(schema, Mapping):
        raise UsageError(f"{place} must be an object: a JSON Schema, or a kind for each field")
    whole = schemas.json_schema(schema)
    try:
        jsonschema.Draft202012Validator.check_schema(dict(whole))
    except jsonschema.SchemaError as error:
        raise UsageError(f"{place} is no JSON Schema: {error.message:.300}") from None
    return whole


def _missing_api(api_id: int | None) -> RecordNotFoundError:
    return RecordNotFoundError(f"there is no API {api_id}")
