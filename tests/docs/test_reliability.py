"""The table of faults names the tests there are, and every fault has one."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from documents import ROOT

SCRIPT = ROOT / "scripts" / "faults.py"
HEAD = "| # | what goes wrong | what is promised | proved by |\n|---|---|---|---|\n"


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("faults_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_faults_is_up_to_date() -> None:
    """Every row names all tests that carry its number, and none is without."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_wrong_with_the_table_is_said(faults: ModuleType, tmp_path: Path) -> None:
    """A row without test, a marker without row, and a cell of before."""
    tests = ROOT / "tests" / "test_sample.py"
    text = f"{HEAD}| 1 | a fault | a promise | old |\n| 2 | another | a promise | |\n"
    proofs = {1: [(tests, "test_it_holds")], 3: [(tests, "test_of_nothing")]}
    said = " ".join(faults.problems(text, proofs))
    assert "fault 2 has no test" in said
    assert "test_of_nothing in test_sample.py is marked with fault 3" in said
    assert "out of date" in said
    row = "| 1 | a fault | a promise | [sample](../tests/test_sample.py): it holds |"
    assert row in faults.filled(text, proofs)


def test_markers_are_found_without_running_anything(faults: ModuleType, tmp_path: Path) -> None:
    """Each number of a marker counts; other decorators do not."""
    (tmp_path / "test_some.py").write_text(
        "@pytest.mark.fault(4, 2)\n@pytest.mark.slow\ndef test_a(): ...\ndef test_b(): ...\n"
    )
    assert faults.marked(tmp_path) == {
        2: [(tmp_path / "test_some.py", "test_a")],
        4: [(tmp_path / "test_some.py", "test_a")],
    }
