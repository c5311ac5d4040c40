"""When a failed step is tried again: policies from a definition, and the delay before each try."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.workflows.definition import Node
from flowledger.domain.workflows.retrying import RetryPolicy, next_delay, policy_of
from flowledger.domain.workflows.steps import Outcome, StepStatus
from flowledger.errors import UsageError


def node(config: dict[str, Any] | None = None, **options: Any) -> Node:
    """Return a call with this config and these options."""
    return Node(id=1, alias="get", name="Get", node_type="API_CALL", config=config or {}, options=options)


def failed(
    error_type: str = "HTTPError", status: int | None = 503, retry_after_s: float | None = None
) -> Outcome:
    """Return the outcome of a failed try."""
    return Outcome(
        StepStatus.FAILED, error="x", error_type=error_type, http_status=status, retry_after_s=retry_after_s
    )


def delays(policy: RetryPolicy, outcome: Outcome | None = None, random: float = 0.5) -> list[float]:
    """Return the delays before each further try, until there is none."""
    result: list[float] = []
    while len(result) < 200:
        delay = next_delay(
            policy, outcome or failed(), tries=len(result) + 1, elapsed_s=sum(result), random=random
        )
        if delay is None:
            break
        result.append(delay)
    return result


@pytest.mark.parametrize(
    ("step", "workflow_config", "retries"),
    [
        (node(), {}, 0),
        (node(), {"retry_count": 3}, 3),
        (node({"retry_count": 2}), {"retry_count": 3}, 2),
        (node({"retry_count": 0}), {"retry_count": 3}, 0),
        (node({"retry_count": 2, "retry_policy": {"max_retries": 4}}), {}, 4),
        (node({"retry_policy": {"max_retries": 4}}, retry_policy={"max_retries": 5}), {}, 5),
        (node({"retry_count": 2}, retry_policy={"retry_delay_seconds": 9}), {}, 2),
        (node({"retry_policy": {"max_retries": 4}}, retry_policy={}), {"retry_count": 1}, 1),
    ],
)
def test_where_the_number_of_retries_comes_from(
    step: Node, workflow_config: dict[str, Any], retries: int
) -> None:
    """The node's policy comes before its config's, a policy before a retry_count, the node before all."""
    assert policy_of(step, workflow_config).max_retries == retries


def test_all_fields_of_a_policy() -> None:
    """A policy that names everything is read as it is."""
    fields = {
        **{"max_retries": 3, "retry_delay_seconds": 2, "backoff_strategy": "linear", "max_delay_seconds": 5},
        **{"jitter": 0.5, "retry_on": ["Timeout", 503], "non_retryable": ["5xx"], "max_total_seconds": 60},
    }
    expected = RetryPolicy(3, 2.0, "linear", 5.0, 0.5, ("Timeout", "503"), ("5xx",), 60.0)
    assert policy_of(node(retry_policy=fields), {}) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "node Get: retry_policy must be an object"),
        ({"retries": 3}, "node Get: retry_policy has no 'retries': it has max_retries"),
        ({"max_retries": -1}, "node Get: max_retries must be a whole number from 0 to 100"),
        ({"max_retries": 101}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"max_retries": True}, "max_retries"),
        ({"max_retries": "3"}, "max_retries"),
        ({"retry_delay_seconds": 1e9}, "retry_delay_seconds must be a number from 0 to 86400"),
        ({"retry_delay_seconds": float("nan")}, "retry_delay_seconds"),
        ({"max_delay_seconds": -1}, "max_delay_seconds"),
        ({"jitter": 1.1}, "jitter must be a number from 0 to 1"),
        ({"backoff_strategy": "random"}, "backoff_strategy must be one of fixed, linear, exponential"),
        ({"backoff_strategy": ["fixed"]}, "backoff_strategy"),
        ({"retry_on": "Timeout"}, "retry_on must be a list"),
        ({"non_retryable": [None]}, "non_retryable must be a list"),
        ({"max_total_seconds": "x"}, "max_total_seconds"),
    ],
)
def test_a_policy_out_of_bounds_is_refused(fields: object, message: str) -> None:
    """Each field has its bounds, and its error names the node."""
    with pytest.raises(UsageError, match=message):
        policy_of(node(retry_policy=fields), {})


def test_a_workflow_out_of_bounds_is_refused() -> None:
    """The error names the workflow, where the number comes from there."""
    with pytest.raises(UsageError, match="the workflow: retry_count must be a whole number"):
        policy_of(node(), {"retry_count": -1})


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("fixed", [2, 2, 2, 2, 2]),
        ("linear", [2, 4, 6, 8, 10]),
        ("exponential", [2, 4, 8, 16, 20]),
    ],
)
def test_backoff(strategy: str, expected: list[float]) -> None:
    """Delays grow as the strategy says, up to the longest."""
    policy = RetryPolicy(5, 2, strategy, max_delay_seconds=20)
    assert delays(policy) == expected


def test_jitter_spreads_a_delay() -> None:
    """The share of jitter makes a delay shorter or longer, never beyond the longest."""
    policy = RetryPolicy(1, 10, "fixed", max_delay_seconds=12, jitter=0.5)
    assert [delays(policy, random=random)[0] for random in (0.0, 0.5, 1.0)] == [5, 10, 12]


def test_retry_after_wins() -> None:
    """What the server asks for takes the delay's place, within a day."""
    policy = RetryPolicy(1, 10, max_delay_seconds=20, jitter=1)
    assert delays(policy, failed(status=429, retry_after_s=1)) == [1]
    assert delays(policy, failed(status=503, retry_after_s=3_600)) == [3_600]
    assert delays(policy, failed(retry_after_s=1e9)) == [86_400]
    assert delays(policy, failed(retry_after_s=-5)) == [0]
    assert delays(policy, failed(retry_after_s=float("nan"))) == [10]


@pytest.mark.parametrize(
    ("outcome", "is_tried_again"),
    [
        (failed(), True),
        (failed("Timeout", None), True),
        (failed("ConnectionError", None), True),
        (failed("SomeError", None), True),
        *((failed(status=status), True) for status in (408, 425, 429, 500, 503, 599)),
        *((failed(status=status), False) for status in (400, 401, 404, 409, 422, 451)),
        (failed("ValidationError", None), False),
        (failed("ExpressionError", None), False),
        (failed("ApprovalRejected", None), False),
        (failed("Cancelled", None), False),
        (Outcome(StepStatus.SUCCESS), False),
        (Outcome(StepStatus.CANCELLED), False),
        (Outcome(StepStatus.SKIPPED), False),
    ],
)
def test_what_is_tried_again(outcome: Outcome, is_tried_again: bool) -> None:
    """Client errors, validation, expressions and rejections would fail again."""
    assert bool(delays(RetryPolicy(1), outcome)) is is_tried_again


def test_retry_on_and_non_retryable() -> None:
    """Both hold error types, statuses and classes of them; what is never repeated cannot be asked for."""
    only = RetryPolicy(1, retry_on=("Timeout", "503", "404"))
    assert [bool(delays(only, each)) for each in (failed(), failed(status=500), failed("Timeout", None))] == [
        *(True, False, True)
    ]
    assert not delays(only, failed(status=404))
    all_but = RetryPolicy(1, non_retryable=("5xx", "Timeout"))
    assert [
        bool(delays(all_but, each)) for each in (failed(), failed("Timeout", None), failed(status=429))
    ] == [*(False, False, True)]
    assert not delays(RetryPolicy(1, retry_on=("HTTPError",), non_retryable=("503",)))


def test_max_total_seconds_ends_the_retries() -> None:
    """No try begins after the time is over."""
    policy = RetryPolicy(10, 2, "exponential", max_total_seconds=15)
    assert delays(policy) == [2, 4, 8]


POLICIES = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 100),
    retry_delay_seconds=st.floats(0, 86_400),
    backoff_strategy=st.sampled_from(["fixed", "linear", "exponential"]),
    max_delay_seconds=st.floats(0, 86_400),
    jitter=st.floats(0, 1),
    max_total_seconds=st.none() | st.floats(0, 1e6),
)


@given(POLICIES, st.floats(0, 1), st.none() | st.floats())
def test_delays_are_bounded_in_number_and_length(
    policy: RetryPolicy, random: float, after: float | None
) -> None:
    """There are at most as many tries as allowed, and no delay is negative or beyond its bound."""
    result = delays(policy, failed(retry_after_s=after), random)
    assert len(result) <= policy.max_retries
    assert all(0 <= delay <= 86_400 for delay in result)
    if policy.max_total_seconds is not None:
        assert sum(result) <= policy.max_total_seconds
