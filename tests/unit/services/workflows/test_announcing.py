"""People are told of steps as their nodes ask for, once each."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from workflow_place import Place, document, failing, node, place

from flowledger.domain.messages import Message
from flowledger.services.workflows.announcing import Announcer
from flowledger.workflow_ports import NodeAnswer

RETRY = {"max_retries": 1, "retry_delay_seconds": 0}


def telling(made: dict[str, Any], *channels: str, **answers: Any) -> list[tuple[str, Message]]:
    """Execute a workflow; return the messages, each with its channel."""
    told: list[tuple[str, Message]] = []

    async def keep(letters: Sequence[tuple[str, Message]]) -> None:
        told.extend(letters)

    there: Place = place(Announcer(keep, channels or ("ops",), "en"), **answers)
    there.run(there.order(there.publish(made), input={"id": 7}))
    return told


def chain(*middle: dict[str, Any]) -> dict[str, Any]:
    """A workflow with these nodes in a row."""
    nodes = [node("start", "START"), *middle, node("end", "END")]
    names = [each["name"] for each in nodes]
    return document(nodes, list(pairwise(names)))


def asking(**config: Any) -> dict[str, Any]:
    """The option of a node that tells people."""
    return {"notification_config": config}


def test_a_node_tells_what_it_is_asked_to() -> None:
    """Its start and its success are told, in this order; other nodes tell nothing."""
    told = telling(chain(node("get", options=asking(on_start=True, on_success=True)), node("put")), "a", "b")
    assert [(channel, each.subject) for channel, each in told] == [
        ("a", "[Flowledger] w · get: has started"),
        ("b", "[Flowledger] w · get: has started"),
        ("a", "[Flowledger] w · get: succeeded"),
        ("b", "[Flowledger] w · get: succeeded"),
    ]
    assert len({each.message_id for _, each in told}) == 2
    assert not any(each.urgent for _, each in told)


def test_a_failure_is_told_urgently_and_once() -> None:
    """Tries before the last one are not; the error is told."""
    options = {**asking(on_failure=True, on_success=True, recipients=["ann"]), "retry_policy": RETRY}
    ((_, message),) = telling(chain(node("get", options=options)), get=[failing("HTTP 503: a")] * 2)
    assert message.urgent
    assert message.body == "w · get: failed\nexecution: test\nerror: HTTP 503: a\nfor: ann"
    assert message.data["execution_id"] == "e1"


@pytest.mark.parametrize(
    ("template", "body"),
    [
        ("{{input.id}}: {{get.name}} {{response.status}}", "7: Rex 200"),
        ("{{nodes['get'].name}} of {{execution.execution_id}} {{put}}", "Rex of e1 "),
        ("{{get.name", "w · get: succeeded\nexecution: test"),
        ("{{secrets.CRM}}", "w · get: succeeded\nexecution: test"),
        ("", "w · get: succeeded\nexecution: test"),
    ],
)
def test_a_text_of_ones_own(template: str, body: str) -> None:
    """Expressions in it see what has happened so far, and no secret; a wrong one gives way to ours."""
    pet = {"name": "Rex"}
    answer = NodeAnswer(pet, {"status": 200, "headers": {}, "body": pet})
    options = asking(on_success=True, message_template=template)
    ((_, message),) = telling(chain(node("get", options=options), node("put")), get=answer)
    assert message.body == body


@pytest.mark.parametrize(
    "waiting",
    [
        node("sign", "APPROVAL", approvers=["ann", "bo"], message="Ship it?"),
        node("sign", options={"approval_required": True, "approval_config": {"approvers": ["ann", "bo"]}}),
    ],
)
def test_whoever_is_to_approve_is_told(waiting: dict[str, Any]) -> None:
    """The request names the approvers, for a node of that type and for the gate before any other."""
    asked = {**waiting, **asking(on_approval_required=True, channels=["boss", "boss"])}
    ((channel, message),) = telling(chain(asked))
    assert (channel, message.urgent) == ("boss", True)
    assert message.subject == "[Flowledger] w · sign: waits for approval"
    assert "approvers: ann, bo" in message.body


def test_nobody_is_told_where_keeping_fails() -> None:
    """The execution is not concerned."""

    async def keep(_: Sequence[tuple[str, Message]]) -> None:
        raise OSError("disk full")

    there = place(Announcer(keep, ("ops",)))
    execution = there.run(there.order(there.publish(chain(node("get", options=asking(on_success=True))))))
    assert execution.status == "success"


def test_the_words_are_in_the_language_of_reports() -> None:
    """Chinese is the default."""
    told: list[str] = []

    async def keep(letters: Sequence[tuple[str, Message]]) -> None:
        told.extend(message.subject for _, message in letters)

    there = place(Announcer(keep, ("ops",)))
    there.run(there.order(there.publish(chain(node("get", options=asking(on_success=True))))))
    assert told == ["[Flowledger] w · get: 已成功"]
