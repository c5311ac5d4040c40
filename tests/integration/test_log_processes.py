"""Several processes that write one day's log at once."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from workplace import bare_environment

from flowledger.services.log_query import LogQuery, LogReader

pytestmark = pytest.mark.process

LINES = 300
PROCESSES = 4
WRITER = """
import sys
from pathlib import Path
from loguru import logger
from flowledger.services.log_files import rotation_of
from flowledger.services.log_files import LogPlan, logging_to
logger.remove()
with logging_to(LogPlan(Path(sys.argv[1]), rotation=rotation_of(sys.argv[3]))):
    for n in range(int(sys.argv[4])):
        logger.error("{} {} {}", sys.argv[2], n, "x" * (n % 9 * 1000))
"""


def write_at_once(folder: Path, rotation: str) -> None:
    """Let all processes write into a folder."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), f"p{number}", rotation, str(LINES)],
            env=bare_environment(),
        )
        for number in range(PROCESSES)
    ]
    assert [writer.wait(timeout=100) for writer in writers] == [0] * PROCESSES


def test_no_line_is_lost_or_mixed_with_another(tmp_path: Path) -> None:
    """All lines are there, whole and in their process's order; the errors once more in their file."""
    write_at_once(tmp_path, "00:00")
    reader = LogReader(tmp_path)
    said = [line.message.split() for line in reader.read(LogQuery())]
    assert reader.unreadable == 0
    for number in range(PROCESSES):
        assert [int(words[1]) for words in said if words[0] == f"p{number}"] == list(range(LINES))
    errors = "".join(path.read_text() for path in tmp_path.glob("flowledger-errors-*"))
    assert len([json.loads(line) for line in errors.splitlines() if line]) == PROCESSES * LINES


def test_files_of_a_size_take_every_line_once(tmp_path: Path) -> None:
    """No process takes a file away from another; each is over its size by a few lines at most."""
    write_at_once(tmp_path, "100 KB")
    reader = LogReader(tmp_path)
    counts = Counter(tuple(line.message.split()[:2]) for line in reader.read(LogQuery()))
    assert reader.unreadable == 0
    assert (len(counts), set(counts.values())) == (PROCESSES * LINES, {1})
    sizes = [path.stat().st_size for path in tmp_path.glob("flowledger-2*.jsonl")]
    assert len(sizes) > 10
    assert max(sizes) < 200_000
