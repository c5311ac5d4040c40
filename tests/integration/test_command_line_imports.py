"""What starting the command line costs."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from workplace import DATASET, PROJECT, bare_environment, legacy_server, settings_of

import flowledger_simulator as simulator
from flowledger.cli.main import COMMANDS

HEAVY = ("alembic", "fastapi", "orjson", "prefect", "pydantic", "requests", "rich", "sqlalchemy", "uvicorn")
PROGRAM = """
import json, sys
{0}
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
HELP = """
from flowledger.cli.main import main
try:
    main(["--help"])
except SystemExit:
    pass
"""

DIRECTLY = """
import json, sys
from flowledger.cli.main import main
try:
    main(["run", "--direct", "--json", "--after", "2026-11-18T00:00:00", "--before", "2026-11-21T23:59:59"])
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import flowledger.cli.main", set()),
        (HELP, set()),
        ("import flowledger.cli.simulate", {"uvicorn"}),
        ("import flowledger.cli.run", {"orjson", "pydantic", "requests", "rich"}),
    ],
)
def test_only_what_a_command_needs_is_imported(statement: str, allowed: set[str]) -> None:
    """The group and its list of commands need none of the libraries; ``--direct`` runs never need Prefect."""
    assert imported(statement) & set(HEAVY) <= allowed


def imported(statement: str) -> set[str]:
    """Return the packages that a statement imports in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement)],
        env=bare_environment(),
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


SIMULATING = ("simulate", "simulate-api", "demo")


def test_only_the_simulators_own_commands_import_it() -> None:
    """The group, ``--help`` and each product command do without the package beside the product."""
    product = {place.module for name, place in COMMANDS.items() if name not in SIMULATING}
    modules = ", ".join(sorted(product))
    assert "flowledger_simulator" not in imported(f"import {modules}")
    assert "flowledger_simulator" not in imported(HELP)
    assert "flowledger_simulator" in imported("import flowledger.cli.simulate")


def test_both_packages_are_installed_with_their_types() -> None:
    """Each package in src has ``py.typed``, and the build takes it along."""
    data = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"][
        "package-data"
    ]
    packages = {path.parent.name for path in (PROJECT / "src").glob("*/__init__.py")}
    assert packages == {"flowledger", "flowledger_simulator"}
    for package in packages:
        assert (PROJECT / "src" / package / "py.typed").is_file()
        assert "py.typed" in data[package]


@pytest.mark.fault(33)
def test_direct_runs_need_no_prefect(tmp_path: Path) -> None:
    """From settings to reports, Prefect is never imported."""
    with simulator.serve(simulator.load_dataset(DATASET), version="1.9.1", options=legacy_server()) as server:
        done = subprocess.run(
            [sys.executable, "-c", DIRECTLY],
            cwd=tmp_path,
            env=bare_environment() | settings_of(server),
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    result, modules = map(json.loads, done.stdout.splitlines())
    assert result["logs_count"] == 40
    assert "sqlalchemy" in modules
    assert not {"prefect", "fastapi"} & set(modules)
