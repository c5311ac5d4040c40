"""Notifies people of steps: what a node's ``notification_config`` asks for.

``{on_start, on_success, on_failure, on_approval_required, channels, recipients, message_template}``.  A
message is kept when its event is on record, and sent then; the same event is told once.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from flowledger.domain.messages import Message
from flowledger.domain.runs import Json
from flowledger.domain.texts import clip, one_line
from flowledger.domain.workflows import definition, operators, templates
from flowledger.domain.workflows.definition import Node
from flowledger.domain.workflows.scope import node_value, response_value
from flowledger.domain.workflows.steps import EventType, Outcome
from flowledger.errors import UsageError
from flowledger.workflow_ports import Claim, Execution, Progressed, Step

OCCASIONS: Mapping[EventType, str] = {
    EventType.STEP_STARTED: "on_start",
    EventType.STEP_SUCCEEDED: "on_success",
    EventType.STEP_FAILED: "on_failure",
    EventType.APPROVAL_REQUESTED: "on_approval_required",
}
WORDS: Mapping[str, Mapping[str, str]] = {
    "zh": {
        "on_start": "已开始",
        "on_success": "已成功",
        "on_failure": "失败",
        "on_approval_required": "等待审批",
        "execution": "执行",
        "approvers": "审批人",
        "error": "错误",
        "recipients": "通知",
        "message": "说明",
    },
    "en": {
        "on_start": "has started",
        "on_success": "succeeded",
        "on_failure": "failed",
        "on_approval_required": "waits for approval",
        "execution": "execution",
        "approvers": "approvers",
        "error": "error",
        "recipients": "for",
        "message": "message",
    },
}
URGENT = ("on_failure", "on_approval_required")
LONGEST = 10_000

Keep = Callable[[Sequence[tuple[str, Message]]], Awaitable[None]]
"""Keeps messages, each for a channel, and returns when they are on the disk; they are sent soon after."""


@dataclass(slots=True)
class _Watched:
    """An execution some of whose nodes tell people: those nodes, and how steps have ended, by alias."""

    execution: Execution
    nodes: Mapping[str, Node]
    steps: dict[str, Step] = field(default_factory=dict)

    def root(self, name: str) -> Json:
        """Return what an expression of a ``message_template`` finds.

        :raises KeyError: for secrets, which are told to nobody.
        """
        if name == "secrets":
            raise KeyError(name)
        if name in ("input", "variables"):
            value: Json = getattr(self.execution, name)
            return value
        if name == "execution":
            return {
                "id": self.execution.id,
                "execution_id": self.execution.execution_id,
                "attempt": self.execution.attempt,
                "workflow_id": self.execution.workflow_id,
                "version": self.execution.version_text,
            }
        if name == "nodes":
            return {step.name: _value(step) for step in self.steps.values()}
        found = self.steps.get(name) or next(
            (each for each in self.steps.values() if each.name == name), None
        )
        return None if found is None else _value(found)


@dataclass(frozen=True, slots=True)
class _StepScope:
    watched: _Watched
    step: Step | None

    def root(self, name: str) -> Json:
        """Return a root's value; ``response`` is that of the step itself."""
        if name != "response":
            return self.watched.root(name)
        response = self.step.response if self.step else None
        return response_value(response if isinstance(response, Mapping) else None)


@dataclass(frozen=True)
class Announcer:
    """An observer of executions; ``channels`` are those that are told where a node names none."""

    keep: Keep
    channels: Sequence[str]
    language: str = "zh"
    _watched: dict[int, _Watched] = field(default_factory=dict, repr=False)

    async def began(self, claim: Claim) -> None:
        """Remember which nodes tell people."""
        document = claim.version.document
        if not any(node.get("notification_config") for node in document.get("nodes") or ()):
            return
        nodes = definition.read(document).nodes
        telling = {node.alias: node for node in nodes if node.options.get("notification_config")}
        steps = {step.alias: step for step in claim.steps if not step.superseded}
        self._watched[claim.execution.id] = _Watched(claim.execution, telling, steps)

    async def progressed(self, execution: Execution, progressed: Progressed) -> None:
        """Notify people of what has been stored."""
        watched = self._watched.get(execution.id)
        if watched is None:
            return
        by_key = {step.key: step for step in progressed.steps}
        watched.steps |= {step.alias: step for step in progressed.steps}
        letters = []
        for event, key, facts in progressed.events:
            occasion = OCCASIONS.get(event)
            step = by_key.get(key)
            node = watched.nodes.get(step.alias) if step else None
            if occasion and step and node and _config(node).get(occasion) is True:
                message = self._message(watched, node, step, occasion, facts)
                letters += [(channel, message) for channel in self._channels(node)]
        if letters:
            await self.keep(letters)

    async def ended(self, execution: Execution) -> None:
        """Forget it."""
        self._watched.pop(execution.id, None)

    def _channels(self, node: Node) -> Sequence[str]:
        named = _config(node).get("channels")
        if isinstance(named, list | tuple) and named:
            return list(dict.fromkeys(map(str, named)))
        return self.channels

    def _message(
        self, watched: _Watched, node: Node, step: Step, occasion: str, facts: Mapping[str, Json]
    ) -> Message:
        words, execution = WORDS[self.language], watched.execution
        subject = one_line(f"[Flowledger] {execution.workflow_name} · {node.name}: {words[occasion]}")
        lines = [subject.removeprefix("[Flowledger] "), f"{words['execution']}: {execution.name}"]
        values = {**facts, "recipients": _config(node).get("recipients")}
        for name in ("approvers", "message", "error", "recipients"):
            if value := values.get(name):
                text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
                lines.append(f"{words[name]}: {text}")
        body = self._own_text(watched, node, step) or "\n".join(lines)
        return Message(
            message_id=f"{execution.execution_id}:{step.key}:{step.generation}:{occasion}",
            subject=subject,
            body=clip(body, LONGEST),
            urgent=occasion in URGENT,
            data={
                "occasion": f"workflow_{occasion}",
                "workflow_id": execution.workflow_id,
                "execution_id": execution.execution_id,
                "step": step.key,
                "node": node.alias,
            },
        )

    def _own_text(self, watched: _Watched, node: Node, step: Step) -> str:
        """Return the node's own text, "" where it has none, or one that cannot be rendered."""
        template = _config(node).get("message_template")
        if not isinstance(template, str) or not template.strip():
            return ""
        try:
            value = templates.compile_template(template).render(_StepScope(watched, step))
            return operators.text_of(value)
        except (UsageError, operators.OperationError) as error:
            logger.warning(
                "{}: message_template of {}: {}", watched.execution.execution_id, node.alias, error
            )
            return ""


def _config(node: Node) -> Mapping[str, Any]:
    config = node.options.get("notification_config")
    return config if isinstance(config, Mapping) else {}


def _value(step: Step) -> Json:
    response = step.response if isinstance(step.response, Mapping) else None
    return node_value(Outcome(step.status, step.output, response, step.error, step.error_type))
