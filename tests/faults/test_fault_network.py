"""A bad network between Flowledger and Dify: nothing is lost, and failures name the host and what to do."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from simulated_dify import (
    FINAL_MIX,
    Access,
    at,
    log_ids,
    make_day,
    opened,
    order,
    run_all,
    stored_entries,
    whole,
)
from tcp_proxy import SOUND, Network, proxied

import flowledger_simulator as simulator
from flowledger.errors import DeadlineExceededError, SourceUnreachableError
from flowledger_simulator import SimulatedServer

RUNS = 20
SOME = frozenset(range(2, 40, 3))
"""Every third connection, the first one left alone."""


@pytest.fixture
def server() -> Iterator[SimulatedServer]:
    """A server of ended runs whose clock stands."""
    with simulator.serve(make_day(RUNS, mix=FINAL_MIX), options=at()) as running:
        yield running


def assert_all_is_there(server: SimulatedServer, folder: Path) -> None:
    """Every run is held once, with its node executions."""
    entries = stored_entries(folder)
    assert log_ids(entries) == sorted(run.log_id for run in server.world.runs())
    assert len(whole(entries)) == RUNS


@pytest.mark.fault(5, 7)
@pytest.mark.parametrize(
    "network",
    [
        pytest.param(Network(latency_s=0.005), id="latency"),
        pytest.param(Network(bytes_per_s=2_000_000), id="bandwidth"),
        pytest.param(Network(slice_bytes=7, concerns=SOME), id="slicer"),
        pytest.param(Network(slice_bytes=1, concerns=frozenset({1})), id="byte by byte"),
        pytest.param(Network(close_wait_s=0.05), id="slow close"),
    ],
)
def test_a_slow_network_costs_time_and_nothing_else(
    network: Network, server: SimulatedServer, tmp_path: Path
) -> None:
    """However answers are cut into pieces, they are put together again."""
    with (
        proxied(server.base_url, network) as proxy,
        opened(proxy.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline)
    assert result["certificate"]["certified"]
    assert proxy.did["connections"]
    assert_all_is_there(server, tmp_path)


@pytest.mark.fault(5)
@pytest.mark.parametrize("end", [0, 150, 5_000])
@pytest.mark.parametrize("resets", [True, False])
def test_connections_that_break_at_any_byte_cost_tries_and_nothing_else(
    resets: bool, end: int, server: SimulatedServer, tmp_path: Path
) -> None:
    """Before the first byte, within the headers, within the body: the answer is asked for again, whole."""
    network = Network(cut_after_bytes=end, resets=resets, concerns=SOME)
    with (
        proxied(server.base_url, network) as proxy,
        opened(proxy.base_url, tmp_path, Access(tries=8)) as pipeline,
    ):
        result = run_all(pipeline)
    assert proxy.did["reset" if resets else "cut"]
    assert result["certificate"]["certified"]
    assert_all_is_there(server, tmp_path)


@pytest.mark.fault(7)
@pytest.mark.parametrize("end", [0, 300])
def test_connections_that_fall_silent_meet_the_deadline(
    end: int, server: SimulatedServer, tmp_path: Path
) -> None:
    """The request is given up in time and made again on another connection."""
    network = Network(cut_after_bytes=end, holds=True, concerns=frozenset({1, 3}))
    with (
        proxied(server.base_url, network) as proxy,
        opened(proxy.base_url, tmp_path, Access(deadline_s=0.5)) as pipeline,
    ):
        result = run_all(pipeline)
    assert proxy.did["held"]
    assert result["certificate"]["certified"]
    assert_all_is_there(server, tmp_path)


@pytest.mark.fault(7)
def test_a_network_that_is_too_slow_is_named(server: SimulatedServer, tmp_path: Path) -> None:
    """Bytes that trickle keep no request alive: the message names the host and the setting."""
    with (
        proxied(server.base_url, Network(slice_bytes=1, slice_wait_s=0.02)) as proxy,
        opened(proxy.base_url, tmp_path, Access(deadline_s=0.3, tries=2)) as pipeline,
        pytest.raises(DeadlineExceededError, match=r"127\.0\.0\.1.*DIFY_REQUEST_DEADLINE_S"),
    ):
        pipeline.collect(order())
    assert stored_entries(tmp_path) == []


@pytest.mark.fault(8)
def test_a_network_that_is_down_is_named_and_the_next_run_repairs(
    server: SimulatedServer, tmp_path: Path
) -> None:
    """While it is down nothing is certified and no report is written; afterwards nothing is missing."""
    with proxied(server.base_url, Network(down=True)) as proxy:
        with (
            opened(proxy.base_url, tmp_path, Access(tries=3)) as pipeline,
            pytest.raises(SourceUnreachableError, match=r"127\.0\.0\.1"),
        ):
            run_all(pipeline)
        assert proxy.did["down"] == 3
        assert server.requests.total == 0
        assert not (tmp_path / "reports").exists()
        proxy.network = SOUND
        with opened(proxy.base_url, tmp_path) as pipeline:
            result = run_all(pipeline)
    assert result["certificate"]["certified"]
    assert_all_is_there(server, tmp_path)


@pytest.mark.fault(3, 5)
def test_a_network_that_goes_down_while_details_are_read_leaves_reasons_and_is_repaired(
    server: SimulatedServer, tmp_path: Path
) -> None:
    """The report says what is missing and why; the next run asks for that alone."""
    with proxied(server.base_url) as proxy:
        with opened(proxy.base_url, tmp_path, Access(tries=2)) as pipeline:
            collected = pipeline.collect(order())
            proxy.network = replace(SOUND, cut_after_bytes=0, resets=True)
            enriched = pipeline.enrich(collected, order())
            report = pipeline.report(collected, order(), enriched, run_id="broken")
        assert report.all_paths
        assert report.figures.missing
        assert all("127.0.0.1" in reason for reason in report.figures.missing_reasons)
        proxy.network = SOUND
        server.requests.clear()
        with opened(proxy.base_url, tmp_path) as pipeline:
            result = run_all(pipeline)
    assert (result["detailed"], result["missing"]) == (RUNS, 0)
    assert_all_is_there(server, tmp_path)


@pytest.mark.fault(6)
def test_a_proxy_that_drops_idle_connections_is_invisible(server: SimulatedServer, tmp_path: Path) -> None:
    """A connection that died while nobody used it is replaced without anybody being told."""
    access = Access()
    with proxied(server.base_url) as proxy, opened(proxy.base_url, tmp_path, access) as pipeline:
        collected = pipeline.collect(order())
        proxy.drop()
        pipeline.enrich(collected, order())
    assert len(access.waits) <= 1
    assert_all_is_there(server, tmp_path)
