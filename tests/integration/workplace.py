"""Where commands are run in tests: an empty folder, no settings but those given, waits that take no time."""

import gc
import io
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.cli.main import main
from flowledger.dify import session
from flowledger.dify.session import RetryPolicy, SessionOptions
from flowledger.settings.model import VARIABLES
from flowledger_simulator import credentials

PROJECT = Path(__file__).parents[2]
LEGACY = PROJECT / "tests" / "data" / "legacy"
DATASET = LEGACY / "dataset.json"
GOLDEN = LEGACY / "golden"
LEGACY_NOW = datetime.fromisoformat("2026-11-22T10:00:00+08:00")
FLOWLEDGER = (sys.executable, "-m", "flowledger")
FOREIGN = ("PREFECT_", "DIFY_", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "LANGUAGE")


def legacy_server(**options: object) -> simulator.Options:
    """Give the options of a server whose clock stands on the day after the old script's data."""
    return simulator.Options(clock=LEGACY_NOW.timestamp, **options)  # type: ignore[arg-type]


def settings_of(server: simulator.SimulatedServer, **more: str) -> dict[str, str]:
    """Give the variables that reach a server's first app, console included."""
    app = server.world.app
    return {
        "DIFY_BASE_URL": server.base_url,
        "DIFY_API_TOKEN": app.api_token,
        "DIFY_APP_ID": app.id,
        "DIFY_APP_NAME": "support",
        "DIFY_CONSOLE_EMAIL": credentials.EMAIL,
        "DIFY_CONSOLE_PASSWORD": credentials.PASSWORD,
        "TIMEZONE": "Asia/Shanghai",
        **more,
    }


def bare_environment() -> dict[str, str]:
    """Give this process's environment without anything that sets Flowledger or Prefect."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in VARIABLES and not name.startswith(FOREIGN)
    } | {"PYTHONPATH": str(PROJECT / "src"), "PYTHONUTF8": "1"}


def move_to(folder: Path, patch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Work in a folder, with these settings alone."""
    for name in os.environ.keys() - bare_environment().keys():
        patch.delenv(name)
    for name, value in variables.items():
        patch.setenv(name, value)
    patch.chdir(folder)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def command_here(*words: str) -> Ended:
    """Run a command of ours in this process, to the end that it would have in its own.

    What the command changes in a process of its own, until that ends, is restored.
    """
    out, err, status = io.StringIO(), io.StringIO(), 0
    hook, terminate, thresholds = sys.excepthook, signal.getsignal(signal.SIGTERM), gc.get_threshold()
    mask = os.umask(0o022)
    os.umask(mask)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(words)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        os.umask(mask)
        gc.set_threshold(*thresholds)
        signal.signal(signal.SIGTERM, terminate)
        sys.excepthook = hook
    return Ended(status, out.getvalue(), err.getvalue())


@contextmanager
def zone_of_process(name: str) -> Iterator[None]:
    """Give this process a time zone, as the TZ variable does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


def forget_waits(patch: pytest.MonkeyPatch) -> None:
    """Let tries follow one another at once."""
    hasty = partial(SessionOptions, retry=RetryPolicy(sleep=lambda _: None))
    patch.setattr(session, "SessionOptions", hasty)
    patch.setattr(bootstrap.pipelines, "SessionOptions", hasty)
