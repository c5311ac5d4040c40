"""What the shell scripts take from the program exists."""

import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from documents import ROOT

IMPORT = re.compile(r"from (flowledger[\w.]*) import (\w+)")
TAKEN = [
    (script.name, *found)
    for script in sorted((ROOT / "scripts").iterdir())
    if script.is_file() and script.suffix != ".py"
    for found in IMPORT.findall(script.read_text("utf-8"))
]


@pytest.mark.parametrize(("script", "module", "name"), TAKEN)
def test_what_a_script_imports_is_there(script: str, module: str, name: str) -> None:
    """A script is not seen by the type checker, so what it imports is looked up here."""
    assert hasattr(import_module(module), name), f"{script}: {module} has no {name}"


def test_scripts_were_looked_at() -> None:
    """At least one of them imports something."""
    assert TAKEN


def test_setup_says_that_it_takes_a_while(tmp_path: Path) -> None:
    """Only where it installs: the second time there is nothing to do, and nothing to say."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/setup", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 0\n", "utf-8")
    python.chmod(0o755)
    runs = [
        subprocess.run([tmp_path / "scripts/setup"], capture_output=True, text=True, timeout=60, check=True)
        for _ in range(2)
    ]
    assert [run.stdout for run in runs] == ["", ""]
    assert [run.stderr for run in runs] == ["setup: installing into .venv (about a minute) …\n", ""]


def test_all_tests_can_be_collected_together() -> None:
    """Folders of tests are no packages: two files of one name would be one module."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
