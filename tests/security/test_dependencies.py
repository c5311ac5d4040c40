"""What is installed is what was locked; who cannot ask about vulnerabilities says so."""

import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.metadata import PathDistribution, distributions
from pathlib import Path
from types import ModuleType

import pytest
from workplace import PROJECT

LOCK = f"""\
plain==1.0 \\
    --hash=sha256:{"0" * 64}
    # via flowledger (pyproject.toml)
elsewhere==2.0 ; sys_platform == 'nowhere' \\
    --hash=sha256:{"1" * 64}
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that scripts/check calls."""
    path = PROJECT / "scripts" / "dependencies.py"
    spec = importlib.util.spec_from_file_location("dependencies_script", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def install(folder: Path, name: str, version: str = "1.0", licence: str = "License-Expression: MIT") -> Path:
    """Pretend that a release is installed there."""
    path = folder / f"{name}-{version}.dist-info"
    path.mkdir(parents=True)
    (path / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{licence}\n")
    return path


def told(script: ModuleType, folder: Path, lock: str = LOCK) -> list[str]:
    """Give the problems of what is installed in a folder."""
    installed = [PathDistribution(path) for path in sorted(folder.glob("*.dist-info"))]
    return list(script.problems(script.pins_of(lock), installed))


def test_what_is_installed_here_is_what_was_locked(script: ModuleType) -> None:
    """Names, versions, hashes, origins and licences."""
    pins = {
        name: pin for lock in script.LOCKS for name, pin in script.pins_of(lock.read_text("utf-8")).items()
    }
    assert len(pins) > 100
    assert list(script.problems(pins, distributions())) == []


def test_what_is_as_locked_is_fine(script: ModuleType, tmp_path: Path) -> None:
    """What another platform needs may be missing."""
    install(tmp_path, "Plain")
    assert told(script, tmp_path) == []


def test_each_difference_is_found(script: ModuleType, tmp_path: Path) -> None:
    """A stranger, another version, one that is missing, one that came by another way, one without hash."""
    install(tmp_path / "1", "stranger")
    assert told(script, tmp_path / "1") == [
        "stranger 1.0 is installed and in no lock",
        "plain 1.0 is locked and not installed",
    ]
    install(tmp_path / "2", "plain", "1.1")
    assert told(script, tmp_path / "2") == ["plain 1.1 is installed, locked is 1.0"]
    by_hand = install(tmp_path / "3", "plain")
    (by_hand / "direct_url.json").write_text('{"url": "file:///tmp/plain.whl"}', "utf-8")
    assert told(script, tmp_path / "3") == [
        "plain was not installed from an index, so its hash was not checked"
    ]
    install(tmp_path / "4", "plain")
    assert told(script, tmp_path / "4", "plain==1.0\n") == ["plain 1.0 is locked without a hash"]


@pytest.mark.parametrize(
    ("said", "strange"),
    [
        ("License-Expression: MIT AND (Apache-2.0 OR BSD-3-Clause)", ""),
        ("Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: MIT License", ""),
        ("License: BSD", ""),
        ("License-Expression: AGPL-3.0-only", "AGPL-3.0-only"),
        ("License-Expression: MIT OR GPL-3.0-only", "GPL-3.0-only"),
        ("Classifier: License :: Other/Proprietary License", "Other/Proprietary License"),
        ("Summary: x", "does not say"),
    ],
)
def test_a_licence_that_nobody_has_looked_at_is_found(
    script: ModuleType, tmp_path: Path, said: str, strange: str
) -> None:
    """In an expression, in classifiers, in a field; and so is none."""
    install(tmp_path, "plain", licence=said)
    found = told(script, tmp_path)
    assert bool(found) == bool(strange)
    assert all(strange in line for line in found)


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("exit 0", 0, "no vulnerability is known"),
        ('while [ "$1" != --output ]; do shift; done; echo made-up-1 > "$2"; exit 1', 1, "made-up-1"),
        ("echo no network >&2; exit 1", 2, "NOTHING was checked"),
        ('case "$*" in *extras*) exit 1 ;; esac; exit 0', 2, "NOTHING was checked"),
    ],
    ids=["none is known", "one is known", "nobody answers", "half an answer"],
)
def test_an_audit_never_passes_without_an_answer(
    tmp_path: Path, program: str, status: int, words: str
) -> None:
    """What it found and what it could not find out are told apart, by the exit status too."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/audit", *(path.name for path in PROJECT.glob("requirements*.lock"))):
        shutil.copy(PROJECT / name, tmp_path / name)
    tools = tmp_path / ".venv-audit/bin"
    tools.mkdir(parents=True)
    shutil.copy(PROJECT / "requirements-audit.lock", tmp_path / ".venv-audit/.made-from")
    (tools / "pip-audit").write_text(f"#!/bin/bash\n{program}\n", "utf-8")
    (tools / "pip-audit").chmod(0o755)
    done = subprocess.run(
        [tmp_path / "scripts/audit"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
    )
    assert (done.returncode, words in done.stdout + done.stderr) == (status, True), done.stderr
