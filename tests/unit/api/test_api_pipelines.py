"""Pipelines over HTTP: steps, groups, approvals, recovery, figures, in the shapes of the old clients."""

from datetime import timedelta
from typing import Any

import pytest
from api_world import World, own_world
from workflow_world import accepted, form, imported, work

from flowledger.domain.access_keys import Role
from flowledger.services.api_keys import create_key

world = pytest.fixture(own_world)

CHAIN = form(
    [
        ("start", "START", {}),
        ("collect", "TRANSFORM", {"template": {"n": "{{input.n}}"}}),
        ("check", "TRANSFORM", {"template": "{{collect.n / input.by}}"}),
        ("end", "END", {"output": "{{check}}"}),
    ],
    ("start", "collect"),
    ("collect", "check"),
    ("check", "end"),
)
"""Fails at check when divided by 0 or a text."""


def approving(*approvers: str, **config: Any) -> dict[str, Any]:
    """A workflow with one approval between its START and END."""
    return form(
        [
            ("start", "START", {}),
            ("ok", "APPROVAL", {"approvers": list(approvers), "message": "发布吗？", **config}),
            ("end", "END", {}),
        ],
        ("start", "ok"),
        ("ok", "end"),
    )


@pytest.fixture
def named(world: World) -> World:
    """A world with a key of each approver."""
    for name in ("ann", "bob", "cat"):
        _, secret = create_key(world.ledger, name, Role.OPERATOR, user="admin", at=world.clock())
        world.headers[name] = {"Authorization": f"Bearer {secret}"}
    world.clock.now += timedelta(minutes=1)  # keys are read anew
    return world


def waiting(world: World, *approvers: str, **config: Any) -> dict[str, Any]:
    """Order an execution that waits for approvers, and give its row."""
    row = accepted(world, imported(world, approving(*approvers, **config)))
    work(world, row["id"])
    return row


def failed(world: World) -> tuple[int, dict[str, Any]]:
    """A pipeline and an execution of it that failed at check."""
    pipeline = imported(world, CHAIN)
    row = accepted(world, pipeline, input_data={"n": 6, "by": "x"})
    work(world, row["id"])
    return pipeline, row


# ---------------------------------------------------------------- steps


def test_a_pipeline_is_made_shown_changed_and_deleted(world: World) -> None:
    """201, 200, 204, 404; with and without a slash at the end."""
    made = world.post("/pipelines/", {"name": "p"}, "admin")
    assert (made.status_code, made.json()["status"]) == (201, "draft")
    number = made.json()["id"]
    assert world.put(f"/pipelines/{number}/", {"description": "d"}).json()["description"] == "d"
    assert world.get(f"/pipelines/{number}").json()["steps"] == []
    assert [each["id"] for each in world.get("/pipelines").json()] == [number]
    assert world.delete(f"/pipelines/{number}/").status_code == 204
    assert world.get(f"/pipelines/{number}/").status_code == 404


def test_the_advanced_config_of_a_step_is_set_and_shown(world: World) -> None:
    """What is given changes, null takes away; the step's serializer shows it."""
    pipeline = imported(world, CHAIN)
    group = world.post("/pipelines/parallel-groups/", {"id": "g", "name": "g", "pipeline": pipeline}, "admin")
    assert group.status_code == 201, group.text
    place = f"/pipelines/{pipeline}/steps/2/advanced-config/"
    answer = world.put(
        place,
        {
            "condition": {"type": "expression", "expression": "{{input.n}} > 1"},
            "parallel_group_id": "g",
            "approval_config": {"required": 1, "approvers": ["ann", "bob"], "timeout_hours": 24},
            "retry_policy": {"max_retries": 3},
        },
    )
    assert (answer.status_code, answer.json().keys()) == (200, {"message", "step_id"})
    shown = world.get(place).json()
    assert shown["approval_config"]["approvers"] == ["ann", "bob"]
    assert (shown["parallel_group_id"], shown["retry_policy"]) == ("g", {"max_retries": 3})
    step = world.get(f"/pipelines/{pipeline}/").json()["steps"][1]
    assert (step["approval_required"], step["approval_users"], step["parallel_group"]) == (
        True,
        ["ann", "bob"],
        "g",
    )
    assert step["dependencies"] == [1]
    world.put(place, {"approval_config": None, "parallel_group_id": None, "condition": None})
    step = world.get(f"/pipelines/{pipeline}/steps/").json()[1]
    assert (step["approval_required"], step["parallel_group"], step["conditions"]) == (False, None, None)
    assert step["retry_policy"] == {"max_retries": 3}


@pytest.mark.parametrize(
    "config",
    [
        {"condition": "{{input."},
        {"condition": {"type": "never"}},
        {"retry_policy": {"max_retries": -1}},
        {"retry_policy": {"speed": 1}},
        {"approval_config": {"approvers": "ann"}},
        {"approval_config": {"by": "ann"}},
        {"notification_config": {"on_moon": True}},
    ],
)
def test_a_wrong_config_of_a_step_is_refused(world: World, config: dict[str, Any]) -> None:
    """422 with the field; nothing changes."""
    pipeline = imported(world, CHAIN)
    place = f"/pipelines/{pipeline}/steps/2/advanced-config"
    before = world.get(place).json()
    assert world.put(place, config).status_code == 422
    assert world.get(place).json() == before


def test_unknown_steps_and_groups_are_404(world: World) -> None:
    """Each with a problem."""
    pipeline = imported(world, CHAIN)
    assert world.put(f"/pipelines/{pipeline}/steps/99/advanced-config", {}).status_code == 404
    place = f"/pipelines/{pipeline}/steps/2/advanced-config"
    assert world.put(place, {"parallel_group_id": "nope"}).status_code == 404
    assert world.put(f"/pipelines/{pipeline}/steps/99/notifications", {}).status_code == 404
    for path in ("/parallel-groups/nope", "/approval-requests/99", "/step-execution-history/99"):
        assert world.get(path).status_code == 404
        assert world.get(f"/pipelines{path}").status_code == 404
    assert world.post("/pipelines/executions/nope/resume", {}).status_code == 404


@pytest.mark.parametrize(
    ("condition", "result"),
    [
        ("{{input.score}} >= 60", True),
        ({"type": "expression", "expression": "{{input.score}} < 60"}, False),
        ([{"field": "input.score", "operator": "equals", "value": 70}], True),
        (None, True),
        ("{{nothing.there}} is null", True),
    ],
)
def test_conditions_are_evaluated_as_in_an_execution(world: World, condition: Any, result: bool) -> None:
    """With the context as the roots."""
    pipeline = imported(world, CHAIN)
    answer = world.post(
        f"/pipelines/{pipeline}/steps/2/evaluate-condition/",
        {"condition": condition, "context": {"input": {"score": 70}}},
        "viewer",
    ).json()
    assert (answer["result"], answer["should_execute"], answer["error"]) == (result, result, None)


def test_a_condition_without_a_value_says_why(world: World) -> None:
    """200: it is the condition's fault, not the request's."""
    pipeline = imported(world, CHAIN)
    place = f"/pipelines/{pipeline}/steps/2/evaluate-condition/"
    answer = world.post(place, {"condition": "{{input.n}} > 'x'", "context": {"input": {"n": 1}}}, "viewer")
    assert (answer.json()["result"], answer.json()["should_execute"]) == (False, False)
    assert answer.json()["error"]


def test_notifications_of_a_step_are_set(world: World) -> None:
    """The answer has what is set."""
    pipeline = imported(world, CHAIN)
    config = {"on_failure": True, "channels": ["mail"], "recipients": ["a@b.example"]}
    answer = world.put(f"/pipelines/{pipeline}/steps/2/notifications/", config)
    assert answer.json() == {"message": answer.json()["message"], "step_id": 2, "config": config}
    assert world.get(f"/pipelines/{pipeline}/steps").json()[1]["notification_config"] == config


# ---------------------------------------------------------------- groups


def test_groups_are_made_listed_changed_and_deleted_in_both_families(world: World) -> None:
    """A plain list; with a pipeline an object with totals."""
    nodes: list[tuple[str, str, dict[str, Any]]] = [
        ("start", "START", {}),
        ("a", "TRANSFORM", {}),
        ("b", "TRANSFORM", {}),
        ("end", "END", {}),
    ]
    wide = form(nodes, ("start", "a"), ("start", "b"), ("a", "end"), ("b", "end"))
    pipeline = imported(world, wide, publish=False)
    body = {
        "id": "group_1",
        "name": "both",
        "pipeline": pipeline,
        "sync_policy": "fail_fast",
        "steps": [2, 3],
    }
    made = world.post("/parallel-groups/", body, "admin")
    assert made.json() == {**body, "description": "", "timeout_seconds": None}
    assert world.post("/pipelines/parallel-groups/", body, "admin").status_code == 409
    assert world.get("/parallel-groups/").json() == [made.json()]
    listed = world.get(f"/pipelines/parallel-groups/?pipeline={pipeline}").json()
    assert listed == {"parallel_groups": [made.json()], "total_groups": 1, "total_steps": 2}
    changed = world.put("/pipelines/parallel-groups/group_1/", {"timeout_seconds": 5, "name": "c"})
    assert (changed.json()["timeout_seconds"], changed.json()["name"]) == (5, "c")
    assert world.get("/parallel-groups/1").json()["id"] == "group_1"
    assert world.delete("/parallel-groups/group_1/").status_code == 204
    assert world.get("/parallel-groups/group_1/").status_code == 404


def test_the_same_id_in_two_pipelines_needs_the_pipeline(world: World) -> None:
    """Ids are unique in their pipeline."""
    first, second = (imported(world, CHAIN, publish=False) for _ in range(2))
    for pipeline in (first, second):
        made = world.post("/parallel-groups", {"id": "g", "name": "g", "pipeline": pipeline}, "admin")
        assert made.status_code == 201
    assert world.get("/parallel-groups/g").status_code == 409
    assert world.get(f"/parallel-groups/g?pipeline={second}").json()["pipeline"] == second


def test_members_that_depend_on_each_other_are_refused(world: World) -> None:
    """422, and no group is there."""
    pipeline = imported(world, CHAIN, publish=False)
    body = {"name": "g", "pipeline": pipeline, "steps": [2, 3]}
    answer = world.post("/parallel-groups", body, "admin")
    assert (answer.status_code, "depends on" in answer.json()["detail"]) == (422, True)
    assert world.get("/parallel-groups").json() == []
    assert world.post("/parallel-groups", {**body, "steps": [99]}, "admin").status_code == 422
    assert world.post("/parallel-groups", {**body, "sync_policy": "all"}, "admin").status_code == 422


# ---------------------------------------------------------------- recovery


def test_recovery_says_from_where_and_resume_goes_on(world: World) -> None:
    """Parameters into the input, from the failed step."""
    _, row = failed(world)
    info = world.get(f"/workflow-executions/{row['id']}/recovery-info/").json()
    assert info["can_recover"]
    assert [each["name"] for each in info["failed_steps"]] == ["check"]
    assert info["execution_progress"] == {
        "total_steps": 4,
        "completed_steps": 2,
        "failed_steps": 1,
        "pending_steps": 1,
    }
    answer = world.post(
        f"/pipelines/executions/{row['execution_id']}/resume/",
        {"step_id": 3, "parameters": {"by": 2}, "modify_parameters": True},
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["resumed_from_step"]) == ("resumed", 3)
    work(world, row["id"])
    assert world.get(f"/executions/{row['id']}").json()["output_data"] == 3
    assert world.post(f"/pipelines/executions/{row['id']}/resume/", {}).status_code == 409


def test_unknown_strategies_and_steps_are_422(world: World) -> None:
    """And the execution stays as it is."""
    _, row = failed(world)
    place = f"/pipelines/executions/{row['id']}/resume"
    assert world.post(place, {"recovery_strategy": "pray"}).status_code == 422
    assert world.post(place, {"recovery_strategy": "restart_from", "step_id": 77}).status_code == 422
    assert world.post(place, {"recovery_strategy": "skip_and_continue", "step_id": 77}).status_code == 404
    assert world.get(f"/executions/{row['id']}").json()["status"] == "failed"


def test_failed_steps_are_skipped(world: World) -> None:
    """skip_failed without a strategy."""
    _, row = failed(world)
    assert world.post(f"/pipelines/executions/{row['id']}/resume", {"skip_failed": True}).status_code == 200
    work(world, row["id"])
    steps = world.get(f"/pipelines/executions/{row['id']}/steps/").json()
    assert [each["status"] for each in steps if each["name"] == "check"] == ["skipped"]


def test_a_step_is_retried_with_its_own_policy(world: World) -> None:
    """The policy holds for this step of this execution, and shows in its row."""
    _, row = failed(world)
    place = f"/pipelines/executions/{row['id']}/steps"
    answer = world.post(f"{place}/3/retry/", {"max_retries": 2, "delay_seconds": 0})
    assert (answer.status_code, answer.json()["status"]) == (200, "retrying")
    assert answer.json()["retry_config"] == {"max_retries": 2, "delay_seconds": 0}
    work(world, row["id"])
    shown = next(each for each in world.get(f"{place}/").json() if each["name"] == "check")
    assert (shown["status"], shown["max_retries"]) == ("failed", 2)
    assert world.post(f"{place}/2/retry", {}).status_code == 409
    assert world.post(f"{place}/77/retry", {}).status_code == 404
    assert world.post(f"/executions/{row['id']}/rerun", None).status_code == 202


def test_steps_that_have_not_begun_are_pending(world: World) -> None:
    """Rows of all nodes."""
    row = accepted(world, imported(world, CHAIN))
    steps = world.get(f"/pipelines/executions/{row['id']}/steps").json()
    assert [each["status"] for each in steps] == ["pending"] * 4


def test_history_has_every_try(world: World) -> None:
    """By execution and step, in both families; one by its number."""
    _, row = failed(world)
    world.post(f"/pipelines/executions/{row['id']}/steps/3/retry/", {})
    work(world, row["id"])
    tries = world.get(f"/step-execution-history/?execution={row['execution_id']}&step=3").json()
    assert [each["generation"] for each in tries] == [1, 2]
    assert all(each["error_message"] for each in tries)
    path = f"/pipelines/step-execution-history/{tries[0]['id']}"
    assert world.get(path).json() == tries[0]
    assert len(world.get("/step-execution-history").json()) > len(tries)


def test_executions_are_listed_with_what_their_steps_gave(world: World) -> None:
    """Filters by pipeline and status."""
    pipeline, row = failed(world)
    listed = world.get(f"/workflow-executions/?pipeline={pipeline}&status=failed").json()
    assert [each["execution_id"] for each in listed] == [row["execution_id"]]
    assert (listed[0]["failed_steps"], listed[0]["recovery_point"]) == ([3], 3)
    assert listed[0]["step_results"]["collect"] == {"n": 6}
    assert world.get(f"/pipelines/workflow-executions/{row['id']}").json() == listed[0]
    assert world.get("/workflow-executions?status=fine").status_code == 422


# ---------------------------------------------------------------- approvals


def test_a_vote_is_the_keys_and_decides(named: World) -> None:
    """Two of three; the step's row shows who."""
    row = waiting(named, "ann", "bob", "cat", required_approvals=2)
    place = f"/pipelines/executions/{row['execution_id']}/steps/2/approve/"
    first = named.post(place, {"approved": True, "comment": "fine"}, "ann")
    assert first.status_code == 200, first.text
    assert {name: first.json()[name] for name in ("step_id", "approved", "approved_by", "success")} == {
        "step_id": 2,
        "approved": True,
        "approved_by": "ann",
        "success": True,
    }
    assert named.post(place, {"approved": True}, "operator").status_code == 403
    assert named.post(place, {"approved": True, "approved_by": "bob"}, "ann").status_code == 422
    assert named.post(place, {"approved": True}, "bob").status_code == 200
    assert named.post(place, {"approved": True}, "cat").status_code == 409
    work(named, row["id"])
    assert named.get(f"/executions/{row['id']}").json()["status"] == "success"
    step = named.get("/pipelines/1/").json()["steps"][1]
    assert (step["approval_status"], step["approved_by"]) == ("approved", "ann, bob")


def test_requests_are_listed_and_answered(named: World) -> None:
    """Not an approver 403, not pending 400; filters by status and pipeline."""
    row = waiting(named, "ann", timeout_hours=24)
    asked = {"execution_id": row["execution_id"], "step": 2}
    request = named.post("/pipelines/approval-requests/", asked)
    assert request.status_code == 201, request.text
    number = request.json()["id"]
    shown = named.get(f"/approval-requests/{number}/").json()
    assert (shown["status"], shown["approvers"], shown["approval_message"]) == (
        "pending",
        ["ann"],
        "发布吗？",
    )
    assert shown["requester_username"] == "operator-key"
    place = f"/approval-requests/{number}/respond/"
    assert named.post(place, {"action": "approve"}, "bob").status_code == 403
    assert named.post(place, {"action": "maybe"}, "ann").status_code == 422
    answer = named.post(place, {"action": "reject", "comment": "no"}, "ann").json()
    assert answer["approval_request"]["status"] == "rejected"
    assert [each["voter"] for each in answer["approval_request"]["votes"]] == ["ann"]
    assert named.post(place, {"action": "approve"}, "ann").status_code == 400
    assert named.post("/approval-requests", asked).status_code == 409
    assert [each["id"] for each in named.get("/approval-requests?status=rejected").json()] == [number]
    assert named.get("/pipelines/approval-requests?status=pending").json() == []
    assert len(named.get(f"/approval-requests?pipeline={shown['pipeline']}").json()) == 1


def test_a_step_that_asks_for_none_has_no_approval(named: World) -> None:
    """404 for the vote and for the request."""
    _, row = failed(named)
    place = f"/pipelines/executions/{row['id']}/steps/2/approve"
    assert named.post(place, {"approved": True}, "ann").status_code == 404
    body = {"execution_id": row["execution_id"], "step": 2}
    assert named.post("/approval-requests", body).status_code == 404


# ---------------------------------------------------------------- figures, mappings, messages


def test_analysis_and_metrics_are_from_the_record(world: World) -> None:
    """Shapes of the old clients, figures of real executions."""
    pipeline, _ = failed(world)
    analysis = world.get(f"/pipelines/{pipeline}/analyze-workflow/").json()
    assert {"from_step": "start", "to_step": "collect", "type": "SEQUENCE"} in analysis["dependencies"]
    assert analysis["critical_path"] == ["start", "collect", "check", "end"]
    metrics = world.get(f"/pipelines/{pipeline}/workflow-metrics/").json()
    assert (metrics["total_steps"], metrics["complexity_score"]) == (4, 4)
    assert metrics["performance_metrics"]["failure_rate"] == 33.33
    assert metrics["historical_data"]["total_executions"] == 1
    assert "check: fails in over 10 % of its runs" in metrics["risk_factors"]


def test_mappings_are_stored(world: World) -> None:
    """The same again is refused; another pipeline's stay."""
    pipeline = imported(world, CHAIN)
    body = {"pipeline": pipeline, "tool": "dify", "external_job_id": "app-1", "auto_sync": True}
    made = world.post("/pipeline-mappings/", body, "admin")
    assert (made.status_code, made.json()["sync_status"]) == (201, "never")
    number = made.json()["id"]
    assert world.post("/pipelines/pipeline-mappings/", body, "admin").status_code == 409
    assert world.post("/pipeline-mappings", {**body, "pipeline": 99}, "admin").status_code == 404
    changed = world.put(f"/pipeline-mappings/{number}", {"external_job_name": "n"})
    assert (changed.json()["external_job_name"], changed.json()["auto_sync"]) == ("n", True)
    assert len(world.get(f"/pipeline-mappings?pipeline={pipeline}&tool=dify").json()) == 1
    assert world.get("/pipeline-mappings?tool=coze").json() == []
    assert world.delete(f"/pipelines/pipeline-mappings/{number}/").status_code == 204
    assert world.get(f"/pipeline-mappings/{number}").status_code == 404
    again = world.post("/pipeline-mappings/", body, "admin")
    assert again.json()["id"] == number + 1


def test_a_test_message_says_that_nothing_is_set_up(world: World) -> None:
    """No channel, no success."""
    answer = world.post("/pipelines/notifications/test/", None)
    assert (answer.status_code, answer.json()["success"]) == (200, False)


def test_other_pipelines_are_out_of_a_keys_reach(named: World) -> None:
    """404 everywhere, and lists without them."""
    row = waiting(named, "ann")
    number = named.get("/approval-requests").json()[0]["id"]
    for path in (
        "/pipelines/1",
        f"/approval-requests/{number}",
        f"/workflow-executions/{row['id']}",
        f"/pipelines/executions/{row['id']}/steps",
        "/parallel-groups?pipeline=1",
        "/step-execution-history/1",
    ):
        assert named.get(path, "scoped").status_code == 404, path
    for path in ("/pipelines", "/approval-requests", "/workflow-executions", "/step-execution-history"):
        assert named.get(path, "scoped").json() == [], path
