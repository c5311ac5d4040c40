"""How fast does the HTTP API answer?

A real server (``flowledger serve``) over a ledger in SQLite, or in PostgreSQL with ``--ledger``, asked by a
process of its own over connections that stay open:

* the first page of 50 runs: requests a second, and how long one takes;
* a deep page by its cursor, one filtered by app, status and day, and the statistics of a month;
* the server's memory before and after.

Prints figures; asserts nothing.  Linux only (it reads /proc).
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

from results import at_least_one

from flowledger.bootstrap import open_ledger_at
from flowledger.domain.certificates import Scope
from flowledger.domain.runs import AppKey, Creator, Run, RunStatus
from flowledger.domain.windows import Window

APP = AppKey("dify", "5ac73990-ee17-4aba-993c-a473e2fa2a90")
START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 30
AT_ONCE = 5000
STATUSES = (RunStatus.SUCCESS, RunStatus.SUCCESS, RunStatus.SUCCESS, RunStatus.FAILED)


def main() -> None:
    """Measure everything and print it."""
    options = arguments()
    if options.client:
        print(json.dumps(run_client(json.load(sys.stdin))))
        return
    with tempfile.TemporaryDirectory(prefix="flowledger-") as folder:
        url = options.ledger or f"sqlite:///{folder}/ledger.db"
        fill(url, options.runs)
        variables = {"LEDGER_URL": url, "API_REQUESTS_PER_MINUTE": "100000000", "OUTPUT_BASE_DIR": folder}
        figures: dict[str, object] = {"load before": os.getloadavg()}
        for workers in options.workers:
            with serving(Path(folder), variables, workers) as (address, process):
                figures[f"{workers} processes"] = measured(address, process, options)
        figures["load after"] = os.getloadavg()
    print(json.dumps(figures, indent=2))


def arguments() -> argparse.Namespace:
    """Read the words of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=at_least_one, default=33_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each kind of question")
    parser.add_argument("--connections", type=at_least_one, default=8)
    parser.add_argument("--workers", type=at_least_one, nargs="+", default=[1, 2])
    parser.add_argument("--ledger", help="URL of an empty ledger; default: SQLite in a folder of its own")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def fill(url: str, count: int) -> None:
    """Store runs of a month, evenly spread."""
    scope = Scope(APP, Window.between(START, START + timedelta(days=DAYS)))
    step = timedelta(days=DAYS) / max(count, 1)
    with open_ledger_at(url) as ledger:
        for first in range(0, count, AT_ONCE):
            runs = [run(number, step) for number in range(first, min(first + AT_ONCE, count))]
            ledger.save_runs(runs, scope=scope, at=START)


def run(number: int, step: timedelta) -> Run:
    """Make a run as Dify's list tells of one."""
    at = (START + number * step).replace(microsecond=0)
    return Run(
        app=APP,
        run_id=f"{number:08d}-3f0e-4c1a-9a64-3f5b2e8d7c10",
        listed_at=at,
        status=STATUSES[number % len(STATUSES)],
        source_status="succeeded",
        log_id=f"{number:08d}-aaaa-4c1a-9a64-3f5b2e8d7c10",
        workflow_version="2026-11-22 00:41:00.163542",
        created_from="service-api",
        creator=Creator("end_user", "user-id", "user-7", None, "session-1"),
        elapsed_s=Decimal(number % 9000) / 1000,
        total_tokens=number % 5000,
        total_steps=6,
        exceptions_count=0,
        started_at=at,
        finished_at=at + timedelta(seconds=number % 9),
        raw=json.dumps({"id": number, "workflow_run": {"status": "succeeded"}}).encode() * 8,
    )


@contextmanager
def serving(
    folder: Path, variables: Mapping[str, str], workers: int
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Serve without keys on a free port until the context ends."""
    command = (sys.executable, "-m", "flowledger", "serve", "--no-auth", "--port", "0")
    with subprocess.Popen(
        [*command, "--workers", str(workers)],
        cwd=folder,
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        address = process.stderr.readline().rpartition("//")[2].strip()
        try:
            yield address, process
        finally:
            process.terminate()


def measured(
    address: str, process: "subprocess.Popen[str]", options: argparse.Namespace
) -> dict[str, object]:
    """Ask each kind of question for a while."""
    app = f"app={APP.source}:{APP.app_id}"
    day = "since=2026-10-15T00:00:00Z&before=2026-10-16T00:00:00Z"
    month = "since=2026-10-01T00:00:00Z&before=2026-10-31T00:00:00Z"
    questions: dict[str, dict[str, Any]] = {
        "first page of 50": {"path": "/runs?limit=50"},
        "the same, zipped": {"path": "/runs?limit=50", "zipped": True},
        "deep page of 50": {"path": f"/runs?limit=50&cursor={deep(address)}"},
        "filtered page of 50": {"path": f"/runs?limit=50&{app}&status=failed&{day}"},
        "statistics of a month": {"path": f"/stats?{app}&{month}", "connections": 1},
        "metrics": {"path": "/metrics", "connections": 1},
    }
    # Memory is compared after everything was asked for once.
    for question in questions.values():
        client(address, options, **question, seconds=1.0)
    before = memory_mb(process.pid)
    figures_by_question: dict[str, object] = {
        name: client(address, options, **each) for name, each in questions.items()
    }
    return {**figures_by_question, "memory in MB": [before, memory_mb(process.pid)]}


def deep(address: str) -> str:
    """Return the cursor of a page far back, by way of a few hundred pages."""
    cursor = ""
    with socket.create_connection(split(address)) as connection:
        for _ in range(200):
            page = json.loads(ask(connection, request("/runs?limit=100" + cursor, zipped=False)))
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
    return cursor.rpartition("=")[2]


def client(
    address: str,
    options: argparse.Namespace,
    *,
    path: str,
    connections: int | None = None,
    seconds: float | None = None,
    zipped: bool = False,
) -> dict[str, float]:
    """Ask in a process of its own, so that it does not take the server's time."""
    order = {
        "address": address,
        "path": path,
        "connections": connections or options.connections,
        "seconds": seconds or options.seconds,
        "zipped": zipped,
    }
    done = subprocess.run(
        [sys.executable, __file__, "--client"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=True,
    )
    figures_by_question: dict[str, float] = json.loads(done.stdout)
    return figures_by_question


@dataclass
class Asking(Thread):
    """One connection that asks the same again and again."""

    address: tuple[str, int]
    message: bytes
    until: float

    def __post_init__(self) -> None:
        super().__init__()
        self.took_s: list[float] = []

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Ask until it is time."""
        with socket.create_connection(self.address) as connection:
            while (begun := time.perf_counter()) < self.until:
                ask(connection, self.message)
                self.took_s.append(time.perf_counter() - begun)


def run_client(order: Mapping[str, object]) -> dict[str, float]:
    """Ask over several connections at once, and give how often and how long it took, in milliseconds."""
    message = request(str(order["path"]), zipped=bool(order["zipped"]))
    begun = time.perf_counter()
    until = begun + float(str(order["seconds"]))
    threads = [
        Asking(split(str(order["address"])), message, until) for _ in range(int(str(order["connections"])))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = sorted(each for thread in threads for each in thread.took_s)
    return {
        "per_second": round(len(took_s) / (time.perf_counter() - begun), 1),
        **{name: milliseconds(took_s, share) for name, share in (("p50_ms", 0.5), ("p95_ms", 0.95))},
        "p99_ms": milliseconds(took_s, 0.99),
        "mean_ms": round(statistics.fmean(took_s) * 1000, 2),
    }


def milliseconds(took_s: Sequence[float], share: float) -> float:
    """Return a quantile."""
    return round(took_s[min(len(took_s) - 1, int(len(took_s) * share))] * 1000, 2)


def request(path: str, *, zipped: bool) -> bytes:
    """Write a request."""
    coding = "gzip" if zipped else "identity"
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {coding}\r\n\r\n".encode()


def ask(connection: socket.socket, message: bytes) -> bytes:
    """Send a request and give the whole body of its answer."""
    connection.sendall(message)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(head.decode() + body.decode())
    size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < size:
        body += connection.recv(65536)
    return body


def split(address: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = address.rpartition(":")
    return host, int(port)


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    pids = [pid, *(int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    lines = [line for each in pids for line in Path(f"/proc/{each}/status").read_text().splitlines()]
    return round(sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024, 1)


if __name__ == "__main__":
    main()
