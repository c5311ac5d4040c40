"""NOTIFY, REPORT, DIFY_RUN and COZE_RUN against servers on loopback, through the engine of the settings."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from webhook_receiver import receiver
from wired_engine import executed, settings_of
from workflow_place import node
from workplace import settings_of as settings_of_app

import flowledger_simulator as simulator
from flowledger.bootstrap import clock, configured, node_parts, open_ledger_at
from flowledger.bootstrap.node_parts import NodeParts
from flowledger.bootstrap.workflows import open_engine
from flowledger.domain.runs import RunStatus
from flowledger.ledger import workflow_store
from flowledger.ports import Ledger
from flowledger.settings import ConfigManager
from flowledger_simulator.coze_server import TOKENS, Script, interrupted, serve_coze

NOON = datetime(2026, 11, 21, 4, tzinfo=UTC)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger in memory."""
    with open_ledger_at("memory://") as opened:
        yield opened


def told(settings: Any, ledger: Ledger, **config: Any) -> Any:
    """Execute a NOTIFY through the webhook; return its step."""
    config = {"channel": "webhook", "template": "{n} of {{input.pet}}", "variables": {"n": 2}, **config}
    _, (step,) = executed(settings, ledger, node("Tell them", "NOTIFY", **config))
    return step


def test_people_are_notified_or_the_message_waits(tmp_path: Path, ledger: Ledger) -> None:
    """A receiver that is away gets the message later; one that refuses it fails the step."""
    with receiver() as hook:
        settings = settings_of(tmp_path, WEBHOOK_URL=hook.url)
        step = told(settings, ledger)
        assert step.output["status"] == "delivered"
        (message,) = hook.messages
        assert (message["subject"], message["body"]) == ("Tell them", "2 of 1")
        assert message["variables"] == {"n": 2}
        hook.status = 503
        assert told(settings, ledger).output["status"] == "waiting"
        hook.status = 404
        step = told(settings, ledger, channel="webhook")
        assert (step.status, step.error_type) == ("failed", "MessageRefused")
    off = settings_of(tmp_path, WEBHOOK_URL=hook.url, NOTIFICATION_ENABLED="false")
    assert told(off, ledger).output["status"] == "off"


def test_a_message_that_waits_is_sent_by_the_worker(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try is due after a minute, and needs no other step."""
    with receiver() as hook:
        settings = settings_of(tmp_path, WEBHOOK_URL=hook.url)
        parts = NodeParts(settings, ledger, workflow_store(ledger))
        assert parts.deliver_once() == 0
        hook.status = 503
        told(settings, ledger)
        hook.status = 200
        assert parts.deliver_once() == 0
        later = clock.utc_now() + timedelta(hours=1)
        monkeypatch.setattr(clock, "utc_now", lambda: later)
        monkeypatch.setattr(node_parts, "DELIVER_EVERY_S", 0.01)

        async def idle() -> None:
            async with open_engine(settings, ledger), asyncio.timeout(10):
                while not hook.messages:
                    await asyncio.sleep(0.01)

        asyncio.run(idle())
    assert [each["body"] for each in hook.messages] == ["2 of 1"]


def test_a_request_for_approval_reaches_people(tmp_path: Path, ledger: Ledger) -> None:
    """Whoever is to approve is told as soon as the execution waits, in every channel or those named."""
    telling = {"on_approval_required": True, "message_template": "{{input.pet}} waits"}
    asked = node("sign", "APPROVAL", approvers=["ann"], options={"notification_config": telling})
    unknown = node(
        "get", "TRANSFORM", options={"notification_config": {"on_success": True, "channels": ["x"]}}
    )
    with receiver() as hook:
        execution, _ = executed(settings_of(tmp_path, WEBHOOK_URL=hook.url), ledger, unknown, asked)
    assert execution.status is RunStatus.PAUSED
    (message,) = hook.messages
    assert (message["step"]["text"], message["step"]["key"]) == ("1 waits", "sign")
    assert "等待审批" in message["subject"]


def test_a_report_is_a_step(tmp_path: Path, ledger: Ledger) -> None:
    """The runs are collected and reported as by a schedule; what was found is the step's output."""
    recipe = simulator.Recipe(runs=4, end=NOON)
    with simulator.serve(simulator.make_world(recipe)) as server:
        variables = {**settings_of_app(server), "OUTPUT_BASE_DIR": str(tmp_path)}
        reader = ConfigManager(tmp_path, variables)
        config: dict[str, Any] = {"after": "2026-11-20", "before": "2026-11-21", "formats": ["json", "csv"]}
        with configured(reader):
            execution, (step,) = executed(reader.load(), ledger, node("report", "REPORT", **config))
    assert execution.status is RunStatus.SUCCESS, execution.error
    assert isinstance(step.output, dict)
    assert step.output["logs_count"] == 4
    assert step.output["certificate"]["certified"] is True
    paths = [Path(each) for each in step.output["report_paths"]]
    assert {".json", ".csv"} <= {each.suffix for each in paths}
    assert all(each.is_file() for each in paths)
    assert step.metrics["requests"] == step.output["requests"]


def test_a_run_in_dify_is_a_step_and_then_in_the_report(tmp_path: Path, ledger: Ledger) -> None:
    """What a workflow starts in Dify is collected like everything else."""
    recipe, seconds = simulator.Recipe(runs=0, mix={"succeeded": 1.0}), [NOON.timestamp()]
    options = simulator.Options(clock=lambda: seconds[-1])
    with simulator.serve(simulator.make_world(recipe), options=options) as server:
        variables = {**settings_of_app(server), "OUTPUT_BASE_DIR": str(tmp_path)}
        reader = ConfigManager(tmp_path, variables)
        ask = node("ask", "DIFY_RUN", app="support", inputs={"query": "{{input.pet}}"})
        day = node("report", "REPORT", after="2026-11-21", before="2026-11-21")
        with configured(reader):
            execution, (asked,) = executed(reader.load(), ledger, ask)
            seconds.append(seconds[0] + 60)
            _, (reported,) = executed(reader.load(), ledger, day)
    assert execution.status is RunStatus.SUCCESS, execution.error
    (run,) = server.world.runs()
    response: Any = asked.response
    assert asked.output == run.content.outputs(run)
    assert response["body"]["workflow_run_id"] == run.id
    report: Any = reported.output
    assert report["logs_count"] == 1


def test_a_run_in_coze_is_a_step(tmp_path: Path, ledger: Ledger) -> None:
    """Its output is what its nodes said; a run that asks for something fails the step."""
    with serve_coze({"asks": Script((interrupted(),))}) as coze:
        settings = settings_of(tmp_path, COZE_BASE_URL=coze.base_url, COZE_API_TOKEN=coze.token)
        _, (step,) = executed(settings, ledger, node("run", "COZE_RUN", workflow="w", inputs={"q": 1}))
        assert step.output == {
            "Output": "Why did the ruler go to the cinema?",
            "End": {"output": "It was long."},
        }
        assert step.metrics == {"tokens": float(TOKENS["token_count"])}
        _, (step,) = executed(settings, ledger, node("run", "COZE_RUN", workflow="asks"))
        assert (step.status, step.error_type) == ("failed", "CozeInterrupted")
        wrong = settings_of(tmp_path, COZE_BASE_URL=coze.base_url, COZE_API_TOKEN="another-token-of-tests")
        _, (step,) = executed(wrong, ledger, node("run", "COZE_RUN", workflow="w"))
        assert step.error_type == "AuthenticationError"
        assert "another-token" not in str(step)
    _, (step,) = executed(settings_of(tmp_path), ledger, node("run", "COZE_RUN", workflow="w"))
    assert step.error == "COZE_API_TOKEN is not set: nothing can be run in Coze"
