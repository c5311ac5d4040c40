"""Notifies people of what happens in executions, as steps' ``notification_config`` wants it.

Messages are stored in the outbox and sent beside: a channel that is down delays nothing and fails no step.
Each occasion has an id of its own, so that what is told twice, after a crash or by two workers, is sent once.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta, tzinfo
from typing import Any

from loguru import logger

from flowledger.domain.mail_addresses import read_mail_address
from flowledger.domain.messages import Notice, Occasion, notice_id
from flowledger.domain.runs import AppKey, Json
from flowledger.domain.texts import mend
from flowledger.domain.workflows import approvals, operators, templates
from flowledger.domain.workflows.definition import Document
from flowledger.domain.workflows.execution_runs import LOCAL
from flowledger.domain.workflows.frames import gated_key
from flowledger.domain.workflows.scope import node_value, response_value
from flowledger.domain.workflows.steps import EventType, Outcome, WaitKind
from flowledger.errors import UsageError
from flowledger.ports import Clock
from flowledger.services.workflows.recovering import live_steps
from flowledger.workflow_ports import (
    Claim,
    Execution,
    Progressed,
    Step,
    Wait,
    WaitQuery,
    WorkflowStore,
)

LOOKED_BACK = timedelta(minutes=15)
"""How long ago an approval was asked for of which a worker that has died may not have told anybody."""
_BATCH = 100
_PLACE = re.compile(r"\{(\w+)\}")
_OCCASIONS: Mapping[EventType, tuple[str, Occasion]] = {
    EventType.STEP_STARTED: ("on_start", Occasion.STEP_STARTED),
    EventType.STEP_SUCCEEDED: ("on_success", Occasion.STEP_SUCCEEDED),
    EventType.STEP_FAILED: ("on_failure", Occasion.STEP_FAILED),
    EventType.APPROVAL_REQUESTED: ("on_approval_required", Occasion.APPROVAL_REQUIRED),
}
"""What is told of which event, and the name that switches it on."""
_SWITCHES: Mapping[Occasion, str] = {occasion: name for name, occasion in _OCCASIONS.values()}

Store = Callable[[Notice, Sequence[str]], object]
"""Stores the messages of a notice for channels, all of them where none is named; sends nothing itself."""


@dataclass(frozen=True, slots=True)
class _Happening:
    """What is to be told of a step; ``generation`` counts how often it was done anew."""

    execution: Execution
    occasion: Occasion
    key: str
    generation: int
    error: str = ""
    wait: Wait | None = None


@dataclass(frozen=True)
class Announcer:
    """An observer of executions; ``link`` returns an approver's link, empty where there is no address."""

    store: WorkflowStore
    keep: Store
    clock: Clock
    language: str = "zh"
    tz: tzinfo | None = None
    link: Callable[[Wait, str], str] = lambda _wait, _approver: ""
    _documents: dict[tuple[int, int], Document] = field(default_factory=dict, repr=False)

    async def began(self, claim: Claim) -> None:
        """Do nothing: nobody is told that an attempt begins."""

    async def progressed(self, execution: Execution, progressed: Progressed) -> None:
        """Notify people of the events that were stored."""
        if any(event in _OCCASIONS for event, _, _ in progressed.events):
            await asyncio.to_thread(self.announce, execution, progressed)

    async def ended(self, execution: Execution) -> None:
        """Do nothing: all has been told."""

    def announce(self, execution: Execution, progressed: Progressed) -> None:
        """Store the messages about events, by the notifications of their steps."""
        for event, key, facts in progressed.events:
            if event not in _OCCASIONS or (event is EventType.STEP_STARTED and facts.get("try_no", 1) != 1):
                continue
            occasion = _OCCASIONS[event][1]
            if self._wanted(execution, key, occasion) is None:
                continue
            if event is EventType.APPROVAL_REQUESTED:
                wait = self._wait(execution, key)
                if wait is not None:
                    self._keep(_Happening(execution, occasion, key, wait.generation, wait=wait))
            else:
                error = str(facts.get("error") or "")
                self._keep(_Happening(execution, occasion, key, _generation(progressed, key), error))

    def catch_up(self) -> None:
        """Notify people of approvals asked for lately, of which a worker that died may have told nobody."""
        since = self.clock() - LOOKED_BACK
        after: int | None = None
        while True:
            query = WaitQuery(WaitKind.APPROVAL, is_open=True)
            page = self.store.newest_waits(query, after=after, limit=_BATCH)
            for wait, execution in page:
                if wait.since < since:
                    return
                occasion = Occasion.APPROVAL_REQUIRED
                if self._wanted(execution, wait.key, occasion) is not None:
                    self._keep(_Happening(execution, occasion, wait.key, wait.generation, wait=wait))
            if len(page) < _BATCH:
                return
            after = page[-1][0].id

    def _wanted(self, execution: Execution, key: str, occasion: Occasion) -> Mapping[str, Any] | None:
        """Return the notifications of a step, None where an occasion is not to be told."""
        config = self._nodes(execution).get(_alias(key), {}).get("notification_config")
        if not isinstance(config, Mapping):
            return None
        return config if config.get(_SWITCHES[occasion]) is True else None

    def _keep(self, happening: _Happening) -> None:
        execution, key, wait = happening.execution, happening.key, happening.wait
        config = self._wanted(execution, key, happening.occasion) or {}
        name = str(self._nodes(execution).get(_alias(key), {}).get("name") or key)
        step: dict[str, Json] = {
            "workflow": execution.workflow_name,
            "execution": execution.name,
            "execution_id": execution.execution_id,
            "name": name,
            "key": key,
            "error": happening.error,
        }
        links: dict[str, str] = {}
        if wait is not None:
            names = approvals.approvers_of(wait.facts)
            step |= {
                "requester": execution.requested_by,
                "approvers": list(names),
                "required": approvals.required_approvals(wait.facts),
                "due": None if wait.due_at is None else wait.due_at.isoformat(),
            }
            links = {each: link for each in names if (link := self.link(wait, each))}
        step["text"] = self._text(execution, config, step, wait)
        at = self.clock()
        parts = (execution.execution_id, key, str(happening.generation))
        notice = Notice(
            notice_id=notice_id(happening.occasion, *parts),
            occasion=happening.occasion,
            task=name,
            at=at.astimezone(self.tz) if self.tz else at,
            language=self.language,
            app=AppKey(LOCAL, str(execution.workflow_id)),
            app_name=execution.workflow_name,
            error=happening.error,
            links=links,
            step=step,
            recipients=_addresses(config.get("recipients")),
        )
        channels = config.get("channels")
        names = channels if isinstance(channels, list | tuple) else ()
        self.keep(notice, list(dict.fromkeys(map(str, names))))

    def _text(
        self, execution: Execution, config: Mapping[str, Any], step: Mapping[str, Json], wait: Wait | None
    ) -> str:
        """Return the text of a step's own template, else what an approval asks."""
        template = config.get("message_template")
        asked = mend(str((wait.facts if wait else {}).get("message") or ""))
        if not isinstance(template, str) or not template.strip():
            return asked
        scope = _Scope(execution, live_steps(self.store.steps(execution.id)), str(step["key"]))
        try:
            rendered = templates.compile_template(template).render(scope)
            text = operators.text_of(rendered)
        except (UsageError, operators.OperationError) as error:
            logger.warning("{}: message_template of {}: {}", execution.execution_id, step["key"], error)
            return asked
        places = {**step, "pipeline": step["workflow"], "step": step["name"]}
        return mend(_PLACE.sub(lambda place: _shown(places.get(place[1], place[0])), text))

    def _wait(self, execution: Execution, key: str) -> Wait | None:
        waits = self.store.waits(execution.id, open_only=True, kind=WaitKind.APPROVAL)
        return next((wait for wait in reversed(waits) if wait.key == key), None)

    def _nodes(self, execution: Execution) -> Mapping[str, Mapping[str, Any]]:
        """Return the nodes of the version that is executed, by alias; few versions are kept at a time."""
        place = (execution.workflow_id, execution.version)
        if place not in self._documents:
            if len(self._documents) >= _BATCH:
                self._documents.clear()
            version = self.store.version(*place)
            self._documents[place] = version.document if version else {}
        return {node["alias"]: node for node in self._documents[place].get("nodes") or ()}


@dataclass(frozen=True, slots=True)
class _Scope:
    """What templates of messages may use of an execution, when something happened to the step ``key``."""

    execution: Execution
    steps: Sequence[Step]
    key: str

    def root(self, name: str) -> Json:
        """Return a root's value.

        :raises KeyError: for secrets, which are told to nobody.
        """
        if name == "secrets":
            raise KeyError(name)
        if name in ("input", "variables"):
            value: Json = getattr(self.execution, name)
            return value
        if name == "execution":
            fields = ("id", "execution_id", "attempt", "workflow_id")
            return {
                **{each: getattr(self.execution, each) for each in fields},
                "version": self.execution.version_text,
            }
        if name == "response":
            own = next((step for step in self.steps if step.key == self.key), None)
            return response_value(_response(own) if own else None)
        if name == "nodes":
            return {step.name: _value(step) for step in self.steps}
        found = [step for step in self.steps if name in (step.alias, step.name)]
        return _value(found[-1]) if found else None


def _value(step: Step) -> Json:
    return node_value(Outcome(step.status, step.output, _response(step), step.error, step.error_type))


def _response(step: Step) -> Mapping[str, Json] | None:
    return step.response if isinstance(step.response, Mapping) else None


def _alias(key: str) -> str:
    return gated_key(key).rpartition("/")[2]


def _generation(progressed: Progressed, key: str) -> int:
    return max((step.generation for step in progressed.steps if step.key == key), default=1)


def _addresses(recipients: Json) -> tuple[str, ...]:
    if not isinstance(recipients, list | tuple):
        return ()
    return tuple(str(each) for each in recipients if _is_address(str(each)))


def _is_address(text: str) -> bool:
    """Return whether mail can go to somebody: others are names, which a channel mentions by itself."""
    try:
        read_mail_address(text)
    except ValueError:
        return False
    return True


def _shown(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
