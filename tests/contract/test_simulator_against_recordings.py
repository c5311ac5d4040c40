"""The simulator answers every recorded question as the recorded server did."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import requests
from json_shapes import compare
from recorded_answers import FOLDER, Recording, all_recordings, shape_of
from simulator_client import DISABLED, NOT_SERVED, SimulatorClient, find_ask

from flowledger_simulator import RECORDED, Options, Recipe, Release, make_world, serve

NOW = 1_795_000_000.0
MIX = dict.fromkeys(("succeeded", "failed", "partial-succeeded", "stopped", "running", "paused"), 1.0)
OPAQUE = frozenset(
    {
        ".inputs",
        ".outputs",
        ".graph",
        ".user_input_form",
        ".data[].inputs",
        ".data[].outputs",
        ".data[].process_data",
        ".data[].execution_metadata",
    }
)
"""Free-form values: what is in them is the app's affair; the object or text itself is compared."""
SERVED = [recording for recording in all_recordings() if find_ask(recording.name)]


@pytest.fixture(scope="module")
def askers() -> Iterator[dict[str, SimulatorClient]]:
    """One server per recorded release, each with the same made-up world and a clock of its own."""
    with ExitStack() as stack:
        yield {release: stack.enter_context(_start(release)) for release in RECORDED}


@contextmanager
def _start(release: str) -> Iterator[SimulatorClient]:
    world = make_world(Recipe(runs=300, chat_runs=40, mix=MIX, orphans=0.03))
    world.add_app(DISABLED)
    clock = [NOW]
    with serve(world, version=release, options=Options(clock=lambda: clock[0])) as server:
        asker = SimulatorClient(server, Release.parse(release), clock)
        yield asker
        asker.session.close()


def _id(recording: Recording) -> str:
    return f"{recording.release}-{recording.name}"


@pytest.mark.parametrize("recording", SERVED, ids=_id)
def test_answers_as_recorded(askers: dict[str, SimulatorClient], recording: Recording) -> None:
    """Status, headers, fields and JSON types of each answer are the recorded ones."""
    ask = find_ask(recording.name)
    assert ask is not None
    response = ask(askers[recording.release], recording)
    assert response.status_code == recording.status
    assert _headers_of(response) == _headers_as_recorded(recording)
    assert _differences(recording, response) == []


def test_every_recording_is_accounted_for() -> None:
    """A recording is either asked for or listed as not served with a reason."""
    silent = [recording.name for recording in all_recordings() if recording not in SERVED]
    unexplained = [name for name in silent if not any(re.fullmatch(pattern, name) for pattern in NOT_SERVED)]
    assert unexplained == []
    assert len(all_recordings()) == len(list(FOLDER.rglob("*.json")))


def _differences(recording: Recording, response: requests.Response) -> list[str]:
    if isinstance(recording.body, str):
        return [] if response.text == recording.body else ["another page"]
    value = response.json()
    if recording.status >= 400:
        return _error_differences(recording.body, value)
    if "unknown" in recording.name:
        return [] if value == recording.body else [json.dumps(value)]
    own = shape_of(recording.endpoint, recording.status, recording.release)
    wider = shape_of(recording.endpoint, recording.status, None)
    return compare(value, own, wider, OPAQUE)


def _error_differences(recorded: dict[str, Any], value: dict[str, Any]) -> list[str]:
    """Compare errors by value; hints with made-up ids are cut off."""
    cut = " You have requested this URI"
    both = [{**error, "message": str(error.get("message")).split(cut)[0]} for error in (recorded, value)]
    return [] if both[0] == both[1] else [f"{both[1]} instead of {both[0]}"]


def _headers_as_recorded(recording: Recording) -> dict[str, object]:
    return _relevant(recording.header)


def _headers_of(response: requests.Response) -> dict[str, object]:
    return _relevant(lambda name: list(response.raw.headers.getlist(name)))


def _relevant(header: Any) -> dict[str, object]:
    names = ("content-type", "x-version", "x-env", "www-authenticate", "vary", "retry-after")
    cookies = sorted(_cookie_form(text) for text in header("set-cookie"))
    return {**{name: header(name) for name in names}, "set-cookie": cookies}


def _cookie_form(text: str) -> str:
    """Give a cookie's name and attributes without its value and date."""
    name, _, rest = text.partition("=")
    attributes = [part.strip() for part in rest.split(";")[1:]]
    return "; ".join(
        [name, *(part.split("=")[0] if part.startswith("Expires") else part for part in attributes)]
    )
