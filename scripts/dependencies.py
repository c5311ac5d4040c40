#!/usr/bin/env python3
"""Check what is installed against the locks, offline: names, versions, hashes, origins and licences.

Usage: .venv/bin/python scripts/dependencies.py

Ends with status 1 and a line for each problem.  Known vulnerabilities need a database: scripts/audit.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageMetadata, distributions
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = tuple(
    ROOT / name for name in ("requirements.lock", "requirements-extras.lock", "requirements-dev.lock")
)
OURS = "flowledger"
ALLOWED = frozenset(
    (
        *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CNRI-Python", "ISC"),
        *("MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Unlicense"),
    )
)
"""SPDX names of licences under which anything may be used here."""
EXCEPTIONS: Mapping[str, str] = {
    "psycopg": "LGPL-3.0-only",  # an unchanged library, for a ledger on PostgreSQL only
    "psycopg-binary": "LGPL-3.0-only",
    "text-unidecode": "Artistic-1.0-Perl OR GPL-2.0-or-later",  # by the former; Prefect needs it
}
"""Name of a release → the licence that was looked at for it alone."""
_SPDX: Mapping[str, str] = {
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Artistic License": "Artistic-1.0-Perl",
    "GNU General Public License (GPL)": "GPL-2.0-or-later",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
}
"""What older releases call theirs."""
_SAYING_NOTHING = frozenset({"OSI Approved", "DFSG approved"})
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))?(?: \\)?$")
_HASH = "    --hash=sha256:"


@dataclass(slots=True)
class Pin:
    """A release in a lock: whether this machine needs it, and how many hashes it has."""

    name: str
    version: str
    is_needed: bool
    hashes: int = 0


def pins_of(lock: str) -> dict[str, Pin]:
    """Read a lock: its releases by normalised name."""
    pins: dict[str, Pin] = {}
    last: Pin | None = None
    for line in lock.splitlines():
        if match := _PIN.match(line):
            needed = match["marker"] is None or Marker(match["marker"]).evaluate()
            last = Pin(canonicalize_name(match["name"]), match["version"], needed)
            if last.is_needed or last.name not in pins:  # one name may have a release for each Python
                pins[last.name] = last
        elif line.startswith(_HASH) and last:
            last.hashes += 1
    return pins


def problems(pins: Mapping[str, Pin], installed: Iterable[Distribution]) -> Iterator[str]:
    """Return a line for each difference between the locks and what is installed, and for each licence."""
    there = {str(canonicalize_name(each.name)): each for each in installed}
    for name, each in sorted(there.items()):
        if name == OURS:
            continue
        pin = pins.get(name)
        if pin is None:
            yield f"{name} {each.version} is installed and in no lock"
        elif pin.version != each.version:
            yield f"{name} {each.version} is installed, locked is {pin.version}"
        if each.read_text("direct_url.json"):
            yield f"{name} was not installed from an index, so its hash was not checked"
        if problem := licence_problem(name, licences_of(each.metadata)):
            yield problem
    for name, pin in sorted(pins.items()):
        if not pin.hashes:
            yield f"{name} {pin.version} is locked without a hash"
        if pin.is_needed and name not in there:
            yield f"{name} {pin.version} is locked and not installed"


def licences_of(metadata: PackageMetadata) -> frozenset[str]:
    """Return the SPDX names of a release's licence: of its expression, or else of its older fields."""
    if expression := metadata.get_all("License-Expression", []):
        return frozenset(re.split(r"[\s()]+", expression[0])) - {"", "AND", "OR"}
    prefix = "License :: "
    words = [
        each.rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier", [])
        if each.startswith(prefix) and each.rpartition(" :: ")[2] not in _SAYING_NOTHING
    ]
    words = words or [each.strip() for each in metadata.get_all("License", [])]
    return frozenset(_SPDX.get(word, word) for word in words if word)


def licence_problem(name: str, licences: frozenset[str]) -> str:
    """Return what is wrong with the licences of a release; "" for nothing.

    All that are named must be allowed, also where one would do: that is read by a person once.
    """
    if not licences:
        return f"{name} does not say under which licence it is"
    agreed = frozenset(EXCEPTIONS.get(name, "").split()) - {"OR"}
    strange = sorted(licences - ALLOWED - agreed)
    return f"{name} has a licence that nobody has looked at: {', '.join(strange)[:200]}" if strange else ""


def main() -> int:
    """Check, and give the exit status."""
    pins = {name: pin for lock in LOCKS for name, pin in pins_of(lock.read_text("utf-8")).items()}
    differences = list(problems(pins, distributions()))
    for line in differences:
        print(f"dependencies: {line}", file=sys.stderr)
    if not differences:
        print(f"dependencies: {len(pins)} locked, all as locked, with hashes and allowed licences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
