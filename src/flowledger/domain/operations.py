"""The audit trail: acts on apps, runs, reports and settings, and what changed in the settings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from flowledger.domain.runs import AppKey, Json


@dataclass(frozen=True, slots=True)
class Operation:
    """An act by a person or a program; ``data`` is any JSON object without secrets."""

    operation_id: str
    operation_type: str
    at: datetime
    user: str
    app: AppKey | None = None
    subject: str | None = None
    data: Mapping[str, Json] = field(default_factory=dict)


HASH = 16
"""Hexadecimal digits of SHA-256: enough to see a change, too few to keep a value."""


def fingerprints(values: Mapping[str, Json]) -> dict[str, str]:
    """Return the hash of each value, by name; secrets have to be masked before."""
    return {
        name: sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:HASH]
        for name, value in values.items()
    }


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, list[str]]:
    """Name what was added, changed and removed; empty where nothing was."""
    named = {
        "added": sorted(now.keys() - before.keys()),
        "changed": sorted(name for name in now.keys() & before.keys() if now[name] != before[name]),
        "removed": sorted(before.keys() - now.keys()),
    }
    return {word: names for word, names in named.items() if names}
