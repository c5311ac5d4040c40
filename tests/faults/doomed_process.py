"""A process that runs ``flowledger run --direct`` again and again, each time in a child that may be doomed.

One line of JSON on standard input is one run (``DoomedRuns.run`` writes it), one line on standard output says
how it ended.  Forking a process that has no threads costs a hundredth of a second, starting one anew a whole.
"""

import contextlib
import importlib
import json
import os
import sys
import tempfile
import traceback
from datetime import datetime
from pathlib import Path
from typing import Any

import fault_points
import pytest
from workplace import forget_waits

import flowledger.ledger.sql.ledger
import flowledger.services.pipeline
import flowledger.storage.local  # noqa: F401  imported before the forks, which share it
from flowledger import bootstrap
from flowledger.cli.main import main


def serve() -> None:
    """Read runs until the input ends."""
    forget_waits(pytest.MonkeyPatch())
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            run(order)
        _, status = os.waitpid(child, 0)
        import_like(Path(order["folder"]) / "modules.json")
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


def import_like(modules: Path) -> None:
    """Import here what a run has imported, so that the next child need not."""
    if modules.exists():
        for name in json.loads(modules.read_text()):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        modules.unlink()


def run(order: dict[str, Any]) -> None:
    """Run once and end this process; what was said and written is left beside the outputs."""
    folder = Path(order["folder"])
    os.chdir(folder)
    said = os.open(folder / "said.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    (folder / "tmp").mkdir(exist_ok=True)
    tempfile.tempdir = str(folder / "tmp")
    now = datetime.fromisoformat(order["now"])
    bootstrap.clock.utc_now = lambda: now
    points = fault_points.Points(order["mode"], order["at"], folder)
    fault_points.install(points)
    status: Any = 70
    try:
        with contextlib.suppress(Exception):
            status = main_status(order["words"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        points.at = 0
        (folder / "points.json").write_text(json.dumps(points.seen))
        (folder / "modules.json").write_text(json.dumps(list(sys.modules)))
        os._exit(status)


def main_status(words: list[str]) -> int:
    """Give the exit status of the command line."""
    try:
        main(words)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        raise
    return 0


if __name__ == "__main__":
    serve()
