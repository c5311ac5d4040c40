"""Whether a failed step is tried again, and when: pure decisions, taken in one place."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from flowledger.domain.runs import Json
from flowledger.domain.workflows.definition import Node
from flowledger.domain.workflows.steps import ErrorType, Outcome, StepStatus
from flowledger.errors import UsageError

MOST_RETRIES = 100
LONGEST_DELAY_S = 86_400.0
STEP_RETRIES = "step_retries"
STRATEGIES = ("fixed", "linear", "exponential")
_NEVER = (
    *(ErrorType.VALIDATION, ErrorType.EXPRESSION),
    *(ErrorType.APPROVAL_REJECTED, ErrorType.CANCELLED),
)
_REPEATABLE = (408, 425, 429)
_BEYOND_DOUBLING = 32  # 2**32 seconds are longer than any delay
_CLIENT_ERRORS = range(400, 500)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast a failed step is tried again.

    ``retry_on`` and ``non_retryable`` hold error types (``Timeout``), HTTP statuses (``503``) and classes of
    them (``5xx``); an empty ``retry_on`` is all.  ``max_total_seconds`` counts from the first try's start.
    """

    max_retries: int = 0
    retry_delay_seconds: float = 1.0
    backoff_strategy: str = "exponential"
    max_delay_seconds: float = 300.0
    jitter: float = 0.0
    retry_on: tuple[str, ...] = ()
    non_retryable: tuple[str, ...] = ()
    max_total_seconds: float | None = None


_DEFAULT = RetryPolicy()


def policy_of(node: Node, workflow_config: Mapping[str, Json], key: str | None = None) -> RetryPolicy:
    """Return the policy of a node: its own, else its config's; ``max_retries`` else from a ``retry_count``.

    The node's ``retry_count`` comes before the workflow's.  What somebody has set for the step ``key`` when
    it was to be retried (``STEP_RETRIES`` of the execution's config) comes before all.

    :raises UsageError: naming the field, when one is not within its bounds.
    """
    place = f"node {node.name}"
    policy = next((each for each in (node.options, node.config) if each.get("retry_policy") is not None), {})
    fields = policy.get("retry_policy", {})
    if not isinstance(fields, Mapping):
        raise UsageError(f"{place}: retry_policy must be an object")
    by_step = workflow_config.get(STEP_RETRIES)
    chosen = by_step.get(key) if isinstance(by_step, Mapping) and key is not None else None
    if isinstance(chosen, Mapping):
        fields = {**fields, **chosen}
    unknown = fields.keys() - RetryPolicy.__dataclass_fields__.keys()
    if unknown:
        raise UsageError(
            f"{place}: retry_policy has no {min(map(str, unknown))!r:.80}: "
            f"it has {', '.join(RetryPolicy.__dataclass_fields__)}"
        )
    sources = (
        (fields, "max_retries", place),
        (node.config, "retry_count", place),
        (workflow_config, "retry_count", "the workflow"),
    )
    source, name, whose = next((each for each in sources if each[0].get(each[1]) is not None), sources[0])
    strategy = fields.get("backoff_strategy") or _DEFAULT.backoff_strategy
    if strategy not in STRATEGIES:
        raise UsageError(f"{place}: backoff_strategy must be one of {', '.join(STRATEGIES)}")
    total = _number(fields, "max_total_seconds", -1, 366 * LONGEST_DELAY_S, place)
    return RetryPolicy(
        max_retries=int(_number(source, name, _DEFAULT.max_retries, MOST_RETRIES, whose, is_whole=True)),
        retry_delay_seconds=_number(
            fields, "retry_delay_seconds", _DEFAULT.retry_delay_seconds, LONGEST_DELAY_S, place
        ),
        backoff_strategy=str(strategy),
        max_delay_seconds=_number(
            fields, "max_delay_seconds", _DEFAULT.max_delay_seconds, LONGEST_DELAY_S, place
        ),
        jitter=_number(fields, "jitter", _DEFAULT.jitter, 1, place),
        retry_on=_words(fields, "retry_on", place),
        non_retryable=_words(fields, "non_retryable", place),
        max_total_seconds=None if total < 0 else total,
    )


def next_delay(
    policy: RetryPolicy, outcome: Outcome, *, tries: int, elapsed_s: float, random: float
) -> float | None:
    """Return after how many seconds a step is tried again; None where it is not.

    ``tries`` are those made, ``elapsed_s`` the time since the first began, ``random`` a number from 0 to 1.
    What the server asks for by Retry-After takes the place of the policy's delay.
    """
    if outcome.status is not StepStatus.FAILED or tries > policy.max_retries:
        return None
    if not _is_retriable(policy, outcome):
        return None
    delay = _delay(policy, outcome, tries, random)
    if policy.max_total_seconds is not None and elapsed_s + delay > policy.max_total_seconds:
        return None
    return delay


def _is_retriable(policy: RetryPolicy, outcome: Outcome) -> bool:
    status = outcome.http_status
    if outcome.error_type in _NEVER or (status in _CLIENT_ERRORS and status not in _REPEATABLE):
        return False
    words = {outcome.error_type, *(() if status is None else (str(status), f"{status // 100}xx"))}
    return words.isdisjoint(policy.non_retryable) and (
        not policy.retry_on or not words.isdisjoint(policy.retry_on)
    )


def _delay(policy: RetryPolicy, outcome: Outcome, tries: int, random: float) -> float:
    requested = outcome.retry_after_s
    if requested is not None and math.isfinite(requested):
        return min(max(requested, 0.0), LONGEST_DELAY_S)
    factor = {
        "fixed": 1,
        "linear": tries,
        "exponential": 2.0 ** min(tries - 1, _BEYOND_DOUBLING),
    }[policy.backoff_strategy]
    delay = min(policy.retry_delay_seconds * factor, policy.max_delay_seconds)
    return min(delay * (1 + policy.jitter * (2 * random - 1)), policy.max_delay_seconds)


def _number(
    fields: Mapping[str, Json], name: str, default: float, most: float, place: str, *, is_whole: bool = False
) -> float:
    value = fields.get(name)
    if value is None:
        return default
    is_number = isinstance(value, int) if is_whole else isinstance(value, int | float)
    if (
        isinstance(value, bool)
        or not is_number
        or not isinstance(value, int | float)
        or not 0 <= value <= most
    ):
        raise UsageError(f"{place}: {name} must be a {'whole ' * is_whole}number from 0 to {most:g}")
    return float(value)


def _words(fields: Mapping[str, Json], name: str, place: str) -> tuple[str, ...]:
    value = fields.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(each, str | int) for each in value):
        raise UsageError(f"{place}: {name} must be a list of error types or HTTP statuses")
    return tuple(str(each) for each in value)
