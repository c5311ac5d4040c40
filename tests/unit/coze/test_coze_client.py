"""The client against a simulated Coze, over loopback."""

import socket
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr

from flowledger.coze.client import CozeClient, CozeRun
from flowledger.domain.coze_runs import CozeEvent, WorkflowOrder
from flowledger.errors import (
    AuthenticationError,
    DeadlineExceededError,
    FlowledgerError,
    SourceBusyError,
    SourceGarbledError,
    SourceRefusedError,
    SourceUnreachableError,
)
from flowledger_simulator.coze_server import (
    GOOD,
    TOKEN,
    Act,
    Script,
    SimulatedCoze,
    done,
    message,
    refused,
    serve_coze,
    spoken,
)

ORDER = WorkflowOrder("w", {"city": "Київ"}, bot_id="b", conversation_id="c", user_id="u")


@pytest.fixture
def coze() -> Iterator[SimulatedCoze]:
    """Serve one for each test."""
    with serve_coze() as server:
        yield server


def client_of(coze: SimulatedCoze, token: str = TOKEN, **options: Any) -> CozeClient:
    """Make a client with its token."""
    return CozeClient(coze.base_url, SecretStr(token), **options)


def run_of(coze: SimulatedCoze, script: Script = GOOD, **options: Any) -> CozeRun:
    """Make a run of the workflow with this script."""
    coze.scripts["w"] = script
    return client_of(coze, **options).prepare(ORDER)


def told_by(run: CozeRun) -> list[CozeEvent]:
    """Open the run and read all of it."""
    found: list[CozeEvent] = []
    tell_all(run, found)
    run.close()
    return found


def tell_all(run: CozeRun, found: list[CozeEvent]) -> None:
    """Open the run and put its events there."""
    run.open()
    while events := run.read():
        found.extend(events)


@pytest.mark.parametrize("piece_bytes", [0, 1, 7])
def test_all_events_come_however_they_are_cut(coze: SimulatedCoze, piece_bytes: int) -> None:
    """A good run is told from the first message to Done, numbered."""
    found = told_by(run_of(coze, Script(GOOD.steps, piece_bytes=piece_bytes)))
    assert [event.event for event in found] == ["Message"] * 3 + ["PING", "Message", "Done"]
    assert [event.number for event in found] == list(range(6))


def test_coze_is_asked_as_it_documents(coze: SimulatedCoze) -> None:
    """The user goes as ext, the token only in its header, and nothing else is told."""
    told_by(run_of(coze))
    asked = coze.requests[0]
    assert asked.body == {
        "workflow_id": "w",
        "parameters": {"city": "Київ"},
        "bot_id": "b",
        "ext": {"user_id": "u"},
    }
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["Accept-Encoding"] == "identity"


def test_the_log_id_is_kept(coze: SimulatedCoze) -> None:
    """Coze's support finds a run by it."""
    run = run_of(coze)
    assert run.log_id is None
    told_by(run)
    assert run.log_id == "simulated-log-id"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (refused(4200, "not published"), SourceRefusedError),
        (refused(4000, "bad", status=400), SourceRefusedError),
        (refused(0, "moved", status=302), SourceRefusedError),
        (refused(4100, "wrong token"), AuthenticationError),
        (refused(4101, "no right", status=403), AuthenticationError),
        (refused(4013, "too many"), SourceBusyError),
        (refused(5000, "broken", status=500), SourceBusyError),
        (Script((b"<html>",), content_type="text/html"), SourceGarbledError),
        (Script((b"",), headers={"Content-Encoding": "gzip"}), SourceGarbledError),
    ],
)
def test_a_refusal_has_the_class_that_says_what_to_do(
    coze: SimulatedCoze, script: Script, kind: type[FlowledgerError]
) -> None:
    """By status, or by the code in an answer of 200."""
    with pytest.raises(kind) as caught:
        run_of(coze, script).open()
    assert TOKEN not in str(caught.value)


def test_a_busy_coze_says_when_to_come_again(coze: SimulatedCoze) -> None:
    """Retry-After is kept."""
    script = Script((b"{}",), 429, "application/json", {"Retry-After": "7"})
    with pytest.raises(SourceBusyError) as caught:
        run_of(coze, script).open()
    assert (caught.value.status, caught.value.retry_after_s) == (429, 7.0)


def test_a_wrong_token_is_in_no_error(coze: SimulatedCoze) -> None:
    """Neither in the message nor in what a client shows of itself."""
    client = client_of(coze, "pat_mistaken")
    with pytest.raises(AuthenticationError, match="COZE_API_TOKEN") as caught:
        client.prepare(ORDER).open()
    assert "pat_mistaken" not in f"{caught.value!r} {client!r} {caught.value.body}"


def test_nobody_there_is_an_error_at_once() -> None:
    """A refused connection names the address and the setting."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    client = CozeClient(f"http://127.0.0.1:{port}", SecretStr(TOKEN))
    with pytest.raises(SourceUnreachableError, match="COZE_BASE_URL"):
        client.prepare(ORDER).open()


def test_events_before_a_cut_are_given_and_then_the_cut(coze: SimulatedCoze) -> None:
    """A connection that breaks is no end."""
    run = run_of(coze, Script((*spoken("half"), Act.CUT)))
    found: list[CozeEvent] = []
    with pytest.raises(SourceUnreachableError, match="broke"):
        tell_all(run, found)
    assert len(found) == 2
    assert len(coze.requests) == 1, "it must not be run again"


@pytest.mark.parametrize(
    "garbage", [b"data: {cut\n\n", b"data: [1]\n\n", b"data: NaN\n\n", b"data: " + b"[" * 99_999 + b"\n\n"]
)
def test_good_events_before_garbage_are_given_first(coze: SimulatedCoze, garbage: bytes) -> None:
    """Also where both came in one piece."""
    good = b'event: Message\ndata: {"content":"x"}\n\n'
    run = run_of(coze, Script((good + garbage + good,)))
    run.open()
    assert [event.data for event in run.read()] == [{"content": "x"}]
    with pytest.raises(SourceGarbledError):
        run.read()
    run.close()


def test_too_long_a_silence_is_an_end(coze: SimulatedCoze) -> None:
    """After some seconds without a byte nothing is expected any more."""
    run = run_of(coze, Script((message("x"), Act.SILENCE)), silence_s=0.1)
    run.open()
    assert len(run.read()) == 1
    with pytest.raises(DeadlineExceededError, match=r"0\.1 s"):
        run.read()
    assert coze.left.get(timeout=5) == "w"


def test_closing_wakes_up_who_reads_and_tells_coze(coze: SimulatedCoze) -> None:
    """Another thread ends a silent run at once."""
    run = run_of(coze, Script((message("x"), Act.SILENCE)))
    run.open()
    run.read()
    found: list[object] = []
    reader = Thread(target=lambda: found.append(run.read()))
    reader.start()
    run.close()
    reader.join(timeout=5)
    assert found == [()]
    assert coze.left.get(timeout=5) == "w"


def test_a_run_closed_before_it_is_open_sends_no_more(coze: SimulatedCoze) -> None:
    """Its connection is given back as soon as there is one."""
    run = run_of(coze, Script((message("x"), Act.SILENCE, done())))
    run.close()
    run.open()
    assert run.read() == ()
    assert coze.left.get(timeout=5) == "w"
