#!/usr/bin/env python3
"""Take the pictures of docs/screenshots: a run's page with its artifacts, and the form of a custom run.

Usage: .venv/bin/python scripts/screenshots.py        needs Chromium (Debian: apt-get install chromium)

Everything shown is simulated: a Dify of one made-up day, a Prefect server of its own, both on loopback.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

import flowledger_simulator as simulator
from flowledger.cli.simulate import make_recent_world, settings_for

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "screenshots"
PYTHON = sys.executable
PATIENCE_S = 120
SETTLE_S = 2.5
"""Pages fade in after their texts have come."""
CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def main() -> None:
    """Take every picture anew."""
    TARGET.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    world = make_recent_world(now - timedelta(hours=1), runs=120, seed=7)
    with (
        TemporaryDirectory(prefix="flowledger-") as folder,
        simulator.serve(world) as dify,
        prefect_server(Path(folder)) as api,
        browser(Path(folder)) as page,
    ):
        environ = {**settings_for(dify.base_url, world), "DIFY_APP_NAME": "support"}
        environ |= {"PREFECT_API_URL": api, "REPORT_LANGUAGE": "en", "OUTPUT_BASE_DIR": f"{folder}/outputs"}
        flowledger(folder, environ, "deploy", "--setup")
        flowledger(folder, environ, "run", "--period", "last_24h", "--format", "csv,markdown")
        site = api.removesuffix("/api")
        run = ask(f"{api}/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}})[0]
        form = ask(f"{api}/deployments/filter", {"deployments": {"name": {"like_": "custom"}}})[0]
        shoot(page, f"{site}/runs/flow-run/{run['id']}", "last_24h", "run.png")
        artifact = next(each for each in artifacts(api, run["id"]) if each["type"] == "markdown")
        shoot(page, f"{site}/artifacts/artifact/{artifact['id']}", "Certificate", "artifact.png", height=780)
        shoot(
            page, f"{site}/deployments/deployment/{form['id']}/run", "Period", "custom-run.png", height=1900
        )


def artifacts(api: str, flow_run_id: str) -> Any:
    """Return a flow run's artifacts."""
    return ask(f"{api}/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}})


def flowledger(folder: str, environ: Mapping[str, str], *words: str) -> None:
    """Run a command of Flowledger with these settings alone."""
    foreign = ("DIFY_", "PREFECT_", "FLOWLEDGER_")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    shutil.copytree(ROOT / "config", Path(folder, "config"), dirs_exist_ok=True)
    subprocess.run([PYTHON, "-m", "flowledger", *words], check=True, cwd=folder, env={**bare, **environ})


@contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """Run a Prefect server on a free port and give the address of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    with subprocess.Popen(
        [PYTHON, "-m", "prefect", "server", "start"],
        cwd=folder,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            api = f"http://127.0.0.1:{port}/api"
            wait_for(lambda: answers(f"{api}/ready"), "the Prefect server")
            yield api
        finally:
            process.terminate()


@contextmanager
def browser(folder: Path) -> Iterator[Connection]:
    """Run Chromium without a window and give a connection to its one page."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("screenshots: Chromium is not installed (Debian and Ubuntu: apt-get install chromium)")
    profile = folder / "chromium"
    with subprocess.Popen(
        [program, *CHROMIUM, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL
    ) as process:
        try:
            port_file = profile / "DevToolsActivePort"
            wait_for(lambda: port_file.exists() and bool(port_file.read_text().strip()), "Chromium")
            port = port_file.read_text().split()[0]
            tabs = ask(f"http://127.0.0.1:{port}/json/list")
            tab = next(each for each in tabs if each["type"] == "page")
            with connect(tab["webSocketDebuggerUrl"], max_size=None) as page:
                yield page
        finally:
            process.terminate()


def shoot(page: Connection, address: str, text: str, name: str, height: int = 1000) -> None:
    """Open an address, wait for a text on it, and keep its picture."""
    size = {"width": 1400, "height": height, "deviceScaleFactor": 1, "mobile": False}
    call(page, "Emulation.setDeviceMetricsOverride", **size)
    call(page, "Page.navigate", url=address)
    expression = f"document.body.innerText.includes({json.dumps(text)})"
    wait_for(
        lambda: call(page, "Runtime.evaluate", expression=expression)["result"].get("value") is True,
        f"{text!r} on {address}",
    )
    time.sleep(SETTLE_S)
    picture = call(page, "Page.captureScreenshot", format="png")["data"]
    (TARGET / name).write_bytes(base64.b64decode(picture))
    print(f"written: docs/screenshots/{name}")


def call(page: Connection, method: str, **parameters: object) -> dict[str, Any]:
    """Ask the browser something over its debugging protocol, and give the result."""
    number = time.monotonic_ns() % 1_000_000_000
    page.send(json.dumps({"id": number, "method": method, "params": parameters}))
    while True:
        answer = json.loads(page.recv(timeout=PATIENCE_S))
        if answer.get("id") == number:
            if "error" in answer:
                sys.exit(f"screenshots: Chromium refuses {method}: {answer['error']['message']}")
            result: dict[str, Any] = answer["result"]
            return result


def ask(address: str, body: Mapping[str, object] | None = None) -> Any:
    """GET, or POST a JSON body, and give the JSON answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})  # noqa: S310  # ours
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def answers(address: str) -> bool:
    """Whether a server answers yet."""
    try:
        ask(address)
    except OSError:
        return False
    return True


def wait_for(done: Any, what: str) -> None:
    """Wait until a condition holds.

    :raises SystemExit: naming it, when it takes too long.
    """
    ends = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > ends:
            sys.exit(f"screenshots: still waiting for {what} after {PATIENCE_S} s")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
