"""Lists, single things, pages and what is wrong with a question."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_world import COZE, NIGHTLY, NOW, SALES, START, World, dify_run, opened_world, own_world, shared_world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowledger.api.query_params import read_cursor, write_cursor
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.history import Place
from flowledger.domain.windows import Window
from flowledger.ports import Ledger

shared = pytest.fixture(scope="module")(shared_world)
world = pytest.fixture(own_world)
RUN = f"/runs/dify/{SALES.app_id}/run-0000"


def walked(world: World, path: str, limit: int) -> list[Any]:
    """Read all pages of a list."""
    rows: list[Any] = []
    cursor = ""
    while True:
        page = world.get(f"{path}limit={limit}{cursor}").json()
        rows += page["items"]
        if page["next_cursor"] is None:
            return rows
        assert len(page["items"]) == limit
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize("limit", [1, 7, 41, 100])
def test_pages_give_every_run_once_newest_first(shared: World, limit: int) -> None:
    """However large the pages are."""
    rows = walked(shared, "/runs?", limit)
    keys = [(row["source"], row["app_id"], row["run_id"]) for row in rows]
    assert len(keys) == len(set(keys)) == 123
    assert [row["listed_at"] for row in rows] == sorted((row["listed_at"] for row in rows), reverse=True)


@pytest.mark.parametrize(
    "path", ["/apps?", "/windows?", "/logs/operations?", "/reports?", "/logs/executions?"]
)
def test_other_lists_have_pages_too(shared: World, path: str) -> None:
    """One by one they give what one large page gives."""
    assert walked(shared, path, 1) == shared.get(f"{path}limit=100").json()["items"]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("source=log", 1),
        ("source=log&source=coze", 2),
        (f"app={SALES}", 120),
        (f"app={SALES}&app={COZE}", 121),
        (f"workflow={NIGHTLY.app_id}", 1),
        ("status=failed", 1),
        ("status=failed&status=running", 2),
        ("user=user-7", 121),
        ("user=nobody", 0),
        ("text=bOOm", 1),
        ("min_duration=118.25&max_duration=119.25", 2),
        ("since=2026-11-20T22:00:00Z&before=2026-11-20T22:01:00Z", 2),
        ("since=2026-11-21T06:00:00%2B08:00&before=2026-11-20T22:01:00Z", 2),
    ],
)
def test_filters_choose(shared: World, words: str, count: int) -> None:
    """Each word chooses as it says."""
    assert len(walked(shared, f"/runs?{words}&", 100)) == count


@pytest.mark.parametrize(
    "words",
    [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "limit=1e1",
        "status=succeeded",
        "status=",
        "statuss=failed",
        "since=yesterday",
        "since=2026-11-20",
        "since=2026-11-20T22:00:00",
        "since=0001-01-01T00:00:00%2B14:00",
        "since=9999-12-31T23:59:59-14:00",
        "since=99999999999999999999",
        "min_duration=-1",
        "min_duration=NaN",
        "min_duration=Infinity",
        "min_duration=1e999999",
        "text=a%00b",
        "user=%00",
        "app=sales",
        "app=:x",
        "app=dify:",
        "workflow=%00",
        "text=" + "x" * 201,
    ],
)
def test_wrong_words_are_refused_with_the_reason(shared: World, words: str) -> None:
    """422, and a problem that names the place without repeating the value."""
    answer = shared.get(f"/runs?{words}")
    assert answer.status_code == 422
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem.get("errors") or "source:id" in problem["detail"]


def test_a_cursor_that_was_made_up_is_refused(shared: World) -> None:
    """400 for anything that was not given for this very question."""
    given_one = shared.get("/runs?limit=1").json()["next_cursor"]
    wrong = ["x", "AAAA", "%00", given_one[:-1], given_one + "A", given_one.swapcase(), "A" * 2000, "é"]
    for cursor in wrong:
        assert shared.get("/runs", params={"cursor": cursor}).status_code == 400, cursor
    assert shared.get(f"/runs?cursor={given_one}&status=failed").status_code == 400
    assert shared.get(f"/apps?cursor={given_one}").status_code == 400
    assert shared.get(f"/runs?cursor={given_one}&limit=100").status_code == 200


@given(st.datetimes(), st.text(), st.dictionaries(st.text(), st.text()))
def test_cursors_come_back_as_they_were(at: Any, tie: str, question: dict[str, str]) -> None:
    """For its own question a cursor is the place it was made of."""
    tie = tie.encode("utf-8", "replace").decode()
    clean = {
        a.encode("utf-8", "replace").decode(): b.encode("utf-8", "replace").decode()
        for a, b in question.items()
    }
    place = Place(at.replace(tzinfo=NOW.tzinfo), tie)
    cursor = write_cursor(place, clean)
    assert read_cursor(cursor, clean) == place


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cursor=st.text(min_size=1, max_size=60))
def test_no_text_is_a_cursor(shared: World, cursor: str) -> None:
    """Whatever is sent in its place is refused, and never a defect."""
    answer = shared.get("/runs", params={"cursor": cursor.encode("utf-8", "replace")})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/runs/dify/..%2f..%2fetc/passwd",
        "/runs/../etc/passwd",
        "/runs/dify/%2e%2e/%2e%2e",
        "/runs/dify/a%00b/c",
        "/runs/DIFY/a/b",
        "/runs/dify/a/" + "x" * 256,
        "/coze/workflows/..%2f..%2fetc/history",
        "/coze/workflows/%2e%2e/history",
        "/coze/workflows/.hidden/history",
        "/coze/workflows/a/history/..%5cb",
        "/logs/executions/%2e%2e%2fx",
        "/reports/..%2f..%2fetc",
        "/reports/0d4a3c8e5b6f7a8c9d0e1f2a/files/..%2f..%2fx",
    ],
)
def test_ids_that_are_paths_lead_nowhere(shared: World, path: str) -> None:
    """4xx, with a problem."""
    answer = shared.get(path)
    assert answer.status_code in (404, 422), path
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_run_is_shown_whole(shared: World) -> None:
    """With inputs, outputs and how many nodes; half a surrogate pair does no harm."""
    run = shared.get(RUN).json()
    assert run["inputs"] == {"query": "你好"}
    assert run["outputs"] == {"text": "\ufffd half a pair"}
    assert (run["node_count"], run["missing"], run["elapsed_s"]) == (1, None, 1.25)
    nodes = shared.get(f"{RUN}/nodes").json()
    assert (nodes["missing"], nodes["items"][0]["total_price"]) == (None, "0.0041700")


def test_what_was_not_read_says_so(shared: World) -> None:
    """A run without detail names the reason."""
    run = shared.get(RUN.replace("0000", "0001")).json()
    assert (run["inputs"], run["missing"]) == (None, "not read yet")
    assert shared.get(RUN.replace("0000", "0001") + "/nodes").json()["items"] == []


def test_both_forms_of_a_path_are_one(shared: World) -> None:
    """A trailing slash changes nothing, and nothing is redirected."""
    for path in ("/runs", "/apps", "/coze/workflows/7504134755689087002/history", RUN, "/reports"):
        plain, slashed = shared.get(path), shared.get(f"{path}/", follow_redirects=False)
        assert (slashed.status_code, slashed.content) == (200, plain.content)


def test_what_has_not_changed_is_not_sent_again(shared: World) -> None:
    """If-None-Match with the ETag gives 304 without a body; another one gives all."""
    first = shared.get("/runs")
    tag = first.headers["etag"]
    for said in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        again = shared.get("/runs", headers={"If-None-Match": said})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert shared.get("/runs", headers={"If-None-Match": '"x"'}).status_code == 200


def test_large_answers_are_zipped_for_whoever_takes_that(shared: World) -> None:
    """gzip where it is asked for, plain where it is not; small ones stay plain."""
    assert shared.get("/runs", headers={"Accept-Encoding": "gzip"}).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in shared.get("/runs", headers={"Accept-Encoding": "identity"}).headers
    assert "content-encoding" not in shared.get("/health", headers={"Accept-Encoding": "gzip"}).headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("DELETE", "/runs", 405), ("PUT", "/reports", 405), ("GET", "/nothing", 404), ("BREW", "/runs", 405)],
)
def test_what_the_router_refuses_is_a_problem_too(shared: World, method: str, path: str, status: int) -> None:
    """404 and 405 look as all errors do."""
    answer = shared.client.request(method, path, headers=shared.headers["admin"])
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == path


def test_statistics_count_what_lists_show(shared: World) -> None:
    """Totals, states, tokens and cost; days are those of the zone."""
    found = shared.get(f"/stats?app={SALES}&since=2026-11-20T00:00:00Z&before=2026-11-22T00:00:00Z").json()
    assert (found["runs"], found["by_status"]) == (119, {"success": 118, "failed": 1})
    assert (found["total_tokens"], found["cost"]) == (1190, {"USD": "0.0041700"})
    assert found["cost_known_runs"] == sum(day["cost_known_runs"] for day in found["days"])
    assert 0 < found["cost_known_runs"] < found["runs"]
    nothing = shared.get(f"/stats?app={SALES}&since=2026-10-20T00:00:00Z&before=2026-10-22T00:00:00Z").json()
    assert (nothing["runs"], nothing["cost"]) == (0, {})
    assert runs_by_day(found) == {"2026-11-20": 0, "2026-11-21": 119, "2026-11-22": 0}
    utc = shared.get(f"/stats?app={SALES}&since=2026-11-20T00:00:00Z&timezone=UTC").json()
    assert len(utc["days"]) == 30
    assert {day: runs for day, runs in runs_by_day(utc).items() if runs} == {"2026-11-20": 119}


def runs_by_day(statistics: Any) -> dict[str, int]:
    """Return how many runs the days have, in the order they are listed in."""
    return {day["day"]: day["runs"] for day in statistics["days"]}


@pytest.mark.parametrize(
    "words", ["since=9998-12-30T00:00:00Z", "before=1971-01-02T00:00:00Z", "timezone=Pacific/Kiritimati"]
)
def test_days_without_runs_are_0(shared: World, words: str) -> None:
    """Each day of the span, oldest first, wherever that lies."""
    days = shared.get(f"/stats?{words}").json()["days"]
    listed = [date.fromisoformat(day["day"]) for day in days]
    assert listed == [listed[0] + timedelta(days=number) for number in range(len(listed))]
    assert len(listed) == 31
    empty = {"runs": 0, "by_status": {}, "total_tokens": 0, "cost": {}, "cost_known_runs": 0}
    assert {**days[0], "day": None} == {**empty, "day": None}


@pytest.mark.parametrize(
    "words",
    [
        "since=2026-11-22T00:00:00Z&before=2026-11-21T00:00:00Z",
        "since=2000-01-01T00:00:00Z&before=2026-11-21T00:00:00Z",
        "timezone=Mars/Olympus",
        "timezone=../../etc/passwd",
    ],
)
def test_statistics_of_no_stretch_are_refused(shared: World, words: str) -> None:
    """Reversed, far too long, or in a zone that is none: 422."""
    assert shared.get(f"/stats?{words}").status_code == 422


def test_windows_are_those_inside(world: World) -> None:
    """Newest first; filtered ones only where they are asked for."""
    for day in range(3):
        first = START - timedelta(days=day + 2)
        scope = Scope(
            SALES, Window.between(first, first + timedelta(hours=23)), "status=failed" if day == 2 else ""
        )
        world.ledger.save_runs(
            [], scope=scope, at=NOW, certificate=Certificate(scope, day == 0, "why", 1, 1, NOW)
        )
    assert [row["certified"] for row in world.get("/windows").json()["items"]] == [True, True, False]
    assert len(world.get("/windows?filtered=true").json()["items"]) == 4
    assert len(world.get("/windows?certified=false").json()["items"]) == 1
    assert len(world.get("/windows?before=2026-11-20T00:00:00Z").json()["items"]) == 2
    assert world.get("/windows?since=2026-11-20T00:00:00Z&before=2026-11-19T00:00:00Z").status_code == 422


def test_a_dify_app_has_its_runs(shared: World) -> None:
    """The same list, of one app; an unknown app is 404."""
    rows = shared.get(f"/dify/apps/{SALES.app_id}/runs?limit=100").json()["items"]
    assert {row["app_id"] for row in rows} == {SALES.app_id}
    assert shared.get(f"/dify/apps/{SALES.app_id}/runs?status=paused").json()["items"] == []
    assert shared.get("/dify/apps/unknown/runs").status_code == 404


def test_coze_pages_have_numbers(shared: World) -> None:
    """Exactly the contract's fields, under both prefixes; page sizes 0 and 101 are refused."""
    for prefix in ("", "/api"):
        path = f"{prefix}/coze/workflows/{COZE.app_id}/history"
        found = shared.get(f"{path}?page_size=1&page_index=1").json()
        assert sorted(found) == ["has_more", "histories", "success", "total"]
        assert (found["success"], found["total"], found["has_more"]) == (True, 1, False)
        assert shared.get(f"{path}/cz-1").json()["execution"]["execute_id"] == "cz-1"
        assert shared.get(f"{path}/other").status_code == 404
        for words in ("page_size=0", "page_size=101", "page_index=0", "page_index=x"):
            assert shared.get(f"{path}?{words}").status_code == 422


def test_ready_names_what_is_away(tmp_path: Path) -> None:
    """503 where a part is away; it is asked again only after a while."""
    from dataclasses import replace

    from flowledger.errors import SchedulerError

    asked = []

    def away() -> None:
        asked.append(1)
        raise SchedulerError("Prefect does not answer")

    with opened_world(
        tmp_path, change=lambda backend: replace(backend, checks={**backend.checks, "prefect": away})
    ) as world:
        for _ in range(2):
            answer = world.get("/ready")
            assert (answer.status_code, answer.json()["parts"]["prefect"]) == (503, "away")
        assert len(asked) == 1
        world.clock.now += timedelta(seconds=20)
        world.get("/ready")
        assert len(asked) == 2
        assert world.client.get("/health").status_code == 200


def test_a_defect_is_a_problem_that_tells_nothing(tmp_path: Path) -> None:
    """500 names no part of the program."""
    from dataclasses import replace

    class Broken:
        def history(self, *_: Any, **__: Any) -> None:
            raise ZeroDivisionError("inside /srv/secret.py")

    def broken(ledger: Ledger) -> Any:
        class Some(type(ledger)):  # type: ignore[misc]
            history = Broken.history

        return Some.open("memory://", {})

    with opened_world(tmp_path, change=lambda same: replace(same, ledger=broken(same.ledger))) as world:
        for key in world.ledger.access_keys():
            world.client.app.state.backend.ledger.keep_key(key)  # type: ignore[attr-defined]
        world.client._transport.raise_server_exceptions = False
        answer = world.get("/runs")
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert "srv" not in answer.text


def test_the_document_has_examples_and_names_every_problem(shared: World) -> None:
    """OpenAPI 3.1; every operation but /health wants a key and tells how it refuses."""
    document = shared.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert json.dumps(document).count('"examples"') > 30
    for path, item in document["paths"].items():
        for operation in item.values():
            if path != "/health":
                assert operation["security"], path
                assert {"401", "403", "422", "429", "500"} <= set(operation["responses"]), path
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_numbers_beyond_64_bits_are_shown(world: World) -> None:
    """What a source says is shown, however large."""
    from flowledger.io.json_text import dumps_strict

    assert dumps_strict({"n": 2**80, "t": "\ud83d", "f": float("nan")}) == (
        b'{"n": 1208925819614629174706176, "t": "\xef\xbf\xbd", "f": null}'
    )
    assert dify_run(1).run_id == "run-0001"
