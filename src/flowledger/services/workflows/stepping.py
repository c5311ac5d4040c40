"""Executes one step: render its config, call the handler within its time, try again as its policy says."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from flowledger.domain.redaction import MARK
from flowledger.domain.runs import Json
from flowledger.domain.workflows import retrying, templates
from flowledger.domain.workflows.definition import Node, NodeType
from flowledger.domain.workflows.steps import (
    ErrorType,
    EventType,
    ExecutionFacts,
    Outcome,
    RunStep,
    StepStatus,
)
from flowledger.errors import ExpressionError, UsageError
from flowledger.services.secret_masking import redacted_value
from flowledger.services.workflows.engine import Engine
from flowledger.workflow_ports import NodeAnswer, NodeCall, NodeHandler, Step, UnknownHandlerError

NOT_RENDERED = ("output_mapping", "retry_policy", "retry_count", "timeout", "input_schema", "condition")
"""Parts of a config that are no templates for the handler."""
SECRET_PARTS = ("headers", "body", "auth")
"""Parts of a config in which ``secrets`` may be used."""
CALL_TIMEOUT_S = 30.0
"""Of an API_CALL that has no timeout of its own."""
LARGEST_OUTPUT = 8 * 2**20
LONGEST_ERROR = 4_000
MOST = 1e300
"""Of a metric."""

Events = Sequence[tuple[EventType, str, Mapping[str, Json]]]
Record = Callable[[Sequence[Step], Events], None]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a step ended, and the row of its last try."""

    outcome: Outcome
    step: Step


@dataclass(frozen=True, slots=True)
class StepRunner:
    """Runs one step of one execution.

    ``tries`` were made in earlier attempts.  ``record`` is told of each try as it begins, and of how it ended
    where another follows; the end of the last one is the caller's to store, with what it leads to.
    """

    engine: Engine
    step: RunStep
    node: Node
    scope: Any
    generation: int
    tries: int
    execution: ExecutionFacts
    workflow_config: Mapping[str, Json]
    input: Json
    record: Record

    async def run(self) -> Finished:
        """Return how the step ended, after as many tries as its policy allows."""
        if self.step.delay_s:
            await asyncio.sleep(self.step.delay_s)
        try_no = self.tries + 1
        try:
            policy = retrying.policy_of(self.node, self.workflow_config, self.step.key)
        except UsageError as error:
            return self._finished(try_no, _failed(ErrorType.VALIDATION, str(error)), self.engine.clock())
        began = time.monotonic()
        while True:
            finished = await self._try(try_no)
            delay = retrying.next_delay(
                policy,
                finished.outcome,
                tries=try_no - self.tries,
                elapsed_s=time.monotonic() - began,
                random=self.engine.random(),
            )
            if delay is None:
                return finished
            facts = {"try_no": try_no, "delay_s": delay, "error": finished.outcome.error}
            self.record([finished.step], [(EventType.STEP_RETRYING, self.step.key, facts)])
            await asyncio.sleep(delay)
            try_no += 1

    async def _try(self, try_no: int) -> Finished:
        started = self.engine.clock()
        try:
            whole = await self.engine.complete(self.node.node_type, self.node.config)
            config, shown, secrets = self._rendered(whole)
            handler = self.engine.handler(self.node.node_type)
        except (UsageError, UnknownHandlerError) as error:
            outcome = _failed(_type_of(error), str(error))
            return self._finished(try_no, outcome, started)
        running = self._row(try_no, StepStatus.RUNNING, started)
        self.record(
            [replace(running, input=shown)], [(EventType.STEP_STARTED, self.step.key, {"try_no": try_no})]
        )
        timeout_s = self._timeout_s(config)
        call = NodeCall(
            key=self.step.key,
            alias=self.node.alias,
            name=self.node.name,
            node_type=self.node.node_type,
            config=config,
            execution=self.execution,
            idempotency_key=f"{self.execution.execution_id}:{self.step.key}:{self.generation}",
            input=self.input,
            previous=_plain(self.scope.root("previous_step")),
            deadline_s=timeout_s,
        )
        began = time.monotonic()
        answer = await _answer(handler, call)
        answer = replace(answer, seconds=answer.seconds or time.monotonic() - began)
        return self._finished(try_no, self._outcome(answer, secrets), started, shown, answer)

    def _rendered(self, whole: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Json], Sequence[str]]:
        """Return the config for the handler, as records show it, and the secrets that are in it.

        :raises UsageError: when an expression has no value, or uses a secret where none may be.
        """
        config: dict[str, Json] = {}
        shown: dict[str, Json] = {}
        used: dict[str, str] = {}
        for name, value in whole.items():
            if name in NOT_RENDERED:
                config[name] = value
                continue
            template = templates.compile_template(value)
            if "secrets" not in template.roots:
                config[name] = shown[name] = _plain(template.render(self.scope))
                continue
            if name not in SECRET_PARTS:
                raise ExpressionError(f"{name}: secrets may be used in {', '.join(SECRET_PARTS)} only")
            values = {path[1]: self._secret(path[1]) for path in _secret_paths(template)}
            used |= values
            config[name] = _plain(template.render(_SecretScope(self.scope, values)))
            shown[name] = _plain(template.render(_SecretScope(self.scope, dict.fromkeys(values, MARK))))
        if "headers" in shown:
            shown["headers"] = redacted_value(shown["headers"])
        return config, shown, list(used.values())

    def _secret(self, name: str) -> str:
        secret = self.engine.secrets.get(name)
        if secret is None:
            raise ExpressionError(f"there is no secret {name!r:.80}: add it to WORKFLOW_SECRETS")
        return secret.get_secret_value()

    def _timeout_s(self, config: Mapping[str, Json]) -> float | None:
        default = CALL_TIMEOUT_S if self.node.node_type == NodeType.API_CALL else None
        for value in (self.node.options.get("timeout"), config.get("timeout")):
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                return float(value)
        return default

    def _outcome(self, answer: NodeAnswer, secrets: Sequence[str]) -> Outcome:
        response: Json = answer.response
        output = answer.output
        if answer.error is None and isinstance(mapping := self.node.config.get("output_mapping"), Mapping):
            try:
                output = templates.mapped(mapping, self.scope.with_response(answer.response))
            except ExpressionError as error:
                answer = replace(answer, error=str(error), error_type=ErrorType.EXPRESSION)
        try:
            output, response = _checked(output, secrets), _checked(response, secrets)
        except UsageError as error:
            return _failed(ErrorType.VALIDATION, str(error))
        failed = answer.error is not None
        return Outcome(
            status=StepStatus.FAILED if failed else StepStatus.SUCCESS,
            output=None if failed else output,
            response=response if isinstance(response, Mapping) else None,
            error=None if answer.error is None else _without(answer.error, secrets)[:LONGEST_ERROR],
            error_type=str(answer.error_type or "Error") if failed else None,
            http_status=answer.http_status,
            retry_after_s=answer.retry_after_s,
        )

    def _finished(
        self,
        try_no: int,
        outcome: Outcome,
        started: datetime,
        shown: Json = None,
        answer: NodeAnswer | None = None,
    ) -> Finished:
        answer = answer or NodeAnswer()
        row = replace(
            self._row(try_no, outcome.status, started),
            input=shown,
            output=outcome.output,
            response=outcome.response,
            error=outcome.error,
            error_type=outcome.error_type,
            completed_at=self.engine.clock(),
            seconds=answer.seconds,
            metrics=_numbers(answer.metrics),
        )
        return Finished(outcome, row)

    def _row(self, try_no: int, status: StepStatus, started: datetime) -> Step:
        return Step(
            key=self.step.key,
            alias=self.node.alias,
            name=self.node.name,
            node_id=self.node.id,
            node_type=self.node.node_type,
            generation=self.generation,
            try_no=try_no,
            status=status,
            started_at=started,
        )


@dataclass(frozen=True, slots=True)
class _SecretScope:
    """A step's scope with the values, or the marks, of the secrets that a template uses."""

    scope: Any
    values: Mapping[str, str]

    def root(self, name: str) -> Json:
        """Return a root's value."""
        value: Json = self.values if name == "secrets" else self.scope.root(name)
        return value


async def _answer(handler: NodeHandler, call: NodeCall) -> NodeAnswer:
    """Return what a handler answers within its time; it is anybody's, so that it may do anything."""
    try:
        async with asyncio.timeout(call.deadline_s) as limit:
            answer: object = await handler.run(call)
    except TimeoutError as error:  # of the step, or one that the handler met with
        text = f"no end within {call.deadline_s:g} s" if limit.expired() else str(error) or "it took too long"
        return NodeAnswer(error=text, error_type=ErrorType.TIMEOUT)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return NodeAnswer(error="the handler cancelled itself", error_type=ErrorType.CANCELLED)
    except (Exception, SystemExit) as error:  # noqa: BLE001  this is how its step ended
        return NodeAnswer(error=str(error) or type(error).__name__, error_type=_type_of(error))
    if isinstance(answer, NodeAnswer):
        return answer
    text = f"the handler returned {type(answer).__name__}, and no NodeAnswer"
    return NodeAnswer(error=text, error_type=ErrorType.VALIDATION)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among a handler's metrics: what else it gives nobody could add up."""
    return {
        str(name): float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and abs(value) < MOST
    }


def _secret_paths(template: templates.Template) -> Sequence[tuple[str, ...]]:
    paths = [path for path in template.references if path[0] == "secrets"]
    if not paths or any(len(path) < 2 for path in paths):
        raise ExpressionError("secrets are used by their names: {{secrets.NAME}}")
    return paths


def _failed(error_type: str, error: str) -> Outcome:
    return Outcome(StepStatus.FAILED, error=error[:LONGEST_ERROR], error_type=error_type)


def _type_of(error: BaseException) -> str:
    if isinstance(error, ExpressionError):
        return ErrorType.EXPRESSION
    if isinstance(error, UsageError | UnknownHandlerError):
        return ErrorType.VALIDATION
    return type(error).__name__


def _checked(value: Json, secrets: Sequence[str]) -> Json:
    """Return a handler's value as JSON that comes back from the ledger just so, without secrets.

    :raises UsageError: when it is none, or too large.
    """
    if value is None or isinstance(value, bool):
        return value
    try:
        text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # integers of more than 64 bits, lone surrogates, or no JSON at all
        try:
            text = json.dumps(value).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the node's output is no JSON: {error}") from None
    if len(text) > LARGEST_OUTPUT:
        raise UsageError(f"the node's output has {len(text):,} bytes, more than {LARGEST_OUTPUT:,}")
    plain = json.loads(text)
    return _masked(plain, secrets) if secrets else plain


def _plain(value: Json) -> Json:
    """Return a rendered value without the classes that expressions look into."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _masked(value: Json, secrets: Sequence[str]) -> Json:
    if isinstance(value, str):
        return _without(value, secrets)
    if isinstance(value, dict):
        return {name: _masked(each, secrets) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, secrets) for each in value]
    return value


def _without(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, MARK)
    return text
