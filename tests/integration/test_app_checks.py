"""Runs are filed under the app that their key opens, or not at all."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from simulated_dify import NOW, PERSON, Access, at, make_day, opened, order, run_all, stored_entries

import flowledger_simulator as simulator
from flowledger.dify.credentials import AdminKey
from flowledger.domain import reasons
from flowledger.domain.certificates import Scope
from flowledger.domain.history import OperationQuery, RunKey
from flowledger.domain.runs import AppKey, Detailed
from flowledger.errors import FatalError, UsageError
from flowledger.ledger import open_ledger
from flowledger.services.history.audit import move_app
from flowledger_simulator import credentials
from flowledger_simulator.world import SimulatedApp

OTHER = SimulatedApp("00000000-0000-4000-8000-00000000eeee", "another app", api_token="app-other")
PLACEHOLDER = "5ac73990-ee17-4aba-993c-a473e2fa2a90"
WRONG_IDS = [OTHER.id, PLACEHOLDER, "my-app", ""]


def world_of_two() -> simulator.World:
    world = make_day(3)
    world.add_app(OTHER)
    return world


@pytest.mark.parametrize("app_id", WRONG_IDS)
@pytest.mark.parametrize("console", [True, False], ids=["console", "key only"])
def test_an_id_that_is_not_the_keys_app_is_refused(tmp_path: Path, app_id: str, console: bool) -> None:
    """Nothing is filed, and the message names the right id and the way to move what was filed before."""
    access = Access(app_id=app_id) if console else Access(app_id=app_id, console=None)
    with (
        simulator.serve(world_of_two(), options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
        pytest.raises(UsageError, match=f"whose id is {credentials.WORKFLOW_APP_ID}, not {app_id}.*move-app"),
    ):
        run_all(pipeline)
    assert stored_entries(tmp_path, app_id) == []


def test_two_apps_of_one_name_are_told_apart_by_the_newest_run(tmp_path: Path) -> None:
    """A copy of an app has its name; its runs name the app they are of."""
    world = world_of_two()
    world.add_app(replace(OTHER, name=world.app.name))
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path, Access(app_id=OTHER.id)) as pipeline,
        pytest.raises(UsageError, match=f"whose id is {credentials.WORKFLOW_APP_ID}"),
    ):
        run_all(pipeline)
    with simulator.serve(world, options=at()) as server, opened(server.base_url, tmp_path) as pipeline:
        assert run_all(pipeline)["detailed"] == 3


@pytest.mark.parametrize("access", [Access(), Access(console=None)], ids=["console", "key only"])
def test_the_check_is_made_once_for_each_key(tmp_path: Path, access: Access) -> None:
    """A later process finds its result in the ledger: an unchanged window still costs one request."""
    with simulator.serve(make_day(3), options=at()) as server:
        with opened(server.base_url, tmp_path, access) as pipeline:
            run_all(pipeline)
        with opened(server.base_url, tmp_path, access) as pipeline:
            sent = pipeline.source.requests
            pipeline.collect(order())
            assert pipeline.source.requests - sent <= 2


@pytest.mark.parametrize("mode", ["completion", "chat", "agent-chat"])
@pytest.mark.parametrize("console", [True, False], ids=["console", "key only"])
def test_an_app_of_a_kind_without_runs_is_refused(tmp_path: Path, mode: str, console: bool) -> None:
    """It would be certified as empty for ever."""
    world = make_day(3)
    world.add_app(replace(OTHER, mode=mode))
    access = Access(token=OTHER.api_token, app_id=OTHER.id)
    if not console:
        access.console = None
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
        pytest.raises(UsageError, match=f"'another app', which is of the kind {mode}.*no workflow runs"),
    ):
        run_all(pipeline)


def test_runs_filed_under_a_wrong_app_can_be_moved(tmp_path: Path) -> None:
    """They are under the right app then, and what could not be read under the wrong one is read."""
    wrong = AppKey("dify", OTHER.id)
    with simulator.serve(make_day(3, mix={"succeeded": 1.0}), options=at()) as server:
        with opened(server.base_url, tmp_path, Access(console=None)) as pipeline:
            run_all(pipeline)
            # As earlier versions left them: an empty list of nodes passed for all of them.
            entries = list(pipeline.ledger.entries(Scope(pipeline.source.app, order().window)))
            pipeline.ledger.save_details(
                [
                    (
                        replace(each.run, app=wrong),
                        Detailed({}, None, (), {"nodes": b'{"data": []}', "detail": b"null"}),
                    )
                    for each in entries
                ]
            )
            pipeline.ledger.delete_runs([RunKey(each.run.app, each.run.run_id) for each in entries])
            moved = move_app(
                pipeline.ledger, wrong, pipeline.source.app, at=NOW, user="operator", runs=len(entries)
            )
            operation = next(iter(pipeline.ledger.operations(OperationQuery(types=("MOVE",)))))
        with opened(server.base_url, tmp_path) as pipeline:
            result = run_all(pipeline)
    assert (moved, operation.data["to"], operation.user) == (
        3,
        f"dify:{credentials.WORKFLOW_APP_ID}",
        "operator",
    )
    assert stored_entries(tmp_path, OTHER.id) == []
    assert (result["logs_count"], result["detailed"], result["missing"]) == (3, 3, 0)


def test_only_apps_of_one_source_can_be_moved() -> None:
    """A record of another program names its workflow itself."""
    with closing(open_ledger("memory://", {})) as ledger:
        for one, other in (("dify:a", "dify:a"), ("dify:a", "coze:b"), ("log:a", "log:b")):
            with pytest.raises(UsageError, match="two apps of one source"):
                move_app(ledger, AppKey(*one.split(":")), AppKey(*other.split(":")), at=NOW, user="", runs=0)


LOOKS_ELSEWHERE = (
    "the console account looks at the workspace Another Workspace, which has no app {}"
    " (its other workspaces: Simulated Workspace): switch it to the app's workspace in Dify"
)


def test_an_account_that_looks_at_another_workspace_is_named_as_the_reason(tmp_path: Path) -> None:
    """Somebody switched in a browser: the id is right, so nobody is sent to change it."""
    with simulator.serve(make_day(3), options=at()) as server, opened(server.base_url, tmp_path) as pipeline:
        server.site.workspace = credentials.OTHER_WORKSPACE_ID
        result = run_all(pipeline)
        with pytest.raises(UsageError, match=r"looks at the workspace Another Workspace") as caught:
            pipeline.source.check_app_id()  # type: ignore[attr-defined]
    ((reason, count),) = result["missing_reasons"].items()
    assert (reason.startswith(LOOKS_ELSEWHERE.format(credentials.WORKFLOW_APP_ID)), count) == (True, 3)
    assert reasons.reason_of(reason).code == "console_elsewhere"
    assert "set DIFY_APP_ID" not in f"{reason} {caught.value}"


def test_a_chatflow_of_another_workspace_says_where_the_account_looks(tmp_path: Path) -> None:
    """Its runs are in the console alone, so nothing can be collected."""
    access = Access(token=credentials.CHATFLOW_API_TOKEN, app_id=credentials.CHATFLOW_APP_ID)
    with (
        simulator.serve(make_day(1, chat_runs=2), options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        server.site.workspace = credentials.OTHER_WORKSPACE_ID
        with pytest.raises(FatalError, match="looks at the workspace Another Workspace"):
            pipeline.collect(order())


def test_an_admin_key_of_another_workspace_names_its_setting(tmp_path: Path) -> None:
    """There the workspace is a setting, and no person's browser has to do with it."""
    access = Access(console=AdminKey(SecretStr(credentials.ADMIN_KEY), credentials.WORKSPACE_ID))
    with (
        simulator.serve(make_day(3), options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        server.site.workspace = credentials.OTHER_WORKSPACE_ID
        result = run_all(pipeline)
    (reason,) = result["missing_reasons"]
    assert reasons.reason_of(reason).code == "admin_key_elsewhere"


def switching(workspace_id: str) -> Access:
    """Return an access whose account is switched to a workspace."""
    return Access(console=replace(PERSON, switch_to=workspace_id))


def test_an_account_is_switched_where_a_setting_says_so(tmp_path: Path) -> None:
    """Once, and only where it looks at another workspace."""
    with simulator.serve(make_day(3), options=at()) as server:
        for workspace, folder in ((credentials.OTHER_WORKSPACE_ID, "one"), (credentials.WORKSPACE_ID, "two")):
            server.site.workspace = workspace
            with opened(server.base_url, tmp_path / folder, switching(credentials.WORKSPACE_ID)) as pipeline:
                assert run_all(pipeline)["detailed"] == 3
        assert server.requests.count("/console/api/workspaces/switch") == 1
        assert server.site.workspace == credentials.WORKSPACE_ID


def test_a_workspace_of_strangers_is_named(tmp_path: Path) -> None:
    """The message has the names and ids of those that the account is a member of."""
    with (
        simulator.serve(make_day(3), options=at()) as server,
        opened(server.base_url, tmp_path, switching("not-mine")) as pipeline,
        pytest.raises(UsageError, match=rf"but of Simulated Workspace \({credentials.WORKSPACE_ID}\)"),
    ):
        pipeline.source.log_in()  # type: ignore[attr-defined]
