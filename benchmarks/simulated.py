"""A simulated Dify in a process of its own, and what reaches it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def simulated_dify(*options: str) -> Iterator[dict[str, str]]:
    """Run ``flowledger simulate`` with options; give the settings it prints."""
    with simulated_server(*options) as (settings, _):
        yield settings


@contextmanager
def simulated_server(*options: str) -> Iterator[tuple[dict[str, str], int]]:
    """Run ``flowledger simulate`` with options; give the settings it prints, and its process id."""
    command = [sys.executable, "-m", "flowledger", "simulate", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield dict(_settings(server)), server.pid
        finally:
            server.terminate()


def _settings(server: "subprocess.Popen[str]") -> Iterator[tuple[str, str]]:
    assert server.stdout is not None
    for line in server.stdout:
        name, separator, value = line.strip().partition("=")
        if separator:
            yield name, value
        if name == "DIFY_CONSOLE_PASSWORD":
            return
