"""Events of a run become the fields of its record."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.coze_runs import CozeEvent, Ending, Transcript
from flowledger.domain.record_checks import RecordLimits, check_json
from flowledger_simulator.coze_server import (
    DEBUG_URL,
    TOKENS,
    StreamEvent,
    done,
    end_node,
    failed,
    interrupted,
    message,
    ping,
    spoken,
)


def told(*steps: StreamEvent, most_bytes: int = 10_000) -> Transcript:
    """Fold a script, numbered from 0 on."""
    transcript = Transcript(most_bytes)
    for number, step in enumerate(steps):
        transcript.take(CozeEvent(step.event, step.data, number))
    return transcript


def test_a_run_that_goes_well_tells_output_tokens_and_debug_url() -> None:
    """Pieces are put together by node, and Done is success."""
    transcript = told(*spoken("Hello, world"), ping(), end_node("bye"), done())
    assert transcript.ending == Ending("success")
    assert transcript.changes() == {
        "is_output_trimmed": False,
        "output": {"Output": "Hello, world", "End": '{"output": "bye"}'},
        "node_execute_status": {
            "Output": {"is_finish": True, "content_type": "text"},
            "End": {"is_finish": True, "content_type": "text"},
        },
        "usage": TOKENS,
        "debug_url": DEBUG_URL,
    }


def test_two_texts_of_one_title_stay_two() -> None:
    """A node in a loop, or two of the same name, are told apart."""
    once_more = message("again", is_last=True)
    assert told(*spoken("first"), once_more).changes()["output"] == {"Output": "first", "Output (2)": "again"}


def test_nodes_that_talk_at_once_are_told_apart_by_their_ids() -> None:
    """Pieces of two executions of one node do not mix."""
    steps = [message(text, node_execute_uuid=uuid) for text, uuid in (("a", "1"), ("x", "2"), ("b", "1"))]
    assert told(*steps).changes()["output"] == {"Output": "ab", "Output (2)": "x"}


def test_an_error_is_a_failure_with_its_code() -> None:
    """What came before it is kept."""
    transcript = told(*spoken("half"), failed(4200, "not published"))
    assert transcript.ending == Ending("failed", 4200, "not published")
    assert transcript.changes()["output"] == {"Output": "half"}


def test_an_interrupt_keeps_what_resuming_needs() -> None:
    """event_id and type are what Coze wants back."""
    ending = told(interrupted("a/b")).ending
    assert ending is not None
    assert ending.status == "interrupted"
    assert ending.interrupt == {
        "node_title": "Question",
        "interrupt_data": {"data": "", "event_id": "a/b", "type": 2},
    }


def test_the_first_end_counts() -> None:
    """Nothing after it changes anything."""
    transcript = told(failed(1, "first"), done(), *spoken("late"))
    assert transcript.ending == Ending("failed", 1, "first")
    assert "output" not in transcript.changes()


def test_lost_events_are_counted() -> None:
    """Coze numbers events so that a lost one shows."""
    transcript = Transcript(1000)
    for number in (0, 1, 4, 5):
        transcript.take(CozeEvent("PING", {}, number))
    assert transcript.missing_events == 2


def test_output_beyond_the_limit_is_left_out_from_there_on() -> None:
    """A text with a hole would look whole."""
    transcript = told(message("a" * 300), message("b" * 900), message("c"), most_bytes=1000)
    assert transcript.changes()["output"] == {"Output": "a" * 300}
    assert transcript.changes()["is_output_trimmed"] is True


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "content",
        "content_type",
        "node_title",
        "node_id",
        "node_execute_uuid",
        "node_is_finish",
        "usage",
        "debug_url",
        "error_code",
        "error_message",
        "interrupt_data",
    ]
)
EVENTS = st.builds(
    CozeEvent,
    st.sampled_from(["Message", "Error", "Done", "Interrupt", "PING", "", "New"]),
    st.dictionaries(NAMES, JSON, max_size=6),
    st.none() | st.integers(0, 5),
)


@given(st.lists(EVENTS, max_size=8), st.integers(0, 500))
def test_whatever_comes_can_be_recorded(events: list[CozeEvent], most_bytes: int) -> None:
    """No event of Coze makes a record that a ledger refuses, nor one larger than allowed."""
    transcript = Transcript(most_bytes)
    for event in events:
        transcript.take(event)
    ending = transcript.ending
    limits = RecordLimits(size_bytes=1_000_000)
    check_json("changes", transcript.changes(), limits)
    check_json("interrupt", ending.interrupt if ending else None, limits)
    assert transcript.output_bytes <= most_bytes
    assert sum(map(len, transcript.changes().get("output", {}).values())) <= most_bytes
    assert ending is None or isinstance(ending.error_message, str | None)


@pytest.mark.parametrize("code", [None, True, 1.5, {}, []])
def test_a_code_that_is_none_becomes_a_word(code: object) -> None:
    """error_code is a number or a text, whatever Coze sends."""
    ending = told(StreamEvent("Error", {"error_code": code})).ending
    assert ending == Ending("failed", "error", "Coze gave no reason")
