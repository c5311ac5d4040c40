"""Which process took an order, and whether it has ended since: one that is killed cannot say so."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any


def own_process() -> dict[str, Any]:
    """Return what tells this process from all others, as JSON values."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "start": _start_of(pid)}


def has_ended(process: Any) -> bool:
    """Return whether a process of this machine has ended; of another machine's nothing is known."""
    if not isinstance(process, dict) or process.get("host") != socket.gethostname():
        return False
    pid = process.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's, but there
        return False
    # Numbers are given again: it is the same process only if it began when that one did.
    return _start_of(pid) != process.get("start")


def _start_of(pid: int) -> str:
    """Return when a process began, in the system's ticks; empty where the system does not tell."""
    with suppress(OSError):
        # After the name, which may hold anything, in parentheses: field 22 of proc_pid_stat(5).
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    return ""
