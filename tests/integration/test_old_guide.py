"""The old guide's calls, verbatim and in their order, against a server that executes workflows itself."""

import json
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from api_server import PATIENCE_S, Place, Server

CALLS = Path(__file__).parents[1] / "data" / "workflows" / "old_guide_calls.sh"
OLD_ADDRESS = "http://localhost:8001"


def calls() -> list[list[str]]:
    """The words of each call."""
    return [shlex.split(each) for each in CALLS.read_text("utf-8").split("\n\n")]


def sent(server: Server, words: list[str]) -> requests.Response:
    """Send what curl would send, to this server."""
    options = dict(zip(words[1::2], words[2::2], strict=False)) if words[1].startswith("-") else {}
    address = next(word for word in words if word.startswith(OLD_ADDRESS))
    body = words[words.index("-d") + 1].encode() if "-d" in words else None
    name, _, value = words[words.index("-H") + 1].partition(": ") if "-H" in words else ("", "", "")
    return requests.request(
        options.get("-X", "GET"),
        address.replace(OLD_ADDRESS, server.address),
        data=body,
        headers={name: value} if name else {},
        timeout=PATIENCE_S,
    )


def ended(server: Server, number: int) -> dict[str, Any]:
    """An execution once it has ended."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        row: dict[str, Any] = server.get(f"/executions/{number}", {}).json()
        if row["status"] not in ("pending", "running"):
            return row
        time.sleep(0.05)
    raise AssertionError(f"execution {number} has not ended: {row}")


@pytest.mark.timeout(300)
def test_every_call_of_the_old_guide_works(tmp_path: Path) -> None:
    """Each is answered as the guide shows; the workflow is executed; the server stops in peace."""
    place = Place(tmp_path, {})
    with place.serving("--no-auth", "--worker") as server:
        answers = [sent(server, words) for words in calls()]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 202, 200, 201, 201, 201, 200], [
            answer.text for answer in answers
        ]
        workflow, node, connection, execution, shown, *_, metrics = [answer.json() for answer in answers]
        names = ("id", "name", "description", "version", "status")
        assert [workflow[name] for name in names] == [1, "示例工作流", "这是一个示例工作流", "1.0", "draft"]
        assert (node["id"], connection["to_node_id"]) == (1, 2)
        assert execution["id"] == shown["id"] == 1
        assert {"progress", "started_at", "current_step"} <= shown.keys()
        assert "custom_metrics" in metrics
        row = ended(server, 1)
        # The guide registers no API: its only call fails, and says why.
        assert (row["status"], row["error_message"]) == ("failed", "there is no API 1")
        assert [each["step_name"] for each in server.get("/executions/1/logs", {}).json()][
            -1
        ] == "API调用节点"
        events = server.get("/executions/1/events?stream=true", {}, stream=True)
        lines = [line for line in events.iter_lines(decode_unicode=True) if line.startswith("data: ")]
        assert json.loads(lines[-1].removeprefix("data: "))["event"] == "EXECUTION_FAILED"
        server.process.terminate()
        assert server.process.wait(PATIENCE_S) == 0
