"""What changed in the settings between two looks at them: names and hashes, never a value."""

import json
from collections.abc import Mapping
from hashlib import sha256

from flowledger.domain.runs import Json

HASH = 16
"""Hexadecimal digits of SHA-256: enough to see a change, too few to keep a value."""


def fingerprints(values: Mapping[str, Json]) -> dict[str, str]:
    """Give the hash of each value, by name; secrets have to be masked before."""
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
