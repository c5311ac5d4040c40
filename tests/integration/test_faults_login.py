"""Console logins that fail, lock or expire: one attempt, one reason, and a report all the same."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from simulated_dify import (
    FINAL_MIX,
    LOGIN,
    NODES,
    NOW,
    REFRESH,
    RELEASES,
    Access,
    at,
    make_day,
    opened,
    order,
    reasons,
    run_all,
    stored_entries,
    whole,
)

import flowledger_simulator as simulator
from flowledger.dify.credentials import AdminKey, EmailPassword
from flowledger.domain.runs import Detailed
from flowledger_simulator import SimulatedServer, credentials

RUNS = 40
STRANGER = EmailPassword(credentials.EMAIL, SecretStr("mistyped-password"))


@dataclass
class AgingClock:
    """A server's clock that jumps over the tokens' lifetime once so many requests were asked."""

    after: int
    server: SimulatedServer | None = None

    def __call__(self) -> float:
        """Give seconds since 1970."""
        late = self.server is not None and self.server.requests.total > self.after
        return NOW.timestamp() + (4_000 if late else 0)


@pytest.mark.fault(2)
@pytest.mark.parametrize("version", RELEASES)
def test_a_locked_login_is_tried_once_and_the_report_is_written(version: str, tmp_path: Path) -> None:
    """Every run is reported with inputs and outputs, its nodes missing for that reason."""
    faults = simulator.parse_faults("locked:1.0")
    with (
        simulator.serve(
            make_day(RUNS, mix=FINAL_MIX), version=version, faults=faults, options=at()
        ) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline)
    count = result["logs_count"]
    assert server.requests.count(LOGIN) == 1
    assert server.requests.count(ending=NODES) == 0
    assert result["missing_reasons"] == {"console login locked": count}
    assert reasons(stored_entries(tmp_path)) == {"console login locked"}
    assert result["report_paths"]


@pytest.mark.fault(15)
@pytest.mark.parametrize("version", RELEASES)
def test_a_wrong_password_is_offered_once(version: str, tmp_path: Path) -> None:
    """Six would lock the account for a day."""
    with (
        simulator.serve(make_day(RUNS, mix=FINAL_MIX), version=version, options=at()) as server,
        opened(server.base_url, tmp_path, Access(console=STRANGER)) as pipeline,
    ):
        result = run_all(pipeline)
    assert server.requests.count(LOGIN) == 1
    assert result["missing_reasons"] == {"console login refused": result["logs_count"]}
    assert result["certificate"]["certified"]


def test_the_right_password_given_later_brings_the_nodes(tmp_path: Path) -> None:
    """What was missing because of the login is asked for again."""
    with simulator.serve(make_day(20, mix=FINAL_MIX), options=at()) as server:
        with opened(server.base_url, tmp_path, Access(console=STRANGER)) as pipeline:
            run_all(pipeline)
        with opened(server.base_url, tmp_path) as pipeline:
            result = run_all(pipeline)
    assert (result["detailed"], result["missing"]) == (20, 0)


def test_a_refused_admin_key_is_a_reason_too(tmp_path: Path) -> None:
    """A wrong key costs few requests and no run."""
    access = Access(console=AdminKey(SecretStr("not-the-admin-key"), credentials.WORKSPACE_ID))
    with (
        simulator.serve(make_day(RUNS, mix=FINAL_MIX), options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        result = run_all(pipeline)
    assert result["missing_reasons"] == {"console login refused": RUNS}
    assert server.requests.count(ending=NODES) <= access.at_once


@pytest.mark.fault(13)
@pytest.mark.parametrize("version", RELEASES)
def test_a_token_that_expires_under_many_threads_is_refreshed_once(version: str, tmp_path: Path) -> None:
    """All threads go on with the new token, and nobody logs in again."""
    clock = AgingClock(after=20)
    options = simulator.Options(clock=clock)
    with simulator.serve(
        make_day(RUNS, mix=FINAL_MIX), version=version, latency_ms=2, options=options
    ) as server:
        clock.server = server
        with opened(server.base_url, tmp_path) as pipeline:
            result = run_all(pipeline)
    assert (server.requests.count(LOGIN), server.requests.count(REFRESH)) == (1, 1)
    assert (result["detailed"], result["missing"]) == (result["logs_count"], 0)


@pytest.mark.fault(13)
@pytest.mark.parametrize("version", RELEASES)
def test_a_refused_refresh_becomes_one_login(version: str, tmp_path: Path) -> None:
    """The refresh token is used up, so the person's password is offered once more, for all threads."""
    clock = AgingClock(after=20)
    options = simulator.Options(clock=clock)
    faults = simulator.parse_faults("refresh-refused:1.0")
    with simulator.serve(
        make_day(RUNS, mix=FINAL_MIX), version=version, latency_ms=2, faults=faults, options=options
    ) as server:
        clock.server = server
        with opened(server.base_url, tmp_path) as pipeline:
            result = run_all(pipeline)
    assert (server.requests.count(LOGIN), server.requests.count(REFRESH)) == (2, 1)
    assert (result["detailed"], result["missing"]) == (result["logs_count"], 0)


@pytest.mark.fault(13)
def test_tokens_that_are_never_good_do_not_cause_a_storm_of_logins(tmp_path: Path) -> None:
    """Where every new token is refused as well, each thread notices once and the report is written."""
    faults = simulator.parse_faults("expired:1.0")
    access = Access()
    with (
        simulator.serve(make_day(RUNS, mix=FINAL_MIX), faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        result = run_all(pipeline)
    asked = server.requests.count(LOGIN) + server.requests.count(REFRESH)
    assert asked <= access.at_once + 1
    assert result["missing_reasons"] == {"console login refused": RUNS}


def test_a_login_that_is_not_answered_is_tried_three_times_at_most(tmp_path: Path) -> None:
    """An unanswered login may have counted as a wrong password; inputs and outputs are read without it."""
    faults = simulator.parse_faults(f"503:1.0@{LOGIN}")
    with (
        simulator.serve(make_day(RUNS, mix=FINAL_MIX), faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline)
    assert server.requests.count(LOGIN) == 3
    assert result["missing_reasons"] == {"console login unanswered": RUNS}
    assert all(
        isinstance(entry.detail, Detailed) and entry.detail.inputs for entry in stored_entries(tmp_path)
    )


@pytest.mark.fault(9)
@pytest.mark.parametrize("kind", ["repeat", "endless"])
def test_a_chatflow_whose_list_does_not_move_ends_without_a_certificate(kind: str, tmp_path: Path) -> None:
    """The cursor list that gives its first page for ever is seen through."""
    world = make_day(2, chat_runs=250)
    access = Access(token=credentials.CHATFLOW_API_TOKEN, app_id=credentials.CHATFLOW_APP_ID)
    faults = simulator.parse_faults(
        f"{kind}:1.0@/console/api/apps/{credentials.CHATFLOW_APP_ID}/workflow-runs"
    )
    with (
        simulator.serve(world, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        certificate = pipeline.collect(order()).certificate
    assert not certificate.certified
    assert ("said that more follow" in certificate.reason) == (kind == "endless")
    assert server.requests.total < 30


def test_whole_runs_stay_whole_when_the_login_fails_later(tmp_path: Path) -> None:
    """A detail that was read is never replaced by the news that it cannot be read now."""
    world = make_day(20, mix=FINAL_MIX)
    with simulator.serve(world, options=at()) as server:
        with opened(server.base_url, tmp_path) as pipeline:
            run_all(pipeline)
        with opened(server.base_url, tmp_path, Access(console=STRANGER)) as pipeline:
            result = run_all(pipeline)
    assert (result["detailed"], len(whole(stored_entries(tmp_path)))) == (20, 20)
