"""Executions with a stub driver: small workflows, and the steps that they take."""

from workflow_driver import bad, definition, drive, http, link, ok

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.definition import Connection
from flowledger.domain.workflows.steps import EventType

FORK: tuple[str, dict[str, object]] = ("PARALLEL", {})


def test_steps_follow_one_another_and_pass_their_outputs_on() -> None:
    """Each call's mapped output is the next one's to use."""
    calls = {
        name: ("API_CALL", {"output_mapping": {"color": "response.data.color"}})
        for name in ("red", "green", "blue")
    }
    made = definition(
        ["start > red > green > blue > end"],
        {**calls, "end": ("END", {"output": ["{{red.color}}", "{{green.color}}", "{{blue.color}}"]})},
    )
    run = drive(made, {name: http(200, {"color": name}) for name in calls})
    assert run.trace == [f"{name}:success" for name in ("start", "red", "green", "blue", "end")]
    assert run.done is not None
    assert (run.done.status, run.done.output) == (RunStatus.SUCCESS, ["red", "green", "blue"])


def test_the_order_of_nodes_is_that_of_connections() -> None:
    """When a node was created does not matter."""
    made = definition(["start > red > green > blue > end"], order=("end", "blue", "green", "red", "start"))
    assert [each.partition(":")[0] for each in drive(made).trace] == ["start", "red", "green", "blue", "end"]


def test_a_condition_on_a_connection_chooses() -> None:
    """The others are skipped, and the end runs."""
    links: list[str | Connection] = [
        *(link("pick", each, f"{{{{pick.color}}}} == '{each}'") for each in ("red", "green", "blue")),
        "start > pick",
        *(f"{each} > end" for each in ("red", "green", "blue")),
    ]
    run = drive(definition(links), {"pick": ok({"color": "red"})})
    assert sorted(run.trace) == sorted(
        ["start:success", "pick:success", "red:success", "green:skipped", "blue:skipped", "end:success"]
    )
    assert run.done is not None
    assert run.done.output == {"red": "red"}


def test_the_default_connection_is_taken_when_no_other_is() -> None:
    """And only then."""
    links: list[str | Connection] = [
        "start > pick",
        link("pick", "red", "{{pick}} == 'red'"),
        link("pick", "other", default=True),
        "red > end",
        "other > end",
    ]
    assert drive(definition(links), {"pick": "blue"}).steps("red", "other") == [
        "red:skipped",
        "other:success",
    ]
    assert drive(definition(links), {"pick": "red"}).steps("red", "other") == ["other:skipped", "red:success"]


def test_a_loop_over_items_has_a_pass_for_each() -> None:
    """In order, with index and item."""
    made = definition(
        ["start > each >l body", "each > end"],
        {"each": ("LOOP", {"items": "{{input.rows}}"}), "end": ("END", {"output": "{{each}}"})},
    )
    seen = []

    def body(key, _tries, drive):  # type: ignore[no-untyped-def]
        loop = drive.planner.scope(key).root("loop")
        seen.append((loop["index"], loop["iteration"], loop["item"], loop["first"], loop["last"]))
        return loop["item"] * 10

    run = drive(made, {"body": body}, input={"rows": [1, 2, 3]})
    assert run.trace == [
        *("start:success", "each/0/body:success", "each/1/body:success", "each/2/body:success"),
        *("each:success", "end:success"),
    ]
    assert seen == [(0, 1, 1, True, False), (1, 2, 2, False, False), (2, 3, 3, False, True)]
    assert run.done is not None
    assert run.done.output == {"iterations": 3, "items": [10, 20, 30], "errors": [], "reached_max": False}
    assert [note.key for note in run.notes] == ["each/0", "each/1", "each/2"]


def test_wait_any_returns_at_the_first_success_and_cancels_the_others() -> None:
    """The failed one does not win."""
    made = definition(
        ["start > fork >p a > end", "fork >p b > end", "fork >p c > end"],
        {"fork": ("PARALLEL", {"sync_policy": "wait_any"})},
    )
    run = drive(made, {"a": (5, "a"), "b": (2, "b"), "c": (1, bad())})
    assert run.trace == [
        *("start:success", "fork/c/c:failed", "fork/b/b:success", "fork/a/a:cancelled"),
        *("fork:success", "end:success"),
    ]
    assert run.outcome("fork").output == {
        "winner": "b",
        "results": {"a": None, "b": "b", "c": None},
        "statuses": {"a": "cancelled", "b": "success", "c": "failed"},
    }
    assert run.now == 2
    assert run.done is not None
    assert run.done.output == {"b": "b"}
    assert EventType.PARALLEL_JOINED in [note.event for note in run.notes]


def test_a_failure_is_handled_by_its_connection() -> None:
    """The fallback sees the error, and the execution succeeds."""
    made = definition(
        ["start > pet > end", "pet >! fallback > end"],
        {"end": ("END", {"output": "{{pet.error}} {{pet.error_type}} {{pet.response.status}}"})},
    )
    run = drive(made, {"pet": http(404, "no such pet")})
    assert run.trace == ["start:success", "pet:failed", "fallback:success", "end:success"]
    assert run.done is not None
    assert (run.status, run.done.output) == (RunStatus.SUCCESS, "HTTP 404: no such pet HTTPError 404")


def test_a_call_is_repeated_and_its_last_error_stays() -> None:
    """Three tries, with a growing delay."""
    policy = {"max_retries": 2, "retry_delay_seconds": 1, "backoff_strategy": "exponential", "jitter": 0}
    made = definition(["start > call > end"], {"call": ("API_CALL", {}, {"retry_policy": policy})})
    run = drive(made, {"call": http(503, "busy")})
    assert run.trace == ["start:success", *["call:failed"] * 3]
    assert [at for _, at in run.starts] == [0, 1, 3]
    assert run.done is not None
    assert (run.done.status, run.done.error, run.done.error_type) == (
        RunStatus.FAILED,
        "HTTP 503: busy",
        "HTTPError",
    )


def test_the_other_side_of_a_condition_is_skipped_and_the_join_runs_once() -> None:
    """Both sides lead to it."""
    made = definition(
        ["start > check >t yes > join > end", "check >f no > join"],
        {"check": ("CONDITION", {"condition": "{{input.score}} >= 60"})},
    )
    run = drive(made, input={"score": 12})
    assert run.trace == [
        f"{each}"
        for each in (
            "start:success",
            "check:success",
            "yes:skipped",
            "no:success",
            "join:success",
            "end:success",
        )
    ]
    assert run.outcome("check").output is False


def test_a_failure_in_a_branch_that_goes_on_makes_the_execution_partial() -> None:
    """Its next node runs."""
    made = definition(
        ["start > fork >p a > after > end", "fork >p b > end"],
        {"fork": FORK, "a": ("API_CALL", {}, {"continue_on_failure": True})},
    )
    run = drive(made, {"a": bad()})
    assert sorted(run.steps("fork/")) == ["fork/a/a:failed", "fork/a/after:success", "fork/b/b:success"]
    assert (run.status, run.outcome("fork").status) == (RunStatus.PARTIAL, "success")


def test_an_inner_parallel_joins_before_the_outer_one() -> None:
    """Keys are nested as the containers are."""
    made = definition(
        ["start > outer >p inner >p a > mid > join > end", "inner >p b > mid", "outer >p c > join"],
        {"outer": FORK, "inner": FORK},
    )
    run = drive(made, {"c": (9, "c")})
    assert run.trace == [
        *("start:success", "outer/inner/inner/a/a:success", "outer/inner/inner/b/b:success"),
        *("outer/inner/inner:success", "outer/inner/mid:success", "outer/c/c:success", "outer:success"),
        *("join:success", "end:success"),
    ]
    assert run.outcome("outer").output == {
        "results": {"inner": "mid", "c": "c"},
        "statuses": {"inner": "success", "c": "success"},
    }


def test_a_loop_goes_on_as_long_as_its_condition_holds() -> None:
    """The condition sees the last pass's output."""
    made = definition(
        ["start > poll >l ask", "poll > end"],
        {
            "poll": ("LOOP", {"condition": "{{loop.last.state}} != 'done'"}),
            "end": ("END", {"output": "{{ask.state}}"}),
        },
    )
    run = drive(made, {"ask": [ok({"state": "new"}), ok({"state": "busy"}), ok({"state": "done"})]})
    assert run.trace == [
        *("start:success", "poll/0/ask:success", "poll/1/ask:success", "poll/2/ask:success"),
        *("poll:success", "end:success"),
    ]
    assert run.done is not None
    assert run.done.output == "done"


def test_a_loop_that_breaks_has_no_next_pass_and_its_failure_is_handled() -> None:
    """The connection for failures leads on."""
    made = definition(
        ["start > each >l body", "each > end", "each >! alarm > end"],
        {"each": ("LOOP", {"items": [1, 2, 3]})},
    )
    run = drive(made, {"body": [1, bad("no 2")]})
    assert run.trace == [
        *("start:success", "each/0/body:success", "each/1/body:failed", "each:failed"),
        *("alarm:success", "end:success"),
    ]
    assert run.status == RunStatus.SUCCESS
    assert run.outcome("each").error == "pass 1: no 2"
    assert run.outcome("each").output == {
        **{"iterations": 2, "items": [1, None], "reached_max": False},
        "errors": [{"index": 1, "error": "no 2"}],
    }


def test_the_wait_that_an_api_asks_for_is_kept_and_a_bad_request_never_repeated() -> None:
    """429 with Retry-After, and 400."""
    made = definition(["start > call > end"], config={"retry_count": 3})
    run = drive(made, {"call": [http(429, retry_after_s=1.0), http(200)]})
    assert [at for _, at in run.starts] == [0, 1]
    assert run.status == RunStatus.SUCCESS
    assert drive(made, {"call": http(400)}).trace == ["start:success", "call:failed"]


def test_an_end_with_a_message_fails_the_execution() -> None:
    """With that text."""
    made = definition(["start > end"], {"end": ("END", {"error_message": "no {{input.x}}"})})
    run = drive(made, input={"x": "stock"})
    assert run.trace == ["start:success", "end:failed"]
    assert run.done is not None
    assert (run.done.status, run.done.error) == (RunStatus.FAILED, "no stock")
