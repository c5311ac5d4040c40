"""Recovery: how an execution that failed, was interrupted or cancelled goes on, and from where."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flowledger.domain.runs import Json
from flowledger.domain.workflows import definition, recovery, retrying
from flowledger.domain.workflows.definition import Node
from flowledger.domain.workflows.graph import compile_workflow
from flowledger.domain.workflows.steps import StepStatus
from flowledger.errors import RecordConflictError, RecordNotFoundError, UsageError
from flowledger.ports import Clock
from flowledger.services.workflows.ordering import RESUMABLE, Ordering
from flowledger.workflow_ports import Execution, Resumption, Step, WorkflowStore, WorkflowVersion

STRATEGIES = ("continue", "restart_from", "skip_and_continue")


@dataclass(frozen=True, slots=True)
class Wish:
    """How somebody wants an execution to go on.

    ``parameters`` become variables, or input with ``modify_parameters``; ``output`` is that of skipped steps;
    ``force`` resumes one that has succeeded, ``force_retry`` gives each step its retries anew; ``timeout_s``
    is the execution's time from now on.
    """

    strategy: str = "continue"
    step: int | str | None = None
    parameters: Mapping[str, Json] | None = None
    modify_parameters: bool = False
    output: Json = None
    force: bool = False
    force_retry: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Recovering:
    """Resumes executions by the record of their steps."""

    store: WorkflowStore
    ordering: Ordering
    clock: Clock

    def resume(self, execution_id: int | str, wish: Wish, by: str) -> Execution:
        """Let an execution go on as somebody wants it.

        :raises UsageError: for an unknown strategy or step; RecordConflictError: when it runs, has succeeded
            (without ``force``), the step cannot be restarted from, or somebody else was faster.
        """
        if wish.strategy not in STRATEGIES:
            raise UsageError(f"unknown strategy {wish.strategy!r:.80}: one of {', '.join(STRATEGIES)}")
        execution = self.ordering.get(execution_id)
        _check_resumable(execution, force=wish.force)
        steps = self.store.steps(execution.id)
        superseded: Sequence[str] = ()
        by_hand: Sequence[Step] = ()
        if wish.strategy == "restart_from":
            superseded = self._restarted(execution, steps, wish.step)
        elif wish.strategy == "skip_and_continue":
            failed = [step for step in live_steps(steps) if step.status is StepStatus.FAILED]
            if wish.step is not None:
                self._failed(execution, wish.step)  # or nothing would be skipped, without a word
                failed = [step for step in failed if self._is_meant(execution, step, wish.step)]
            by_hand = [self._skipped(step, wish.output) for step in failed]
        if wish.force_retry:
            failed_keys = [step.key for step in live_steps(steps) if step.status is StepStatus.FAILED]
            superseded = [*superseded, *(key for key in failed_keys if key not in superseded)]
        config = None if wish.timeout_s is None else {**execution.config, "timeout": wish.timeout_s}
        return self._resume(execution, wish, by, superseded, by_hand, config)

    def skip(self, execution_id: int | str, step: int | str, by: str, output: Json = None) -> Execution:
        """Let an execution go on as if a failed step had given an output."""
        execution = self.ordering.get(execution_id)
        _check_resumable(execution)
        self._failed(execution, step)
        return self.resume(execution_id, Wish("skip_and_continue", step=step, output=output), by)

    def retry(
        self,
        execution_id: int | str,
        step: int | str,
        by: str,
        policy: Mapping[str, Json] | None = None,
    ) -> Execution:
        """Try one failed step again, with its retries anew; what it leads to follows.

        ``policy`` holds fields of a retry policy that take the place of the step's own, in this execution.

        :raises UsageError: when a field of the policy is wrong; RecordNotFoundError: when there is no such
            step; RecordConflictError: when it has not failed, or the execution cannot be resumed.
        """
        execution = self.ordering.get(execution_id)
        _check_resumable(execution)
        failed = self._failed(execution, step)
        config = None
        if policy:
            chosen = execution.config.get(retrying.STEP_RETRIES)
            kept = chosen if isinstance(chosen, Mapping) else {}
            config = {**execution.config, retrying.STEP_RETRIES: {**kept, failed.key: dict(policy)}}
            workflow = definition.read(self._version(execution).document)
            node = next(each for each in workflow.nodes if each.alias == failed.alias)
            retrying.policy_of(node, config, failed.key)
        return self._resume(execution, Wish(), by, [failed.key], (), config)

    def info(self, execution_id: int | str) -> dict[str, Any]:
        """Return what failed, from where an execution can go on, and how far it is."""
        execution = self.ordering.get(execution_id)
        version = self._version(execution)
        steps = live_steps(self.store.steps(execution.id))
        failed = [step for step in steps if step.status is StepStatus.FAILED]
        done = [step for step in steps if step.status is StepStatus.SUCCESS]
        workflow = definition.read(version.document)
        config = {**workflow.config, **execution.config}
        total = len(workflow.nodes)
        nodes = {node.alias: node for node in workflow.nodes}
        points = [
            {
                "step_id": step.node_id,
                "step_name": step.name,
                "description": (nodes[step.alias].description if step.alias in nodes else "")
                or step.node_type,
                "recommended": step in failed,
            }
            for step in (*failed, *done)
        ]
        return {
            "failed_steps": [
                {
                    "id": step.node_id,
                    "name": step.name,
                    "error": step.error,
                    "failed_at": None if step.completed_at is None else step.completed_at.isoformat(),
                    "retry_count": step.try_no - 1,
                    "max_retries": max_retries(nodes.get(step.alias), config, step.key),
                }
                for step in failed
            ],
            "recovery_points": points,
            "can_recover": execution.status in RESUMABLE,
            "last_successful_step": done[-1].name if done else None,
            "execution_progress": {
                "total_steps": total,
                "completed_steps": len({step.alias for step in done}),
                "failed_steps": len({step.alias for step in failed}),
                "pending_steps": max(total - len({step.alias for step in (*done, *failed)}), 0),
            },
        }

    # ---------------------------------------------------------------- the rest

    def _resume(
        self,
        execution: Execution,
        wish: Wish,
        by: str,
        superseded: Sequence[str],
        by_hand: Sequence[Step],
        config: Mapping[str, Json] | None = None,
    ) -> Execution:
        variables: Mapping[str, Json] | None = None
        input_data: Json = None
        if wish.parameters and wish.modify_parameters:
            old = execution.input if isinstance(execution.input, Mapping) else {}
            input_data = {**old, **wish.parameters}
        elif wish.parameters:
            variables = {**execution.variables, **wish.parameters}
        resumption = Resumption(
            execution.attempt, by, tuple(superseded), variables, input_data, tuple(by_hand), config
        )
        resumed = self.store.resume(execution.id, resumption, self.clock())
        self.ordering.wake()
        return resumed

    def _restarted(
        self, execution: Execution, steps: Sequence[Step], place: int | str | None
    ) -> Sequence[str]:
        """Return the keys of a step and of all that follows it.

        :raises UsageError: without a known step; RecordConflictError: when it was skipped or still runs.
        """
        if place is None:
            raise UsageError("restart_from needs the step to restart from")
        version = self._version(execution)
        meant = [step for step in live_steps(steps) if self._is_meant(execution, step, place)]
        if not meant:
            raise UsageError(f"the execution {execution.execution_id} has no step {place!s:.80}")
        if any(step.status in (StepStatus.SKIPPED, StepStatus.RUNNING) for step in meant):
            raise RecordConflictError(
                f"the step {place!s:.80} is {meant[-1].status}: it cannot be restarted from"
            )
        recorded = [step.key for step in live_steps(steps)]
        # Of several passes the first one: all that follow it are done anew.
        return sorted(
            recovery.replaced(compile_workflow(definition.read(version.document)), meant[0].key, recorded)
        )

    def _failed(self, execution: Execution, place: int | str) -> Step:
        for step in reversed(live_steps(self.store.steps(execution.id))):
            if self._is_meant(execution, step, place):
                if step.status is not StepStatus.FAILED:
                    raise RecordConflictError(f"the step {place!s:.80} is {step.status}, not failed")
                return step
        raise RecordNotFoundError(f"the execution {execution.execution_id} has no step {place!s:.80}")

    def _is_meant(self, _execution: Execution, step: Step, place: int | str) -> bool:
        return str(place) in (step.key, step.alias, step.name, str(step.node_id))

    def _skipped(self, step: Step, output: Json) -> Step:
        return replace(
            step,
            status=StepStatus.SKIPPED,
            output=output,
            try_no=step.try_no + 1,
            error=None,
            error_type=None,
            manual=True,
            completed_at=self.clock(),
        )

    def _version(self, execution: Execution) -> WorkflowVersion:
        version = self.store.version(execution.workflow_id, execution.version)
        if version is None:
            raise RecordNotFoundError(f"the version of {execution.execution_id} is gone")
        return version


def _check_resumable(execution: Execution, *, force: bool = False) -> None:
    if execution.status not in RESUMABLE and not (force and not execution.status.is_open):
        raise RecordConflictError(
            f"the execution {execution.execution_id} is {execution.status} and cannot be resumed"
        )


def live_steps(steps: Iterable[Step]) -> list[Step]:
    """Return the last try of each step that no later generation has replaced, in settle order."""
    last: dict[str, Step] = {}
    for step in steps:
        if not step.superseded:
            last.pop(step.key, None)
            last[step.key] = step
    return list(last.values())


def max_retries(node: Node | None, config: Mapping[str, Json], key: str | None = None) -> int:
    """Return how often a node is tried again; 0 where its policy is none."""
    if node is None:
        return 0
    try:
        return retrying.policy_of(node, config, key).max_retries
    except UsageError:
        return 0
