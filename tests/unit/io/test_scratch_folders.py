"""Scratch folders go, also those of processes that were killed, and nobody else's."""

import subprocess
import sys
from pathlib import Path

import pytest

import flowledger
from flowledger.io.scratch_folders import remove_leftovers, scratch_folder
from flowledger.services.history.whole_file import whole_file

HOLDER = """
import os, signal, sys
from pathlib import Path
from flowledger.io.scratch_folders import scratch_folder
from flowledger.services.history.whole_file import whole_file
place = Path(sys.argv[1])
with scratch_folder(place) as folder, whole_file(place / "all.jsonl") as stream:
    (folder / "secret").write_text("x")
    stream.write(b"half")
    stream.flush()
    print("ready", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.process
def test_a_killed_process_leaves_nothing_for_long(tmp_path: Path) -> None:
    """What it has is left alone while it lives, and removed by whoever comes after its end."""
    environment = {"PYTHONPATH": str(Path(flowledger.__file__).parent.parent), "PATH": ""}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"

    def come_after() -> list[Path]:
        with scratch_folder(tmp_path), whole_file(tmp_path / "all.jsonl") as stream:
            stream.write(b"whole")
        return [each for each in tmp_path.iterdir() if each.name != "all.jsonl"]

    assert len(come_after()) == 3
    holder.communicate(b"\n", timeout=60)
    assert len(list(tmp_path.glob("*/secret"))) == 1
    assert come_after() == []
    assert (tmp_path / "all.jsonl").read_bytes() == b"whole"


def test_a_folder_is_its_owner_s_alone_and_goes(tmp_path: Path) -> None:
    """What has no lock of ours stays, whatever its name."""
    (tmp_path / "flowledger-notes").mkdir()
    with scratch_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "a").write_text("x")
        remove_leftovers(tmp_path)
        assert (folder / "a").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["flowledger-notes"]
