"""Programs that a soak starts, kills and starts again, and what /proc says of them (Linux only)."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MARK = "FLOWLEDGER_SOAK"
"""Every process of a soak has this variable, by which those that were forgotten are found."""
FLOW_RUN = b"PREFECT__FLOW_RUN_ID="
MB = 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ESTABLISHED = "01"


@dataclass
class Program:
    """A program that can be started again after its end; what it says is added to ``<name>.log``."""

    name: str
    words: Sequence[str]
    folder: Path
    variables: Mapping[str, str]
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """Its process id, which is that of its process group too."""
        assert self._process is not None
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, in a process group of its own."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.words,
                cwd=self.folder,
                env=dict(self.variables),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self, how: signal.Signals, patience_s: float = 30.0) -> None:
        """Send its process a signal and wait for the end; one that takes too long is killed."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True, slots=True)
class Load:
    """What a process takes: memory in MB, open files, threads, established TCP connections."""

    rss_mb: float
    files: int
    threads: int
    connections: int


def load_of(pid: int) -> Load | None:
    """Look at a process; None where it is gone."""
    place = Path("/proc") / str(pid)
    try:
        memory = int((place / "statm").read_text().split()[1]) * _PAGE / MB
        links = [str(each.readlink()) for each in (place / "fd").iterdir() if each.is_symlink()]
        threads = len(list((place / "task").iterdir()))
        established = _established(place)
    except OSError:
        return None
    sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
    return Load(round(memory, 1), len(links), threads, len(sockets & established))


def _established(place: Path) -> set[str]:
    tables = ((place / "net" / name).read_text() for name in ("tcp", "tcp6"))
    rows = (line.split() for table in tables for line in table.splitlines())
    return {row[9] for row in rows if row[3] == _ESTABLISHED}


def marked(mark: str) -> Iterator[tuple[int, str]]:
    """Give the living processes that carry a soak's mark, each with the flow run it executes, if any."""
    wanted = f"{MARK}={mark}".encode()
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        with suppress(OSError):
            variables = (place / "environ").read_bytes().split(b"\0")
            if wanted in variables and (place / "cmdline").read_bytes():
                runs = [each.removeprefix(FLOW_RUN) for each in variables if each.startswith(FLOW_RUN)]
                yield int(place.name), runs[0].decode() if runs else ""


def parent_of(pid: int) -> int:
    """Give the id of a process's parent; 0 where it is gone."""
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def kill(pid: int) -> None:
    """Kill a process, as a machine that fails does."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
