"""What an attempt takes over from the ones before it: settled steps, tries, waits.  Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowledger.domain.workflows.steps import Outcome, StepStatus
from flowledger.workflow_ports import Claim, Step, Wait


@dataclass(frozen=True, slots=True)
class Past:
    """The record of earlier attempts by key: outcomes in settle order, generations, tries and waits."""

    held: Sequence[tuple[str, Outcome]] = ()
    generations: Mapping[str, int] = field(default_factory=dict)
    tries: Mapping[str, int] = field(default_factory=dict)
    waits: Mapping[str, Wait] = field(default_factory=dict)

    def generation(self, key: str) -> int:
        """Return the generation in which a step runs now."""
        return self.generations.get(key, 1)


def past_of(claim: Claim) -> Past:
    """Return what an attempt takes over.

    What has succeeded stays, and what a person decided; what failed or was cancelled before a person resumed
    the execution runs again.  What ran when a worker died has not settled, and runs again in the same
    generation: under the same idempotency key.
    """
    generations: dict[str, int] = {}
    tries: dict[str, int] = {}
    outcomes: dict[str, Outcome] = {}
    for step in claim.steps:
        # A superseded step gives way to the next generation.
        current = step.generation + 1 if step.superseded else step.generation
        generations[step.key] = max(current, generations.get(step.key, 1))
    for step in claim.steps:
        if step.superseded or step.generation != generations[step.key]:
            continue
        # A parked step is the same try when it is resolved.
        made = step.try_no - 1 if step.status is StepStatus.WAITING else step.try_no
        tries[step.key] = max(made, tries.get(step.key, 0))
        outcomes.pop(step.key, None)
        if _is_held(step, claim.execution.resumed_seq):
            outcomes[step.key] = outcome_of(step)
    waits = {wait.key: wait for wait in claim.waits if wait.generation == generations.get(wait.key, 1)}
    return Past(list(outcomes.items()), generations, tries, waits)


def outcome_of(step: Step) -> Outcome:
    """Return how a stored step ended."""
    response = step.response if isinstance(step.response, Mapping) else None
    return Outcome(step.status, step.output, response, step.error, step.error_type, manual=step.manual)


def _is_held(step: Step, resumed_seq: int) -> bool:
    if not step.status.is_settled:
        return False
    return step.manual or step.status is StepStatus.SUCCESS or step.seq > resumed_seq
