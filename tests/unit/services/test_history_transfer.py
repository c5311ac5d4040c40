"""Runs as JSON: many at once are written as they are one by one."""

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.run_mapping import Row, instant, run_row
from flowledger.domain.runs import AppKey, Creator, Run, RunStatus
from flowledger.io.json_text import dumps_strict
from flowledger.services.history.transfer import Depth, writer_of

RUN = Run(AppKey("dify", "app"), "run", datetime(2026, 11, 1, tzinfo=UTC), RunStatus.SUCCESS, "succeeded")
TEXTS = st.text() | st.sampled_from(['},{"', '"},{"source":"', '\\"},{\\"', "}\n{", "\ud800"])
RUNS = st.builds(
    lambda text, number, name, at, seconds: replace(
        RUN,
        error=text,
        total_tokens=number,
        creator=Creator("account", name=name),
        started_at=at,
        elapsed_s=seconds,
    ),
    TEXTS,
    st.none() | st.integers(-(2**70), 2**70),
    TEXTS,
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.none() | st.decimals(),
)


def written(name: str, rows: list[Row]) -> bytes:
    stream = BytesIO()
    assert writer_of(name, Depth.ROW)(rows, stream) == len(rows)
    return stream.getvalue()


def line(row: Row) -> bytes:
    """An object as one line of strict JSON; lone surrogates, which no strict parser takes, are replaced."""
    return dumps_strict(row)


@given(st.lists(RUNS, max_size=4))
def test_rows_are_written_as_one_by_one(runs: list[Run]) -> None:
    """Nothing in a text is taken for the end of an object; one that takes another writer changes no other."""
    lines = [line(run_row(each)) for each in runs]
    assert written("jsonl", [run_row(each) for each in runs]) == b"".join(each + b"\n" for each in lines)
    listed = b"[\n" + b",\n".join(lines) + b"\n]\n" if lines else b"[]\n"
    assert written("json", [run_row(each) for each in runs]) == listed


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_are_written_in_iso_8601(at: datetime) -> None:
    """With their zone, and microseconds where they have some."""
    assert instant(at) == at.isoformat()
