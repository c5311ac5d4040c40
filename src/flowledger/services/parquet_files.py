"""Rows as a Parquet file: whole or not at all, a batch in memory at a time."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from flowledger.domain.run_rows import Kind
from flowledger.domain.runs import Json
from flowledger.errors import StorageError, UsageError
from flowledger.services.history.whole_file import whole_file

BATCH = 1000
MISSING = "Parquet needs pyarrow, which is not installed: run scripts/setup --all, or choose another format"


def write_rows(rows: Iterable[Mapping[str, Json]], columns: Mapping[str, Kind], path: Path) -> int:
    """Write rows under the given columns, and give how many; none at all makes a file with columns only.

    Values are as in ``domain.run_rows``: instants ISO 8601 text, objects JSON text.

    :raises UsageError: without pyarrow; StorageError: when the file cannot be written.
    """
    pa, pq = _pyarrow()
    kinds = {
        Kind.TEXT: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.FLAG: pa.bool_(),
    }
    schema = pa.schema([pa.field(name, kinds[kind]) for name, kind in columns.items()])
    written = 0
    with whole_file(path) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            written += len(batch)
    return written


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Stream the rows of a file.

    :raises UsageError: without pyarrow; StorageError: naming the file, when it cannot be read.
    """
    pa, pq = _pyarrow()
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise StorageError(f"{path} cannot be read as Parquet: {error}") from error


def _batches(rows: Iterable[Mapping[str, Json]]) -> Iterator[list[Mapping[str, Json]]]:
    rest = iter(rows)
    for first in rest:
        yield list(chain((first,), islice(rest, BATCH - 1)))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]  # has no types, and is an extra
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # has no types, and is an extra
    except ImportError as error:
        raise UsageError(MISSING) from error
    return pa, pq
