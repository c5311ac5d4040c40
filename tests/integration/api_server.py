"""A server of the HTTP API as a program, in a folder with a ledger in SQLite."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from workplace import FLOWLEDGER, Ended, bare_environment, command_here, move_to

PATIENCE_S = 100


@dataclass
class Place:
    """A folder with a ledger, where commands are run."""

    folder: Path
    variables: Mapping[str, str]

    @property
    def ledger_url(self) -> str:
        """Where its runs are."""
        return f"sqlite:///{self.folder}/outputs/ledger.db"

    def run(self, *words: str) -> Ended:
        """Run a command to its end."""
        with pytest.MonkeyPatch.context() as patch:
            move_to(self.folder, patch, self.variables)
            return command_here(*words)

    def key(self, *words: str) -> dict[str, str]:
        """Make a key and give the header that shows it."""
        made = self.run("keys", "create", *words)
        assert made.returncode == 0, made.stderr
        return {"Authorization": f"Bearer {made.stdout.strip()}"}

    @contextmanager
    def serving(self, *words: str) -> Iterator["Server"]:
        """Serve until the context ends."""
        with subprocess.Popen(
            [*FLOWLEDGER, "serve", "--port", "0", *words],
            cwd=self.folder,
            env={**bare_environment(), **self.variables},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("listening at "), line + process.stderr.read()
            try:
                yield Server(line.removeprefix("listening at ").strip(), process)
            finally:
                if process.poll() is None:
                    process.terminate()
                process.communicate(timeout=PATIENCE_S)


@dataclass
class Server:
    """A server that is running."""

    address: str
    process: "subprocess.Popen[str]"

    def get(self, path: str, headers: Mapping[str, str], **more: Any) -> requests.Response:
        """Read."""
        return requests.get(f"{self.address}{path}", headers=headers, timeout=PATIENCE_S, **more)
