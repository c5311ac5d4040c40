"""Runs as Parquet files, lossless: what is read back is what was written, source rows and bodies included.

A row has the fields of the run, those of who started it as ``creator_…``, the source's row as ``raw``, and of
the detail its ``level`` (null: never asked for), why it is not deeper, and its bodies by name.  Node
executions are in the bodies and are made of them again.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from datetime import UTC
from decimal import Decimal
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # has no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # has no types

from flowledger.domain.runs import (
    UNREAD,
    AppKey,
    Creator,
    Detail,
    Detailed,
    Entry,
    Level,
    Missing,
    Run,
    RunStatus,
    level_of,
)
from flowledger.errors import StorageError
from flowledger.ports import Decoder

GROUP_ROWS = 1000
GROUP_BYTES = 16 << 20
"""A row group is in memory as a whole, when it is written and when it is read."""

BASE_WEIGHT = 1024
"""About what the small columns of a row take in memory."""

_INSTANT = pa.timestamp("us", tz="UTC")
_CREATOR = tuple(each.name for each in fields(Creator))
_COLUMNS: Mapping[str, pa.DataType] = {
    "source": pa.string(),
    "app_id": pa.string(),
    "run_id": pa.string(),
    "listed_at": _INSTANT,
    "status": pa.string(),
    "source_status": pa.string(),
    "log_id": pa.string(),
    "gone": pa.bool_(),
    "workflow_version": pa.string(),
    "created_from": pa.string(),
    **{f"creator_{name}": pa.string() for name in _CREATOR},
    "error": pa.string(),
    "elapsed_s": pa.string(),
    "total_tokens": pa.int64(),
    "total_steps": pa.int64(),
    "exceptions_count": pa.int64(),
    "started_at": _INSTANT,
    "finished_at": _INSTANT,
    "raw": pa.binary(),
    "level": pa.int8(),
    "reason": pa.string(),
    "permanent": pa.bool_(),
    "bodies": pa.map_(pa.string(), pa.binary()),
}
SCHEMA = pa.schema([pa.field(name, kind) for name, kind in _COLUMNS.items()])
_PLAIN = tuple(
    name
    for name in _COLUMNS
    if name in {each.name for each in fields(Run)} and name not in ("status", "elapsed_s")
)
_INSTANTS = tuple(name for name, kind in _COLUMNS.items() if kind == _INSTANT)
_LARGE = ("raw", "bodies")

Row = dict[str, Any]


def write_part(path: Path, entries: Iterable[Entry]) -> int:
    """Write runs with their details into a new file, and give how many; none makes no file."""
    groups = _groups(map(row_of, entries))
    first = next(groups, None)
    if first is None:
        return 0
    written = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for group in chain((first,), groups):
            writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
            written += len(group)
    return written


def read_part(content: bytes, place: str) -> Iterator[Row]:
    """Read the rows of a file, a row group at a time.

    :raises StorageError: naming the place, when it is damaged or no such file.
    """
    try:
        with pq.ParquetFile(io.BytesIO(content)) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise StorageError(f"{place} has other columns than an archive's: nothing was changed")
            for number in range(file.num_row_groups):
                for row in file.read_row_group(number).to_pylist():
                    yield _in_utc({**row, "bodies": sorted(row["bodies"])})
    except (pa.ArrowException, OSError) as error:
        raise StorageError(
            f"{place} cannot be read as Parquet ({error}): bring it back from a copy of the storage;"
            " nothing was changed"
        ) from error


def row_of(entry: Entry) -> Row:
    """Make a row of a run and its detail."""
    run, detail = entry.run, entry.detail
    creator = {f"creator_{name}": getattr(run.creator, name, None) for name in _CREATOR}
    return _in_utc(
        {
            **{name: getattr(run, name) for name in _PLAIN},
            "source": run.app.source,
            "app_id": run.app.app_id,
            "status": run.status.value,
            **creator,
            "elapsed_s": None if run.elapsed_s is None else str(run.elapsed_s),
            **_detail_columns(detail),
        }
    )


def entry_of(row: Row, decoders: Mapping[str, Decoder]) -> Entry:
    """Make a run with its detail of a row.

    :raises StorageError: when nothing can read the bodies of the run's source.
    """
    app = AppKey(row["source"], row["app_id"])
    creator = {name: row[f"creator_{name}"] for name in _CREATOR}
    run = Run(
        app=app,
        status=RunStatus(row["status"]),
        creator=Creator(**creator) if creator["role"] is not None else None,
        elapsed_s=None if row["elapsed_s"] is None else Decimal(row["elapsed_s"]),
        **{name: row[name] for name in _PLAIN},
    )
    return Entry(run, _detail(run, row, decoders))


def digest_of(row: Row) -> bytes:
    """Give the SHA-256 of all that a row says."""
    small = [row[name] for name in _COLUMNS if name not in _LARGE]
    digest = sha256(repr(small).encode("utf-8", "surrogatepass"))
    for name, body in [("", row["raw"]), *sorted(row["bodies"])]:
        digest.update(f"{name!r} {len(body)}\n".encode("utf-8", "surrogatepass"))
        digest.update(body)
    return digest.digest()


def weight_of(row: Row) -> int:
    """Tell about how many bytes a row takes in memory."""
    return BASE_WEIGHT + len(row["raw"]) + sum(len(body) for _, body in row["bodies"])


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += weight_of(row)
        if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _detail_columns(detail: Detail) -> Row:
    if detail == UNREAD:
        return {"level": None, "reason": "", "permanent": False, "bodies": []}
    absent = detail.nodes if isinstance(detail, Detailed) else detail
    reason, permanent = (absent.reason, absent.permanent) if isinstance(absent, Missing) else ("", False)
    bodies = sorted(detail.raw.items()) if isinstance(detail, Detailed) else []
    return {"level": level_of(detail).value, "reason": reason, "permanent": permanent, "bodies": bodies}


def _detail(run: Run, row: Row, decoders: Mapping[str, Decoder]) -> Detail:
    if row["level"] is None:
        return UNREAD
    absent = Missing(row["reason"], row["permanent"])
    level = Level(row["level"])
    if level is Level.NONE:
        return absent
    if run.app.source not in decoders:
        raise StorageError(
            f"run {run.run_id} of {run.app}: nothing here can read details of the source"
            f" {run.app.source!r}: add its decoder, then restore again"
        )
    detailed = decoders[run.app.source](run, dict(row["bodies"]), row["reason"])
    return detailed if level is Level.NODES else replace(detailed, nodes=absent)


def _in_utc(row: Row) -> Row:
    """Let an instant look the same wherever it comes from."""
    for name in _INSTANTS:
        if row[name] is not None:
            row[name] = row[name].astimezone(UTC)
    return row
