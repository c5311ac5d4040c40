"""Who gets in, how far, and what is kept of those who do not."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_world import COZE, NIGHTLY, NOW, SALES, SUPPORT, World, opened_world, own_world, shared_world
from fastapi import FastAPI

from flowledger.api.backend import ApiOptions
from flowledger.domain.access_keys import Role
from flowledger.domain.history import OperationQuery
from flowledger.services.api_keys import REFUSAL, create_key, revoke_key

shared = pytest.fixture(scope="module")(shared_world)
world = pytest.fixture(own_world)
WRONG = {"Authorization": "Bearer flk_000000000000_wrong"}


def every_operation(world: World) -> list[tuple[str, str]]:
    """Give method and path of everything that the document names, and of what only the router knows."""
    app = world.client.app
    assert isinstance(app, FastAPI)
    found = [(method, path) for path, item in app.openapi()["paths"].items() for method in item]
    return [(method.upper(), path.replace("{", "").replace("}", "")) for method, path in found]


def refusals(world: World) -> list[Any]:
    """Give the refusals in the audit trail, newest first."""
    return list(world.ledger.operations(OperationQuery(types=(REFUSAL,))))


def test_nothing_but_health_is_open(shared: World) -> None:
    """Without a key, every path answers 401, those that do not exist and the document too."""
    asked = [*every_operation(shared), ("GET", "/openapi.json"), ("GET", "/nothing"), ("POST", "/docs")]
    answers = {path: shared.client.request(method, path).status_code for method, path in asked}
    assert answers.pop("/health") == 200
    assert set(answers.values()) == {401}
    assert len(answers) > 15


def test_a_refusal_says_how_to_get_in(shared: World) -> None:
    """401 is a problem with a challenge."""
    answer = shared.client.get("/runs")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["status"] == 401


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_key_goes_in_either_header(shared: World, header: str) -> None:
    """Both headers open the same."""
    said = shared.headers["viewer"]["Authorization"]
    value = said if header == "Authorization" else said.removeprefix("Bearer ")
    assert shared.client.get("/runs", headers={header: value}).status_code == 200


@pytest.mark.parametrize(
    "secret", ["", "flk", "flk_", "flk__", "flk_x_y", "_" * 500, "ключ", "flk_000000000000_" + "A" * 43]
)
def test_what_is_no_key_opens_nothing(world: World, secret: str) -> None:
    """Whatever is shown, the answer is 401."""
    answer = world.client.get("/runs", headers={"X-API-Key": secret.encode()})
    assert answer.status_code == 401


def test_roles_hold(shared: World) -> None:
    """A viewer reads and writes nothing, whatever it sends."""
    writing = [each for each in every_operation(shared) if each[0] != "GET"]
    assert len(writing) > 5
    for method, path in writing:
        answer = shared.client.request(method, path, headers=shared.headers["viewer"], json={})
        # Before the role nothing is looked at but whether the words can be one of an operation's.
        assert answer.status_code in (403, 422), (method, path)
        detail = answer.json()["detail"]
        assert "operator" in detail or "admin" in detail or answer.status_code == 422


def test_a_revoked_key_opens_nothing_within_seconds(world: World) -> None:
    """The keys are read anew before long."""
    assert world.get("/runs").status_code == 200
    revoke_key(world.ledger, "viewer-key", user="root", at=NOW)
    world.clock.now += timedelta(seconds=3)
    assert world.get("/runs").status_code == 401


def test_an_expired_key_opens_nothing(world: World) -> None:
    """A key ends with its day."""
    end = NOW + timedelta(days=1)
    _, secret = create_key(world.ledger, "short", Role.VIEWER, user="root", at=NOW, expires_at=end)
    header = {"X-API-Key": secret}
    assert world.client.get("/runs", headers=header).status_code == 200
    world.clock.now = end
    assert world.client.get("/runs", headers=header).status_code == 401


def test_the_secret_is_kept_nowhere(world: World) -> None:
    """Neither the ledger's keys nor the audit trail hold it."""
    key, secret = create_key(world.ledger, "x", Role.VIEWER, user="root", at=NOW)
    kept = repr((world.ledger.access_keys(), world.ledger.operations()))
    assert secret not in kept
    assert secret.split("_", 2)[2] not in kept
    assert len(key.digest) == 64


def test_creation_and_revocation_leave_operations(world: World) -> None:
    """Both name who did it."""
    key, _ = create_key(world.ledger, "x", Role.OPERATOR, user="ann", at=NOW, apps=(SALES,))
    revoke_key(world.ledger, key.key_id, user="bob", at=NOW)
    revoke_key(world.ledger, key.key_id, user="eve", at=NOW)
    found = world.ledger.operations(OperationQuery(subject=key.key_id))
    assert [(each.operation_type, each.user) for each in found] == [
        ("REVOKE_KEY", "bob"),
        ("CREATE_KEY", "ann"),
    ]


def test_wrong_keys_lock_an_address_out(tmp_path: Path) -> None:
    """After so many wrong keys even a right one waits, and Retry-After says how long."""
    with opened_world(tmp_path, ApiOptions(wrong_keys=3)) as world:
        statuses = [world.client.get("/runs", headers=WRONG).status_code for _ in range(4)]
        locked = world.get("/runs")
        assert statuses == [401, 401, 401, 429]
        assert (locked.status_code, locked.headers["retry-after"]) == (429, "60")
        assert world.client.get("/health").status_code == 200
        world.clock.now += timedelta(seconds=61)
        assert world.get("/runs").status_code == 200


def test_a_missing_key_locks_nobody_out(tmp_path: Path) -> None:
    """Only wrong keys count."""
    with opened_world(tmp_path, ApiOptions(wrong_keys=3)) as world:
        assert {world.client.get("/runs").status_code for _ in range(5)} == {401}
        assert world.get("/runs").status_code == 200


def test_each_key_has_its_pace(tmp_path: Path) -> None:
    """A key that asks too often waits; others do not, and later it need not."""
    with opened_world(tmp_path, ApiOptions(per_minute=60)) as world:
        statuses = [world.get("/health/").status_code for _ in range(3)]
        statuses += [world.get("/runs?limit=1").status_code for _ in range(11)]
        assert statuses == [200] * 13 + [429]
        assert world.get("/runs?limit=1", "operator").status_code == 200
        world.clock.now += timedelta(seconds=1)
        assert world.get("/runs?limit=1").status_code == 200


def test_refusals_are_kept_but_do_not_fill_the_ledger(world: World) -> None:
    """One operation for an address and minute, and then one with the count of the rest."""
    for number in range(7):
        world.client.get(f"/secret/{number}", headers=WRONG)
    assert [each.data["count"] for each in refusals(world)] == [1]
    world.clock.now += timedelta(minutes=1)
    world.client.get("/runs", headers=WRONG)
    found = sorted(each.data["count"] for each in refusals(world))
    assert found == [1, 1, 6]
    assert {each.data["address"] for each in refusals(world)} == {"testclient"}
    assert {each.user for each in refusals(world)} == {"unknown"}


def test_what_a_role_was_refused_names_its_key(world: World) -> None:
    """403 is kept with the key's name as the user."""
    assert world.post("/reports", {"app": "sales"}, "viewer").status_code == 403
    (refusal,) = refusals(world)
    assert (refusal.user, refusal.subject) == ("viewer-key", "POST /reports")


def test_the_rest_of_refusals_is_kept_at_the_end(tmp_path: Path) -> None:
    """A server that stops says how many there were."""
    with opened_world(tmp_path) as world:
        for _ in range(3):
            world.client.get("/runs", headers=WRONG)
    assert sorted(each.data["count"] for each in refusals(world)) == [1, 2]


def test_a_scoped_key_sees_its_apps_and_no_others(shared: World) -> None:
    """Lists, single runs, statistics, reports, certificates, operations: all stay within its reach."""
    seen = {row["app_id"] for row in shared.get("/runs?limit=100", "scoped").json()["items"]}
    assert seen == {SUPPORT.app_id, NIGHTLY.app_id}
    assert {row["app_id"] for row in shared.get("/apps", "scoped").json()["items"]} == seen
    assert shared.get("/stats", "scoped").json()["runs"] == 2
    assert shared.get("/windows", "scoped").json()["items"] == []
    assert shared.get("/reports", "scoped").json()["items"] == []
    assert shared.get("/logs/operations", "scoped").json()["items"] == []
    assert len(shared.get("/logs/executions", "scoped").json()["items"]) == 1


@pytest.mark.parametrize(
    "path",
    [
        f"/runs/dify/{SALES.app_id}/run-0000",
        f"/runs/dify/{SALES.app_id}/run-0000/nodes",
        f"/dify/apps/{SALES.app_id}/runs",
        f"/coze/workflows/{COZE.app_id}/history",
        f"/coze/workflows/{COZE.app_id}/history/cz-1",
    ],
)
def test_what_is_out_of_reach_is_not_there(shared: World, path: str) -> None:
    """404 in the very words for what does not exist: neither status nor text tells one from the other."""
    assert shared.get(path).status_code == 200
    refused = shared.get(path, "scoped")
    name = SALES.app_id if SALES.app_id in path else COZE.app_id
    unknown = shared.get(path.replace(name, "no-such-app"), "scoped")
    assert (refused.status_code, unknown.status_code) == (404, 404)
    assert refused.json()["detail"].replace(name, "no-such-app") == unknown.json()["detail"]
    assert refused.json().keys() == unknown.json().keys()


def test_an_app_out_of_reach_can_be_asked_for_and_is_empty(shared: World) -> None:
    """Naming an app does not widen the reach."""
    answer = shared.get(f"/runs?app={SALES}", "scoped").json()
    assert answer == {"items": [], "next_cursor": None}


def test_a_conflict_tells_a_scoped_key_nothing(world: World) -> None:
    """An id that a workflow out of reach has is answered as one that is not there, without its name."""
    mine = {"workflow_id": NIGHTLY.app_id, "execution_id": "ex-secret"}
    theirs = mine | {"workflow_id": "wf-secret"}
    assert world.post("/logs/executions", theirs, "operator").is_success
    refused = world.post("/logs/executions", mine, "scoped-operator")
    unknown = world.get("/logs/executions/ex-none", "scoped")
    assert refused.status_code == unknown.status_code == 404
    assert refused.json()["detail"] == unknown.json()["detail"].replace("ex-none", "ex-secret")
    assert world.post("/logs/executions", mine, "operator").status_code == 409


def test_an_order_tells_a_scoped_key_nothing(world: World) -> None:
    """An app that is configured and one that is not are refused alike; without a name it is its own app."""
    refusals = [
        world.post("/reports", {"app": name, "period": "yesterday"}, "scoped-operator")
        for name in ("sales", SALES.app_id, "nothing", "dify:nothing")
    ]
    assert {(each.status_code, each.json()["detail"]) for each in refusals} == {
        (404, "there is no such app, or not within this key's reach")
    }
    assert world.post("/reports", {"period": "yesterday"}, "scoped-operator").status_code == 202
    assert [order.app for order, _ in world.queue.orders] == ["support"]


def test_405_names_all_methods_of_a_path(shared: World) -> None:
    """Whichever operation is declared first, and under each of a path's names."""
    history = f"/coze/workflows/{COZE.app_id}/history"
    for path, methods in {
        "/runs": "GET",
        "/reports": "GET, POST",
        "/logs/executions": "GET, POST",
        "/logs/executions/ex-1": "GET, PATCH",
        history: "DELETE, GET",
        f"{history}/cz-1": "DELETE, GET",
        f"/api{history}/cz-1": "DELETE, GET",
        "/coze/workflows/stream_run": "POST",
        "/health": "GET",
    }.items():
        answer = shared.client.request("PUT", path, headers=shared.headers["admin"])
        assert (answer.status_code, answer.headers["allow"]) == (405, methods), path


def test_a_scoped_operator_writes_within_its_apps_only(world: World) -> None:
    """Records, deletions and orders for other apps are 404, and nothing is written."""
    strange = {"workflow_id": "other", "execution_id": "e-9"}
    assert world.post("/logs/executions", strange, "scoped-operator").status_code == 404
    order = {"app": "sales", "period": "yesterday"}
    assert world.post("/reports", order, "scoped-operator").status_code == 404
    path = f"/coze/workflows/{COZE.app_id}/history"
    assert world.client.delete(path, headers=world.headers["scoped-operator"]).status_code == 404
    assert world.post(
        "/logs/executions", strange | {"workflow_id": NIGHTLY.app_id}, "scoped-operator"
    ).is_success
    assert world.queue.orders == []
    assert world.ledger.locate("coze", "cz-1") == COZE


def test_figures_are_for_keys_that_reach_all(shared: World) -> None:
    """/metrics would tell of other apps."""
    assert shared.get("/metrics", "scoped").status_code == 403


def test_without_keys_only_this_machine_is_heard(tmp_path: Path) -> None:
    """A page of somebody else's name that leads to loopback gets nothing."""
    with opened_world(tmp_path, ApiOptions(require_keys=False)) as world:
        heard = {
            host: world.client.get("/runs", headers={"Host": host}).status_code
            for host in ("localhost:8001", "127.0.0.1", "[::1]:8001", "evil.example.com", "")
        }
        assert list(heard.values()) == [200, 200, 200, 403, 403]
        body = {"workflow_id": "wf", "execution_id": "e-1"}
        assert world.client.post("/logs/executions", json=body, headers={"Host": "localhost"}).is_success


def test_without_keys_pages_of_other_places_send_nothing(tmp_path: Path) -> None:
    """A form there needs nobody's leave to be sent here, and what it orders would be done."""
    page = "https://pages.example.com"
    options = ApiOptions(require_keys=False, cors_origins=("https://own.example.com",))
    with opened_world(tmp_path, options) as world:
        sent = {
            origin: world.client.post(
                "/executions/1/cancel", headers={"Host": "localhost:8001", "Origin": origin}
            ).status_code
            for origin in (page, "null", "http://localhost.example.com", "http://localhost:3000")
        }
        assert list(sent.values()) == [403, 403, 403, 404]
        allowed = {"Host": "localhost", "Origin": "https://own.example.com"}
        assert world.client.post("/executions/1/cancel", headers=allowed).status_code == 404


def test_pages_of_others_may_not_ask_by_default(shared: World) -> None:
    """No answer allows another origin, and a preflight is refused."""
    origin = {"Origin": "https://pages.example.com"}
    answer = shared.get("/runs", headers=origin)
    assert "access-control-allow-origin" not in answer.headers
    asked = {**origin, "Access-Control-Request-Method": "GET"}
    assert shared.client.options("/runs", headers=asked).status_code == 401


def test_pages_that_are_named_may_ask(tmp_path: Path) -> None:
    """CORS answers for named origins only."""
    page = "https://pages.example.com"
    with opened_world(tmp_path, ApiOptions(cors_origins=(page,))) as world:
        asked = {"Origin": page, "Access-Control-Request-Method": "GET"}
        assert world.client.options("/runs", headers=asked).headers["access-control-allow-origin"] == page
        other = {**asked, "Origin": "https://evil.example.com"}
        assert "access-control-allow-origin" not in world.client.options("/runs", headers=other).headers


def test_cursors_do_not_pass_from_key_to_key(shared: World) -> None:
    """A cursor belongs to the reach it was given to."""
    cursor = shared.get("/runs?limit=1").json()["next_cursor"]
    assert shared.get(f"/runs?limit=1&cursor={cursor}").status_code == 200
    assert shared.get(f"/runs?limit=1&cursor={cursor}", "scoped").status_code == 400


def test_a_ledger_that_is_away_lets_nobody_in(tmp_path: Path) -> None:
    """Where keys cannot be read the answer is 503, without the ledger's name."""
    from flowledger.errors import LedgerError
    from flowledger.ledger.sql.ledger import SqlLedger

    class Away(SqlLedger):
        def access_keys(self) -> Any:
            raise LedgerError("the ledger /srv/ledger.db cannot be read: mend the disk")

    with opened_world(
        tmp_path, change=lambda backend: replace(backend, ledger=Away.open("memory://", {}))
    ) as world:
        answer = world.get("/runs")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "srv" not in answer.text
