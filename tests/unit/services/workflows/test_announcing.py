"""Messages about steps: what is told, once, and through which channels; approvals with links."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any

import pytest
from workflow_place import NOW, Place, document, failing, node, place

from flowledger.domain.messages import Notice, Occasion
from flowledger.domain.runs import RunStatus
from flowledger.services.workflows.announcing import LOOKED_BACK, Announcer
from flowledger.workflow_ports import Execution, NodeAnswer, Wait


@dataclass
class Letters:
    """Keeps what is to be told, each id once, as the outbox does."""

    notices: dict[str, tuple[Notice, Sequence[str]]] = field(default_factory=dict)
    is_down: bool = False

    def keep(self, notice: Notice, channels: Sequence[str]) -> None:
        """Keep one, or fail as when the ledger is away."""
        if self.is_down:
            raise OSError("no disk")
        self.notices.setdefault(notice.notice_id, (notice, channels))

    @property
    def told(self) -> list[str]:
        """What was told, as ``occasion task``."""
        return [f"{notice.occasion} {notice.task}" for notice, _ in self.notices.values()]


def telling(config: Mapping[str, Any], node_type: str = "API_CALL", **step: Any) -> dict[str, Any]:
    """A workflow of one step with notifications."""
    return document(
        [
            node("start", "START"),
            node("step", node_type, options={"notification_config": config}, **step),
            node("end", "END"),
        ],
        [("start", "step"), ("step", "end")],
    )


def announced(letters: Letters, made: dict[str, Any], **answers: Any) -> tuple[Place, Execution, Announcer]:
    """Execute a workflow beside an observer that tells."""
    there = place(**answers)

    def link(wait: Wait, approver: str) -> str:
        return f"https://flows.example.com/approvals/{wait.id}-{approver}"

    announcing = Announcer(there.store, letters.keep, lambda: there.now, "en", UTC, link)
    there.engine = replace(there.engine, observers=(announcing,))
    execution = there.order(there.publish(made), input={"who": "小王", "id": 7})
    return there, execution, announcing


def observed(letters: Letters, made: dict[str, Any], **answers: Any) -> tuple[Place, Execution]:
    """The same, and it has been driven."""
    there, execution, _ = announced(letters, made, **answers)
    return there, there.run(execution)


def test_a_step_tells_what_it_is_asked_to() -> None:
    """Its begin and its success, each once, through its channels."""
    letters = Letters()
    config = {"on_start": True, "on_success": True, "on_failure": True, "channels": ["ops"]}
    observed(letters, telling(config))
    assert letters.told == ["step_started step", "step_succeeded step"]
    assert {tuple(channels) for _, channels in letters.notices.values()} == {("ops",)}


def test_only_the_end_of_all_tries_is_a_failure() -> None:
    """With its error; tries between are not told."""
    letters = Letters()
    made = telling({"on_failure": True}, retry_policy={"max_retries": 1, "retry_delay_seconds": 0})
    _, execution = observed(letters, made, step=[failing("HTTP 503: a"), failing("HTTP 503: b")])
    assert execution.status is RunStatus.FAILED
    ((notice, channels),) = letters.notices.values()
    assert (notice.occasion, notice.error, channels) == (Occasion.STEP_FAILED, "HTTP 503: b", [])


def test_nothing_is_told_of_a_step_without_notifications() -> None:
    """Nor of one whose switches are off."""
    letters = Letters()
    observed(letters, telling({"channels": ["ops"]}))
    observed(letters, telling({"on_success": False}))
    assert letters.told == []


def test_an_approval_says_what_by_whom_until_when_with_a_link_for_each() -> None:
    """As its node asks for, or the gate before another."""
    letters = Letters()
    made = telling(
        {"on_approval_required": True, "recipients": ["a@example.com", "bob"]},
        "APPROVAL",
        approvers=["ann", "bob"],
        required_approvals=2,
        timeout_hours=24,
        message="Publish for {{input.who}}?",
    )
    observed(letters, made)
    ((notice, _),) = letters.notices.values()
    assert notice.occasion is Occasion.APPROVAL_REQUIRED
    assert notice.step["text"] == "Publish for 小王?"
    assert (notice.step["approvers"], notice.step["required"]) == (["ann", "bob"], 2)
    assert (notice.step["requester"], notice.step["due"]) == ("ann", "2026-11-28T02:03:04+00:00")
    assert notice.links["bob"].endswith("-bob")
    assert notice.recipients == ("a@example.com",)


def test_a_template_of_ones_own_is_filled() -> None:
    """With the execution's values, and with the names of what happened."""
    letters = Letters()
    template = "{{input.who}}: {step} of {pipeline} failed: {error} {unknown}"
    observed(letters, telling({"on_failure": True, "message_template": template}), step=failing("no"))
    ((notice, _),) = letters.notices.values()
    assert notice.step["text"] == "小王: step of w failed: no {unknown}"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{input.id}}: {{step.name}} {{response.status}}", "7: Rex 200"),
        ("{{nodes['step'].name}} of {{execution.execution_id}} {{put}}", "Rex of e1 "),
        ("{{step.name", ""),
        ("{{secrets.CRM}}", ""),
        ("", ""),
    ],
)
def test_a_text_of_ones_own(template: str, text: str) -> None:
    """Expressions in it see what has happened so far, and no secret; a wrong one gives way to ours."""
    letters = Letters()
    pet = {"name": "Rex"}
    answer = NodeAnswer(pet, {"status": 200, "headers": {}, "body": pet})
    observed(letters, telling({"on_success": True, "message_template": template}), step=answer)
    ((notice, _),) = letters.notices.values()
    assert notice.step["text"] == text


def test_the_gate_before_a_step_is_told_once_for_each_channel() -> None:
    """By the notifications of the step that it stands before."""
    letters = Letters()
    options = {
        "approval_required": True,
        "approval_config": {"approvers": ["ann", "bo"]},
        "notification_config": {"on_approval_required": True, "channels": ["boss", "boss"]},
    }
    made = document(
        [node("start", "START"), node("sign", options=options), node("end", "END")],
        [("start", "sign"), ("sign", "end")],
    )
    observed(letters, made)
    ((notice, channels),) = letters.notices.values()
    assert (notice.task, notice.step["key"], channels) == ("sign", "sign/approval", ["boss"])


def test_letters_that_cannot_be_stored_fail_no_step() -> None:
    """The execution ends as it would."""
    _, execution = observed(Letters(is_down=True), telling({"on_success": True}))
    assert execution.status is RunStatus.SUCCESS


def test_an_approval_that_nobody_was_told_of_is_told_once() -> None:
    """The worker that asked died before it could tell; older ones are left alone."""
    letters = Letters(is_down=True)
    made = telling({"on_approval_required": True}, "APPROVAL", approvers=["ann"])
    there, execution, announcing = announced(letters, made)
    there.run(execution)
    letters.is_down = False
    announcing.catch_up()
    announcing.catch_up()
    assert letters.told == ["approval_required step"]
    letters.notices.clear()
    there.now = NOW + LOOKED_BACK * 2
    announcing.catch_up()
    assert letters.told == []
