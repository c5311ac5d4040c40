"""Bytes become server-sent events, however they are split."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.errors import SourceGarbledError
from flowledger.http.event_stream import EventParser, ServerSentEvent

LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["", ":", ": comment", "data", "data:", "retry: 1", "id: 7", "event: Done", "strange: x"]
        ),
        st.text(alphabet="aé你😀 :{}", max_size=12).map("data: ".__add__),
        st.text(alphabet="Mé你😀", max_size=5).map("event:".__add__),
    ),
    max_size=12,
)
ENDS = st.sampled_from(["\n", "\r", "\r\n"])


def events_of(chunks: list[bytes], max_bytes: int = 10_000) -> list[ServerSentEvent]:
    """Feed the chunks one by one."""
    parser = EventParser(max_bytes)
    return [*(event for chunk in chunks for event in parser.feed(chunk)), *parser.finish()]


@given(LINES, st.lists(ENDS, min_size=12, max_size=12), st.sets(st.integers(0, 400)), st.booleans())
def test_any_split_of_the_bytes_gives_the_same_events(
    lines: list[str], ends: list[str], cuts: set[int], with_mark: bool
) -> None:
    """Where the network cuts, also within a character or CRLF, makes no difference."""
    text = "".join(line + end for line, end in zip(lines, ends, strict=False))
    whole = (b"\xef\xbb\xbf" if with_mark else b"") + text.encode()
    places = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(places)]
    assert events_of(pieces) == events_of([whole])
    assert events_of([bytes([byte]) for byte in whole]) == events_of([whole])


@given(LINES, ENDS)
def test_the_end_of_line_does_not_matter(lines: list[str], end: str) -> None:
    """CR, LF and CRLF are the same."""
    assert events_of([end.join([*lines, ""]).encode()]) == events_of(["\n".join([*lines, ""]).encode()])


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"id: 0\nevent: Message\ndata: {}\n\n", [("Message", "{}", "0")]),
        (b"id:0\nevent:Message\ndata:{}\n\n", [("Message", "{}", "0")]),
        (b"data: a\ndata:  b\n\n", [("", "a\n b", "")]),
        (b": here\n\nevent: PING\n\n", [("PING", "", "")]),
        (b"event: Done\ndata: {}", [("Done", "{}", "")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("", "1", "")]),
        (b"data: \xff\n\n", [("", "\ufffd", "")]),
        (b"id: 1\n\ndata: x\n\n", [("", "x", "")]),
        (b"\n\n\n", []),
    ],
)
def test_events_are_read_as_they_are_written(sent: bytes, expected: list[tuple[str, str, str]]) -> None:
    """Names, data of several lines, ids, comments, a byte order mark, bytes that are no UTF-8."""
    assert events_of([sent]) == [ServerSentEvent(*each) for each in expected]


@pytest.mark.parametrize("sent", [b"data: " + b"x" * 200, b"data: xxxxxxxxxx\n" * 20, b":" + b"x" * 200])
def test_an_event_that_is_too_large_is_refused(sent: bytes) -> None:
    """Neither one endless line nor endless lines fill the memory."""
    with pytest.raises(SourceGarbledError, match="more than 100 bytes"):
        events_of([sent], max_bytes=100)


def test_endless_comments_are_no_large_event() -> None:
    """What keeps a connection open may come as long as it likes."""
    assert events_of([b": here\n"] * 1000 + [b"data: x\n\n"], max_bytes=100) == [ServerSentEvent("", "x", "")]
