"""Runs written as JSON lines, JSON, CSV or Parquet, and read from JSON lines, a block of rows at a time."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from flowledger.domain import run_mapping
from flowledger.domain.executions import other_workflow
from flowledger.domain.history import RunKey
from flowledger.domain.numbers import LARGEST
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import KINDS
from flowledger.domain.runs import Entry
from flowledger.domain.spreadsheets import defuse, needs_quotes
from flowledger.domain.texts import mend
from flowledger.errors import UsageError
from flowledger.io.json_text import dumps_escaped, dumps_strict
from flowledger.ports import Decoder, Ledger
from flowledger.services.history.migrate import save_entries
from flowledger.services.history.old_layouts import record_item
from flowledger.services.history.paging import DETAILED_PAGE
from flowledger.services.history.whole_file import whole_file

BLOCK = 1000
"""Rows written at once."""
NO_PYARROW = (
    "Parquet needs pyarrow, which is not installed: run scripts/setup --all, or choose another format"
)
BOM = b"\xef\xbb\xbf"


class Depth(StrEnum):
    """How much of a run is written."""

    ROW = "row"
    DETAILS = "details"
    LOSSLESS = "lossless"


def columns_of(depth: Depth) -> Mapping[str, run_mapping.ColumnType]:
    """Return the columns of a depth that has any."""
    return (
        run_mapping.COLUMNS if depth is Depth.ROW else {**run_mapping.COLUMNS, **run_mapping.DETAIL_COLUMNS}
    )


def rows_of(entries: Iterable[Entry], depth: Depth) -> Iterator[run_mapping.Row]:
    """Return runs as JSON objects."""
    if depth is Depth.ROW:
        return (run_mapping.run_row(entry.run) for entry in entries)
    return map(run_mapping.entry_row if depth is Depth.DETAILS else run_mapping.document_of, entries)


def write_json_lines(
    rows: Iterable[run_mapping.Row], stream: BinaryIO, *, nested: bool = True, strict: bool = False
) -> int:
    """Write an object on each line, and return how many; they may hold objects where they are ``nested``.

    ``strict`` mends what strict parsers refuse; else it is escaped, so that it comes back as it was.
    """
    written = 0
    for block in _blocks(rows):
        stream.write(_objects(block, b"\n", nested=nested, strict=strict) + b"\n")
        written += len(block)
    return written


def write_json(rows: Iterable[run_mapping.Row], stream: BinaryIO, *, nested: bool = True) -> int:
    """Write one list of objects as strict JSON, and return how many; they hold objects if ``nested``."""
    written, before = 0, b"[\n"
    for block in _blocks(rows):
        stream.write(before + _objects(block, b",\n", nested=nested, strict=True))
        written, before = written + len(block), b",\n"
    stream.write(b"\n]\n" if written else b"[]\n")
    return written


def write_csv(
    rows: Iterable[run_mapping.Row],
    columns: Mapping[str, run_mapping.ColumnType],
    stream: BinaryIO,
    *,
    raw_values: bool = False,
) -> int:
    """Write CSV with a line of names, as spreadsheets take it: each text in it is shown as it is.

    ``raw_values`` leaves texts as they are, for programs.
    """
    text = io.StringIO(newline="")
    writer, quoting = csv.writer(text), csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    stream.write(BOM)
    written = 0
    for block in _blocks(rows):
        for row in block:
            if raw_values:
                writer.writerow(list(run_mapping.flat(row).values()))
                continue
            cells = [_cell(name, value) for name, value in run_mapping.flat(row).items()]
            parted = any(needs_quotes(cell) for cell in cells if isinstance(cell, str))
            (quoting if parted else writer).writerow(cells)
        stream.write(mend(text.getvalue()).encode())
        text.seek(0)
        text.truncate()
        written += len(block)
    stream.write(text.getvalue().encode())
    return written


def write_parquet(
    rows: Iterable[run_mapping.Row], columns: Mapping[str, run_mapping.ColumnType], path: Path
) -> int:
    """Write rows under the given columns, and return how many; none at all makes a file with columns only.

    Values are as in ``domain.run_mapping``: instants ISO 8601 text, objects JSON text.

    :raises UsageError: without pyarrow; StorageError: when the file cannot be written.
    """
    pa, pq = _pyarrow()
    kinds = {
        run_mapping.ColumnType.TEXT: pa.string(),
        run_mapping.ColumnType.INTEGER: pa.int64(),
        run_mapping.ColumnType.NUMBER: pa.float64(),
        run_mapping.ColumnType.FLAG: pa.bool_(),
    }
    schema = pa.schema([pa.field(name, kinds[kind]) for name, kind in columns.items()])
    written = 0
    with whole_file(path) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for block in _blocks(rows):
            fitting = [{name: _parquet_value(value) for name, value in row.items()} for row in block]
            writer.write_table(pa.Table.from_pylist(fitting, schema=schema))
            written += len(block)
    return written


def _parquet_value(value: Any) -> Any:
    if isinstance(value, str):
        return mend(value)
    return None if isinstance(value, int) and abs(value) > LARGEST else value


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]  # has no types, and is an extra
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # has no types, and is an extra
    except ImportError as error:
        raise UsageError(NO_PYARROW) from error
    return pa, pq


def writer_of(
    name: str, depth: Depth, *, raw_values: bool = False
) -> Callable[[Iterable[run_mapping.Row], BinaryIO], int]:
    """Return what writes a format; ``raw_values`` is that of ``write_csv``.

    :raises UsageError: where the format cannot hold the depth.
    """
    nested = depth is not Depth.ROW
    if name == "jsonl":
        return partial(write_json_lines, nested=nested, strict=depth is not Depth.LOSSLESS)
    if depth is Depth.LOSSLESS:
        raise UsageError("--lossless is written as JSON lines only: --format jsonl")
    if name == "json":
        return partial(write_json, nested=nested)
    columns = columns_of(depth)
    return lambda rows, stream: write_csv(rows, columns, stream, raw_values=raw_values)


def _objects(block: list[run_mapping.Row], between: bytes, *, nested: bool, strict: bool) -> bytes:
    """Write objects with something between; flat ones all at once, which takes a fraction of the time."""
    if not nested:
        with suppress(TypeError):  # where one of them needs Python's own writer
            # A quote inside of a text follows a backslash: this is where one object ends and another begins.
            return orjson.dumps(block)[1:-1].replace(b'},{"', b"}" + between + b'{"')
    return between.join(map(dumps_strict if strict else dumps_escaped, block))


def _blocks(rows: Iterable[run_mapping.Row]) -> Iterator[list[run_mapping.Row]]:
    block: list[run_mapping.Row] = []
    for row in rows:
        block.append(row)
        if len(block) >= BLOCK:
            yield block
            block = []
    if block:
        yield block


INSTANTS = frozenset({"listed_at", "started_at", "finished_at"})
"""Columns of times, which spreadsheets may take for times."""


def _cell(name: str, value: Any) -> Any:
    return defuse(value) if isinstance(value, str) and name not in INSTANTS else value


LISTED = 1000
"""So many bad lines are told of by number; all are counted."""


@dataclass(slots=True)
class Imported:
    """What came of the lines; ``problems`` name bad ones by number."""

    runs: int = 0
    operations: int = 0
    bad: int = 0
    problems: list[str] = field(default_factory=list)

    def refuse(self, number: int, why: str) -> None:
        """Take note of a bad line."""
        self.bad += 1
        if len(self.problems) < LISTED:
            self.problems.append(f"line {number}: {why}")


def import_lines(
    lines: Iterable[bytes], ledger: Ledger | None, decoders: Mapping[str, Decoder], zone: tzinfo
) -> Imported:
    """Write what ``export --lossless`` wrote, or records of the record services; None writes nothing.

    Bad lines are passed over and told of.  Times of records without offset are in the zone.
    """
    imported = Imported()
    batch: list[Entry] = []
    for number, item in _items(lines, imported, decoders, zone):
        if isinstance(item, Operation):
            imported.operations += 1
            if ledger is not None:
                ledger.record(item)
            continue
        if owner := _other_owner(item, ledger, batch):
            imported.refuse(number, str(other_workflow(item.run.run_id, owner, item.run.app.app_id)))
            continue
        imported.runs += 1
        batch.append(item)
        if len(batch) >= DETAILED_PAGE:
            _save(ledger, batch)
            batch = []
    _save(ledger, batch)
    return imported


def _items(
    lines: Iterable[bytes], imported: Imported, decoders: Mapping[str, Decoder], zone: tzinfo
) -> Iterator[tuple[int, Entry | Operation]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, _item(json.loads(line), decoders, zone)
        except (UsageError, ValueError, RecursionError, ArithmeticError) as error:
            imported.refuse(number, str(error))


def _other_owner(entry: Entry, ledger: Ledger | None, batch: Iterable[Entry]) -> str | None:
    """Return the workflow that has the id of a recorded execution already; None where none other has."""
    app, run_id = entry.run.app, entry.run.run_id
    if app.source not in KINDS:
        return None
    runs = (each.run for each in batch if each.run.run_id == run_id)
    owner = next((run.app for run in runs if run.app.source == app.source), None)
    if owner is None and ledger is not None and ledger.entry(RunKey(app, run_id)) is None:
        owner = ledger.locate(app.source, run_id)
    return None if owner is None or owner == app else owner.app_id


def _item(document: Any, decoders: Mapping[str, Decoder], zone: tzinfo) -> Entry | Operation:
    if not isinstance(document, dict):
        raise UsageError("it is no JSON object")
    if "run_id" in document or document.get("format") == run_mapping.FORMAT:
        return run_mapping.entry_of(document, decoders)
    return record_item(document, zone)


def _save(ledger: Ledger | None, batch: list[Entry]) -> None:
    if ledger is not None and batch:
        save_entries(ledger, batch)
