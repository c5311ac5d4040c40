"""Executions, for people and programs: order one, cancel, pause and resume it, let it go on step by step."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import jsonschema

from flowledger.domain.runs import Json, RunStatus
from flowledger.domain.workflows import schemas
from flowledger.domain.workflows.definition import NodeType
from flowledger.domain.workflows.steps import WaitKind
from flowledger.errors import RecordConflictError, RecordNotFoundError, UsageError
from flowledger.ports import Clock
from flowledger.services.workflows.authoring import Authoring
from flowledger.workflow_ports import Execution, Order, Resumption, WorkflowStore, WorkflowVersion

LARGEST_INPUT = 4 * 2**20
LONGEST_NAME = 255
POLL_S = 0.02
CONFIG = ("async", "timeout", "auto_resume", "error_handling", "step_by_step", "debug")
"""What an order may set for its execution."""
RESUMABLE = (RunStatus.FAILED, RunStatus.INTERRUPTED, RunStatus.CANCELLED, RunStatus.PAUSED)


@dataclass(frozen=True, slots=True)
class Ordering:
    """Accepts executions and what people want of them.

    ``wake`` tells a worker in this process that something is due, so that it need not wait for its next look.
    """

    store: WorkflowStore
    authoring: Authoring
    clock: Clock
    wake: Callable[[], None] = lambda: None

    def execute(
        self,
        workflow_id: int,
        *,
        name: str | None = None,
        input_data: Json = None,
        config: Mapping[str, Any] | None = None,
        by: str,
        trigger: str = "api",
        execution_id: str | None = None,
    ) -> Execution:
        """Accept an execution of a workflow; it is on the disk when this returns.

        :raises RecordNotFoundError: when there is no such workflow; InvalidWorkflowError: when its draft
            cannot be executed; RecordConflictError: when it is inactive; UsageError: when the input is wrong.
        """
        version = self.authoring.runnable(workflow_id, by)
        config = _checked_config(config or {})
        input_data = {} if input_data is None else input_data
        check_input(version, input_data)
        at = self.clock()
        title = str(version.document.get("name", ""))
        execution = self.store.accept(
            Order(
                execution_id=execution_id or uuid4().hex,
                workflow_id=workflow_id,
                workflow_name=title,
                version=version.number,
                version_text=version.version,
                name=(name or title)[:LONGEST_NAME],
                input=input_data,
                variables=_variables(version.document.get("config") or {}),
                config={key: value for key, value in config.items() if key != "async"},
                trigger=trigger,
                requested_by=by,
                at=at,
            )
        )
        self.wake()
        return execution

    def wait(self, execution: Execution, seconds: float) -> Execution:
        """Return an execution once it is at rest (ended, or parked), or as it is when the time is over."""
        until = time.monotonic() + seconds
        while True:
            current = self.get(execution.id)
            is_resting = current.status not in (RunStatus.PENDING, RunStatus.RUNNING)
            if is_resting or time.monotonic() >= until:
                return current
            time.sleep(POLL_S)

    def get(self, execution_id: int | str) -> Execution:
        """Return an execution by its number or its id.

        :raises RecordNotFoundError: when there is none.
        """
        is_number = isinstance(execution_id, int) or (execution_id.isascii() and execution_id.isdecimal())
        found = None
        if is_number and len(str(execution_id)) < 19:
            found = self.store.execution(int(execution_id))
        found = found or self.store.execution(str(execution_id))
        if found is None:
            raise RecordNotFoundError(f"there is no execution {execution_id!s:.80}")
        return found

    def cancel(self, execution_id: int | str, by: str) -> Execution:
        """End an execution: what runs is cancelled, within seconds."""
        return self._ask(execution_id, "cancel", by)

    def pause(self, execution_id: int | str, by: str) -> Execution:
        """Let nothing new start; what runs ends, then the execution is paused until it is resumed."""
        return self._ask(execution_id, "pause", by)

    def resume(self, execution_id: int | str, by: str, *, force: bool = False) -> Execution:
        """Let an execution go on: what succeeded stays, what failed, was cancelled or never ran is done.

        :raises RecordConflictError: while it runs, when it has succeeded (unless ``force``), or when somebody
            else was faster.
        """
        execution = self.get(execution_id)
        if execution.status not in RESUMABLE and not (force and not execution.status.is_open):
            raise RecordConflictError(
                f"the execution {execution.execution_id} is {execution.status} and cannot be resumed"
            )
        resumed = self.store.resume(execution.id, Resumption(execution.attempt, by), self.clock())
        self.wake()
        return resumed

    def step(self, execution_id: int | str, by: str) -> Execution:
        """Let one more node of an execution run that is paused step by step.

        :raises RecordConflictError: when it is not.
        """
        execution = self.get(execution_id)
        if not execution.config.get("step_by_step"):
            raise RecordConflictError(
                f"the execution {execution.execution_id} was not started step by step: resume it"
            )
        if execution.status is not RunStatus.PAUSED:
            raise RecordConflictError(f"the execution {execution.execution_id} is {execution.status}")
        return self.resume(execution_id, by)

    def rerun(self, execution_id: int | str, by: str) -> Execution:
        """Start a new execution of the same workflow with the same input."""
        old = self.get(execution_id)
        config = {name: value for name, value in old.config.items() if name in CONFIG}
        return self.execute(
            old.workflow_id, name=old.name, input_data=old.input, config=config, by=by, trigger="rerun"
        )

    def signal(self, execution_id: int | str, key: str, data: Json, by: str) -> bool:
        """Deliver the event that a step waits for; return whether one waited."""
        execution = self.get(execution_id)
        # Only what waits for an event: approvals are for those who are asked.
        waits = self.store.waits(execution.id, open_only=True, kind=WaitKind.EVENT)
        if not any(wait.key == key for wait in waits):
            return False
        done = self.store.resolve(execution.id, key, {"data": data, "by": by}, self.clock(), by=by)
        self.wake()
        return done

    def _ask(self, execution_id: int | str, what: str, by: str) -> Execution:
        execution = self.get(execution_id)
        if not execution.status.is_open:
            raise RecordConflictError(
                f"the execution {execution.execution_id} has ended as {execution.status}: nothing to {what}"
            )
        asked = self.store.ask(execution.id, what, self.clock(), by=by)
        if asked is None:
            raise RecordNotFoundError(f"there is no execution {execution_id!s:.80}")
        self.wake()
        return asked


def check_input(version: WorkflowVersion, input_data: Json) -> None:
    """Refuse an input that the START's ``input_schema`` does not allow, or one that is too large.

    :raises UsageError: with the first place that is wrong.
    """
    try:
        size = len(json.dumps(input_data))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"input_data is no JSON: {error}") from None
    if size > LARGEST_INPUT:
        raise UsageError(f"input_data has {size:,} bytes, more than {LARGEST_INPUT:,}")
    for node in version.document.get("nodes") or ():
        schema = (node.get("config") or {}).get("input_schema")
        if node.get("node_type") == NodeType.START and schema:
            try:
                jsonschema.validate(input_data, schemas.json_schema(schema))
            except jsonschema.ValidationError as error:
                raise UsageError(f"input_data{error.json_path[1:]}: {error.message:.300}") from None
            except jsonschema.SchemaError as error:
                raise UsageError(f"the START's input_schema is none: {error.message:.300}") from None


def _checked_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    if unknown := [name for name in config if name not in CONFIG]:
        raise UsageError(f"config: unknown field {unknown[0]!r:.80}; there are {', '.join(CONFIG)}")
    timeout = config.get("timeout")
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 31_536_000
    ):
        raise UsageError("config.timeout must be a number of seconds above 0, at most a year")
    return config


def _variables(config: Mapping[str, Any]) -> Mapping[str, Json]:
    variables = config.get("variables")
    return variables if isinstance(variables, Mapping) else {}
