"""The log list: order, bounds, filters and refusals."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from simulated_site import ask, ask_console, ask_logs, iso, make_site, walk_back, walk_by_number

from flowledger_simulator import (
    Options,
    Recipe,
    arriving,
    changing,
    credentials,
    exchanging,
    make_world,
    moving,
    vanishing,
)

DENSE = Recipe(runs=600, ties=0.9, busiest_second=40, orphans=0.0)


def test_page_numbers_lose_rows_of_a_standing_world() -> None:
    """Pages by number give as many rows as ``total`` says, yet some twice and others never."""
    site = make_site(world=make_world(DENSE))
    ids = walk_by_number(site, limit=20)
    assert len(ids) == 600
    assert len(set(ids)) < 600


def test_walking_back_loses_nothing() -> None:
    """Asking up to the oldest second seen finds every row although ties come in a new order each time."""
    site = make_site(world=make_world(DENSE))
    assert walk_back(site) == {run.log_id for run in site.world.runs()}


def test_page_numbers_repeat_rows_while_runs_arrive() -> None:
    """New rows push old ones to the next page."""
    world = make_world(Recipe(runs=60, ties=0.0))
    site = make_site(world=world, options=Options(on_page=arriving(3)))
    ids = walk_by_number(site, limit=10)
    assert max(Counter(ids).values()) > 1


@pytest.mark.parametrize("hook", [arriving(2), changing(1), exchanging(1), vanishing(1)])
def test_walking_back_finds_what_stands(hook: object) -> None:
    """Whatever moves, each run that was there before and after the walk is found by walking back."""
    world = make_world(Recipe(runs=150, mix={"succeeded": 0.8, "running": 0.2}))
    before = {run.log_id for run in world.runs()}
    found = walk_back(make_site(world=world, options=Options(on_page=hook)), limit=50)  # type: ignore[arg-type]
    assert before & {run.log_id for run in world.runs()} <= found


def test_rows_change_places_for_good() -> None:
    """A run that has moved is listed once, at the time of another."""
    world = make_world(Recipe(runs=30, ties=0.0))
    before = {run.log_id: run.listed_at for run in world.runs()}
    moving(5)(world)
    after = {run.log_id: run.listed_at for run in world.runs()}
    assert after.keys() == before.keys()
    assert 0 < sum(after[row] != before[row] for row in before) <= 5
    assert set(after.values()) <= set(before.values())


def test_the_same_seed_gives_the_same_answers() -> None:
    """Two servers of the same recipe answer the same requests byte for byte, reshuffled ties included."""
    one, other = (make_site(world=make_world(DENSE)) for _ in range(2))
    for _ in range(3):
        assert ask(one, "/v1/workflows/logs").body == ask(other, "/v1/workflows/logs").body


def test_ties_are_reshuffled_for_every_request() -> None:
    """The same request gives the same seconds in the same places, but not the same rows."""
    site = make_site(world=make_world(Recipe(runs=120, ties=1.0, busiest_second=120)))
    pages = [[row["id"] for row in ask_logs(site, limit="50")["data"]] for _ in range(2)]
    assert pages[0] != pages[1]


def test_bounds_are_inclusive_on_both_sides() -> None:
    """A window of one second gives all rows of that second."""
    site = make_site()
    second, number = Counter(run.listed_at for run in site.world.runs()).most_common(1)[0]
    moment = datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", "")
    assert ask_logs(site, created_at__after=moment, created_at__before=moment)["total"] == number


def test_a_fraction_in_both_bounds_matches_nothing() -> None:
    """Log times are whole seconds."""
    site = make_site()
    moment = iso(site.world.runs()[0].listed_at).replace("Z", ".5Z")
    assert ask_logs(site, created_at__after=moment, created_at__before=moment)["total"] == 0


def test_a_page_past_the_end_is_empty() -> None:
    """It is a 200 with the total and no rows."""
    page = ask_logs(make_site(), page="99999")
    assert (page["total"], page["has_more"], page["data"]) == (120, False, [])


def test_a_chatflow_key_lists_nothing() -> None:
    """Chatflow runs never get a log row; the cursor list has them."""
    site = make_site(world=make_world(Recipe(runs=5, chat_runs=7)))
    headers = {"authorization": f"Bearer {credentials.CHATFLOW_API_TOKEN}"}
    assert json.loads(ask(site, "/v1/workflows/logs", headers).body)["total"] == 0
    path = f"/console/api/apps/{credentials.CHATFLOW_APP_ID}/advanced-chat/workflow-runs"
    rows = ask_console(site, path, triggered_from="app-run")["data"]
    assert len(rows) == 7 - sum(run.gone for run in site.world.runs(credentials.CHATFLOW_APP_ID))


def test_old_releases_list_a_run_when_it_ends() -> None:
    """On 1.9.1 open runs have no row, and a row's time is the finish time."""
    recipe = Recipe(runs=200, mix={"succeeded": 0.5, "running": 0.5}, orphans=0.0)
    page = ask_logs(make_site("1.9.1", make_world(recipe)), limit="100")
    assert {row["workflow_run"]["status"] for row in page["data"]} == {"succeeded"}
    assert all(0 <= row["created_at"] - row["workflow_run"]["finished_at"] <= 1 for row in page["data"])
    assert ask_logs(make_site("1.12.1", make_world(recipe)))["total"] == 200 > page["total"]


def test_status_words() -> None:
    """The service API takes three words; the console takes every one."""
    site = make_site(world=make_world(Recipe(runs=300)))
    rows = ask_logs(site, status="failed", limit="100")
    assert {row["workflow_run"]["status"] for row in rows["data"]} == {"failed"}
    for word in ("running", "partial-succeeded", "Failed", ""):
        assert ask(site, "/v1/workflows/logs", status=word).status == 400
    path = f"/console/api/apps/{credentials.WORKFLOW_APP_ID}/workflow-app-logs"
    assert ask_console(site, path, status="partial-succeeded")["total"] > 0


@pytest.mark.parametrize(
    ("version", "found"), [("1.9.1", True), ("1.11.2", True), ("1.12.1", False), ("1.13.3", False)]
)
def test_chinese_keywords(version: str, found: bool) -> None:
    """They are found until 1.11.2; later the stored escapes are compared with the bare characters."""
    site = make_site(version)
    assert (ask_logs(site, keyword="退货政策")["total"] > 0) is found
    assert ask_logs(site, keyword="api KEY")["total"] > 0


def test_wildcards_are_escaped_since_1_11_3() -> None:
    """Before, a percent sign in a keyword matches anything."""
    assert ask_logs(make_site("1.9.1"), keyword="API%401")["total"] > 0
    assert ask_logs(make_site("1.12.1"), keyword="API%401")["total"] == 0


def test_a_run_id_is_a_keyword() -> None:
    """A full run id finds its run."""
    site = make_site()
    run = site.world.runs()[0]
    assert [row["id"] for row in ask_logs(site, keyword=run.id)["data"]] == [run.log_id]


def test_session_and_keyword_break_the_server() -> None:
    """Both together are a 500 on every release."""
    query = {"created_by_end_user_session_id": "user-0000", "keyword": "x"}
    for version in ("1.9.1", "1.12.1", "1.13.3"):
        assert ask(make_site(version), "/v1/workflows/logs", **query).status == 500


def test_filters_by_person() -> None:
    """Session ids and account e-mails select exactly; an unknown account is refused since 1.9.2."""
    site = make_site()
    rows = ask_logs(site, created_by_end_user_session_id="user-0000", limit="100")["data"]
    assert {row["created_by_end_user"]["session_id"] for row in rows} == {"user-0000"}
    assert ask_logs(site, created_by_account=credentials.EMAIL)["total"] > 0
    both = {"created_by_account": credentials.EMAIL, "created_by_end_user_session_id": "user-0000"}
    assert ask_logs(site, **both)["total"] == 0
    assert ask(site, "/v1/workflows/logs", created_by_account="no@example.com").status == 400
    assert ask_logs(make_site("1.9.1"), created_by_account="no@example.com")["total"] == 0


@pytest.mark.parametrize("limit", ["0", "101", "-1", "abc", "", "10.5"])
def test_bad_limits_are_refused(limit: str) -> None:
    """A limit is a whole number from 1 to 100."""
    for version in ("1.9.1", "1.12.1"):
        assert ask(make_site(version), "/v1/workflows/logs", limit=limit).status == 400


def test_forgiven_numbers() -> None:
    """Blanks are trimmed everywhere; a decimal point is forgiven where pydantic validates."""
    assert ask_logs(make_site(), limit=" 5 ")["limit"] == 5
    assert ask_logs(make_site(), limit="10.0")["limit"] == 10
    assert ask(make_site("1.9.1"), "/v1/workflows/logs", limit="10.0").status == 400


def test_detail_is_the_consoles_alone() -> None:
    """The service API ignores ``detail``; the console shows the trigger."""
    site = make_site()
    assert ask_logs(site, detail="true")["data"][0]["details"] is None
    path = f"/console/api/apps/{credentials.WORKFLOW_APP_ID}/workflow-app-logs"
    assert ask_console(site, path, detail="true")["data"][0]["details"] == {"trigger_metadata": {}}
