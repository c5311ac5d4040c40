"""Runs whose data would break a report: it is written all the same, in every format and export."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # has no types
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowledger.dify import parsing
from flowledger.domain.figures import FiguresCounter
from flowledger.domain.report_heading import Heading
from flowledger.domain.run_mapping import decoded, entry_row, flat
from flowledger.domain.runs import AppKey, Creator, Detailed, Entry, Missing
from flowledger.io.json_text import dumps_lossless, dumps_strict, loads
from flowledger.plugins import REPORT_FORMATS, load
from flowledger.services.history.transfer import Depth, columns_of, rows_of, write_parquet, writer_of
from flowledger.services.report import add_run

APP = AppKey("dify", "app-1")


def nested(levels: int, inside: Any = 1) -> Any:
    """A list in lists."""
    for _ in range(levels):
        inside = [inside]
    return inside


HOSTILE = (
    *(
        float("nan"),
        float("inf"),
        10**400,
        -(2**70),
        1e300,
        "1e400000000",
        "9" * 5000,
        "\ud800",
        "a\udfff\x00",
    ),
    *(nested(253), nested(950), {"\ud800": {"k": nested(300)}}, "[" * 950 + "]" * 950, {"usage": "\udc00"}),
)
VALUES = (
    st.sampled_from(HOSTILE) | st.text(alphabet=st.characters(), max_size=5) | st.integers() | st.floats()
)
INSTANTS = st.sampled_from(
    (
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00Z", 253_402_300_799),
        *(10**30, -1, "1e400000000", "Mon, 01 Jan 0001 00:00:00 +1400", float("nan"), None, 1795219100),
    )
)


def answered(value: Any, at: Any) -> Entry:
    """A run as the adapter makes it of what a source answers."""
    row = {"id": "log-1", "created_at": 1795219100, "created_by_end_user": {"session_id": value}}
    run = {"id": "run-1", "status": "succeeded", "error": value, "elapsed_time": value, "total_tokens": value}
    row["workflow_run"] = {**run, "created_at": at, "finished_at": at, "total_steps": value}
    node = {
        "node_type": "llm",
        "outputs": {"text": value},
        "created_at": at,
        "elapsed_time": value,
        "title": value,
    }
    node["execution_metadata"] = {"total_price": value, "total_tokens": value, "currency": value}
    start = {"node_type": "start", "inputs": {"query": value, "sys.conversation_id": value}}
    listed = parsing.log_run(APP, row)
    body = dumps_lossless({"data": [start, node, {"node_type": "end", "outputs": {"text": value}}]})
    return Entry(listed, decoded(parsing.decode, listed, {"nodes": body}, ""))


def strictly(text: bytes) -> Any:
    """Parse as strict parsers do."""

    def refuse(token: str) -> Any:
        raise AssertionError(token)

    orjson.loads(text)  # it refuses lone surrogates, also as escapes
    return json.loads(text, parse_constant=refuse)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=VALUES, at=INSTANTS)
def test_every_format_takes_every_run(
    value: Any, at: Any, heading: Heading, make_entry: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One hostile run among good ones: all are counted, and every file can be read."""
    entries = [make_entry(1), answered(value, at), make_entry(2)]
    counter = FiguresCounter(heading.tz, now=heading.generated_at, window=heading.window)
    for entry in entries:
        add_run(counter.add, entry)
    figures = counter.figures()
    assert figures.runs == 3
    for name in REPORT_FORMATS:
        directory = tmp_path_factory.mktemp("report")
        with load("report format", name)().begin(heading, directory) as writer:
            for entry in entries:
                add_run(writer.add, entry)
            paths = writer.finish(figures)
        assert sum(path.stat().st_size for path in paths) < 5_000_000
        for path in paths:
            path.read_bytes().decode("utf-8", "strict")
        if name == "json":
            assert len(strictly(paths[0].read_bytes())["data"]) == 3


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=VALUES, at=INSTANTS)
def test_every_export_takes_every_run(value: Any, at: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """CSV, strict JSON, JSON lines, Parquet and the API's answers."""
    entries = [answered(value, at)]
    for name in ("csv", "json", "jsonl"):
        stream = BytesIO()
        assert writer_of(name, Depth.DETAILS)(rows_of(entries, Depth.DETAILS), stream) == 1
        if name == "csv":
            assert len(list(csv.reader(StringIO(stream.getvalue().decode("utf-8-sig"))))) == 2
        else:
            strictly(stream.getvalue())
    path = tmp_path_factory.mktemp("parquet") / "runs.parquet"
    write_parquet([flat(entry_row(entries[0]))], columns_of(Depth.DETAILS), path)
    assert pq.read_table(path).num_rows == 1
    assert len(dumps_strict(entry_row(entries[0]))) < 200_000


class Broken(Mapping[str, Any]):
    """Inputs that nobody can read."""

    def __getitem__(self, key: str) -> Any:
        raise RecursionError(key)

    def __iter__(self) -> Iterator[str]:
        raise RecursionError

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("name", sorted(REPORT_FORMATS))
def test_what_cannot_be_shown_is_missing(
    name: str, heading: Heading, make_entry: Any, tmp_path: Path
) -> None:
    """The run stays in the report and in its figures, with the reason in the place of its data."""
    broken = replace(make_entry(2), detail=Detailed(Broken(), Broken(), [], {}))
    counter = FiguresCounter(heading.tz, now=heading.generated_at)
    with load("report format", name)().begin(heading, tmp_path) as writer:
        for entry in (make_entry(1), broken, make_entry(3)):
            add_run(counter.add, entry)
            add_run(writer.add, entry)
        figures = counter.figures()
        text = b"".join(path.read_bytes() for path in writer.finish(figures)).decode()
    assert (figures.runs, figures.missing_reasons) == (3, {"its data cannot be read (RecursionError)": 1})
    assert "run-2" in text or name == "csv"
    assert "run-3" in text or name == "csv"


def test_a_body_that_cannot_be_decoded_is_missing_and_stays(make_entry: Any) -> None:
    """The other runs of a ledger can be read; the body is there for another day."""
    run, bodies = make_entry(1).run, {"nodes": b'{"data": 7}'}

    def refuse(*_: object) -> Detailed:
        raise KeyError("data")

    detail = decoded(refuse, run, bodies, "")
    assert detail == Detailed(None, None, Missing("its data cannot be read (KeyError)"), bodies)


def test_an_integer_of_too_many_digits_is_a_text() -> None:
    """Python reads none of more than 4,300 digits: one such number would cost the whole page of runs."""
    digits = "7" * 4301
    read = loads(f'{{"few": {"7" * 400}, "many": [{digits}, -{digits}]}}')
    assert read == {"few": int("7" * 400), "many": [digits, f"-{digits}"]}
    assert loads(dumps_lossless(read)) == read


def test_deep_json_is_written_as_it_was() -> None:
    """950 levels with a lone surrogate, which orjson parses or refuses and json cannot write."""
    deep = nested(950, {"a": "\ud800", "b": [1, "2", None, True, 1.5]})
    assert json.dumps(loads(dumps_lossless(nested(950)))) == json.dumps(nested(950))
    text = dumps_lossless(deep)
    assert text.endswith(b"]" * 950)
    assert b"\\ud800" in text
    with pytest.raises(ValueError, match="deeply"):
        loads(b"[" * 100_000 + b"NaN" + b"]" * 100_000)


def test_times_beyond_the_calendar_are_none() -> None:
    """Years 1 and 9999 with offsets, and what only some zones could show."""
    for value in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "0001-01-01", 253_402_300_799):
        assert parsing.instant(value) is None
    assert parsing.instant(253_402_214_400) == datetime(9999, 12, 31, tzinfo=UTC)
    assert parsing.number("1e400000000") is None
    assert parsing.integer(10**400) is None
    assert parsing.number("0.10") == Decimal("0.10")
    assert parsing.creator({"created_by_end_user": {"session_id": "u"}}) == Creator(
        "end_user", name="u", session_id="u"
    )
