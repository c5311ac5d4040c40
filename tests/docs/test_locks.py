"""The locks pin everything, with hashes and without an address."""

import re
import tomllib
from pathlib import Path

import pytest
from documents import ROOT

LOCK = ROOT / "requirements.lock"
EXTRAS_LOCK = ROOT / "requirements-extras.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"
BENCH_LOCK = ROOT / "requirements-bench.lock"
AUDIT_LOCK = ROOT / "requirements-audit.lock"
PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)( ; [^\\]+)? \\$")


def pins(lock: Path) -> dict[str, str]:
    """Give name and version of each release in a lock."""
    return {found[1]: found[2] for line in lock.read_text("utf-8").splitlines() if (found := PIN.match(line))}


def wanted(requirements: list[str]) -> set[str]:
    """Give the normalised names of requirements."""
    return {re.split(r"[\[<>=!~; ]", each)[0].lower().replace("_", "-") for each in requirements}


@pytest.mark.parametrize(
    "lock", [LOCK, EXTRAS_LOCK, DEV_LOCK, BENCH_LOCK, AUDIT_LOCK], ids=lambda path: path.name
)
def test_a_lock_holds_only_pins_hashes_and_reasons(lock: Path) -> None:
    """No index address, file address or option can slip into a lock."""
    other = [
        line
        for line in lock.read_text("utf-8").splitlines()
        if not PIN.match(line) and not re.fullmatch(r" {4}(--hash=sha256:[0-9a-f]{64}( \\)?|# .*)", line)
    ]
    assert other == []
    assert "://" not in lock.read_text("utf-8")


def test_everything_the_project_asks_for_is_locked() -> None:
    """Each direct dependency is in the lock for it, and no package is in two."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups, extras = project["dependency-groups"], project["project"]["optional-dependencies"]
    runtime, optional, development = pins(LOCK), pins(EXTRAS_LOCK), pins(DEV_LOCK)
    assert wanted(project["project"]["dependencies"]) | wanted(groups["install"]) <= runtime.keys()
    assert wanted([each for extra in extras.values() for each in extra]) <= runtime.keys() | optional.keys()
    assert wanted(groups["dev"]) <= runtime.keys() | optional.keys() | development.keys()
    assert len({*runtime, *optional, *development}) == len(runtime) + len(optional) + len(development)


def test_prefect_and_fastapi_are_a_pair_that_works() -> None:
    """FastAPI 0.151 and newer break Prefect's server."""
    versions = pins(LOCK)
    assert versions["prefect"].startswith("3.")
    assert tuple(map(int, versions["fastapi"].split("."))) < (0, 151)
