"""From apps and schedules to deployments, and to what has to change."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.runs import AppKey
from flowledger.services.deploy import (
    WORKFLOW,
    Act,
    Deployment,
    Entry,
    Registered,
    Target,
    changes,
    chosen,
    deployments_of,
    slug,
)

SALES = Target(AppKey("dify", "a-1"), "sales", "Asia/Shanghai")
HELP = Target(AppKey("dify", "a-2"), "客服", "America/New_York", tags=("vip",), work_queue="night")
ENTRIES = {
    "daily_report": Entry(
        "daily_report", "daily-workflow-report", "report", "0 2 * * *", "yesterday", ("daily",)
    ),
    "cleanup": Entry("cleanup", "cleanup-storage", "cleanup", "30 4 * * *", "yesterday"),
}


def planned(*targets: Target) -> dict[str, Deployment]:
    """Plan without problems, by name."""
    deployments, problems = deployments_of(targets, ENTRIES)
    assert problems == []
    return {each.name: each for each in deployments}


def test_the_only_app_has_the_bare_names() -> None:
    """Callers rely on them."""
    assert list(planned(SALES)) == ["daily-workflow-report", "cleanup-storage"]


def test_several_apps_have_their_own() -> None:
    """Each name ends with its app's; a name that is no slug keeps a mark of its own."""
    names = list(planned(SALES, HELP))
    assert names[:2] == ["daily-workflow-report-sales", "cleanup-storage-sales"]
    assert names[2:] == [f"daily-workflow-report-{slug('客服')}", f"cleanup-storage-{slug('客服')}"]


def test_a_deployment_is_its_apps_own() -> None:
    """Zone, queue, tags and parameters come from app and entry, and the tags find it again."""
    deployment = planned(SALES, HELP)[f"daily-workflow-report-{slug('客服')}"]
    assert (deployment.timezone, deployment.work_queue) == ("America/New_York", "night")
    assert deployment.tags == ("daily", "vip", "flowledger", "app:a-2", "schedule:daily_report")
    assert deployment.parameters == {"app": "客服", "period": "yesterday"}


def test_a_workflow_is_deployed_once_whatever_apps_there_are() -> None:
    """It belongs to none of them, and none can name it; no watcher of heartbeats knows its mark."""
    night = Entry(
        *("night", "night-orders", WORKFLOW, "0 1 * * *", "yesterday", ("own",)),
        parameters={WORKFLOW: "orders", "input": {"n": 1}},
        timezone="UTC",
    )
    deployments, problems = deployments_of((SALES, HELP), {**ENTRIES, "night": night})
    assert problems == []
    (deployment,) = [each for each in deployments if each.flow == WORKFLOW]
    assert (deployment.name, deployment.timezone, deployment.app_name) == ("night-orders", "UTC", "orders")
    assert deployment.tags == ("own", "flowledger-workflow", "app:workflows", "schedule:night")
    assert deployment.parameters == {WORKFLOW: "orders", "input": {"n": 1}}
    naming = replace(SALES, schedules=("night",))
    assert "'night' is not in config" in deployments_of((naming,), {**ENTRIES, "night": night})[1][0]


def test_a_cleanup_has_no_period() -> None:
    """Its flow takes none."""
    assert planned(SALES)["cleanup-storage"].parameters == {"app": "sales"}


def test_an_app_may_choose_schedules_or_crons() -> None:
    """A list takes them as they are, a mapping gives them another time."""
    assert list(planned(replace(SALES, schedules=("cleanup",)))) == ["cleanup-storage"]
    (deployment,) = planned(replace(SALES, schedules={"cleanup": "0 5 * * *"})).values()
    assert deployment.cron == "0 5 * * *"
    assert planned(replace(SALES, schedules=())) == {}


def test_everything_wrong_is_said_at_once() -> None:
    """An unknown schedule, an unknown status and two deployments of one name."""
    entries = {**ENTRIES, "odd": Entry("odd", "odd", "report", None, "today", parameters={"status": "green"})}
    entries["odd_x"] = Entry("odd_x", "odd-x", "report", None, "today")
    other = Target(AppKey("dify", "a-3"), "x-sales", "UTC")
    _, problems = deployments_of([replace(SALES, schedules=("nightly", "odd_x")), other], entries)
    assert any("schedules of sales: 'nightly' is not in config/deployments.yaml" in line for line in problems)
    assert any("unknown status 'green'" in line for line in problems)
    assert any("two deployments would be called 'odd-x-sales'" in line for line in problems)


def test_two_apps_of_one_name_are_not_said_once_for_each_schedule() -> None:
    """The settings have said it, and it is the only thing to mend."""
    twin = Target(AppKey("dify", "a-3"), "sales", "UTC")
    assert deployments_of([SALES, twin], ENTRIES)[1] == []


@given(st.lists(st.text(min_size=1, max_size=100), unique=True, min_size=2, max_size=5))
def test_different_names_have_different_slugs(names: list[str]) -> None:
    """Whatever an app is called, a name of Prefect's comes of it, and no other app's."""
    slugs = {slug(name) for name in names}
    assert len(slugs) == len(names)
    assert all(part and set(part) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for part in slugs)


def test_a_part_can_be_chosen() -> None:
    """By app, by schedule, or both."""
    deployments, _ = deployments_of([SALES, HELP], ENTRIES)
    found = chosen(deployments, app=SALES.app, only=["cleanup"])
    assert [(each.app_name, each.key) for each in found] == [("sales", "cleanup")]
    assert len(chosen(deployments, app=None, only=[])) == 4


def wanted() -> dict[tuple[str, str], tuple[Deployment, dict[str, int]]]:
    """Give one wanted deployment with its content."""
    deployment = planned(SALES)["daily-workflow-report"]
    return {deployment.identity: (deployment, {"x": 1})}


def registered(name: str, *, key: str = "daily_report", x: int = 1, paused: bool = False) -> Registered:
    """Give a registered deployment."""
    return Registered(f"id-{name}", name, "report", ("a-1", key), {"x": x}, paused)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], [("daily-workflow-report", Act.CREATE)]),
        ([registered("daily-workflow-report")], [("daily-workflow-report", Act.UNCHANGED)]),
        ([registered("daily-workflow-report", x=2)], [("daily-workflow-report", Act.UPDATE)]),
        (
            [registered("daily-workflow-report-sales")],
            [("daily-workflow-report", Act.CREATE), ("daily-workflow-report-sales", Act.REPLACED)],
        ),
        (
            [registered("daily-workflow-report"), registered("monthly", key="monthly")],
            [("daily-workflow-report", Act.UNCHANGED), ("monthly", Act.LEFTOVER)],
        ),
    ],
)
def test_what_has_to_change(found: list[Registered], expected: list[tuple[str, Act]]) -> None:
    """Removals come last, and what nothing configures is only named."""
    assert [(each.name, each.act) for each in changes(wanted(), found, prune=False)] == expected


def test_pruning_removes_what_nothing_configures() -> None:
    """Only when asked."""
    found = [registered("monthly", key="monthly")]
    assert [each.act for each in changes(wanted(), found, prune=True)] == [Act.CREATE, Act.REMOVE]


def test_a_renamed_one_knows_what_it_replaces() -> None:
    """A schedule that was switched off stays off under the new name."""
    created, _ = changes(wanted(), [registered("old", paused=True)], prune=False)
    assert created.registered is not None
    assert created.registered.paused
