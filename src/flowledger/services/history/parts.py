"""All that a ledger holds besides runs, as JSON objects, and back; one digest for each, whatever holds it."""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter

from flowledger.domain.access import AccessKey
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.messages import Letter
from flowledger.domain.operations import Operation


@dataclass(frozen=True, slots=True)
class Members:
    """Some of the runs that were saved under a filtered scope."""

    scope: Scope
    run_ids: tuple[str, ...]


CERTIFICATES: TypeAdapter[Certificate] = TypeAdapter(Certificate)
MEMBERS: TypeAdapter[Members] = TypeAdapter(Members)
OPERATIONS: TypeAdapter[Operation] = TypeAdapter(Operation)
LETTERS: TypeAdapter[Letter] = TypeAdapter(Letter)
KEYS: TypeAdapter[AccessKey] = TypeAdapter(AccessKey)


def digest(adapter: TypeAdapter[Any], value: Any) -> str:
    """Give the SHA-256 of a value."""
    document = adapter.dump_python(value, mode="json")
    return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
