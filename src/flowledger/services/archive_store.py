"""Archives of runs in a storage, as Parquet files: written whole, the manifest last, trusted once read back.

Nothing is lost: a row has the fields of the run (``domain.run_mapping``), the source's row as ``raw``, and of
the detail its ``level`` (null: never asked for), why it is not deeper, and its bodies by name.  Node
executions are decoded again from the bodies.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC
from hashlib import sha256
from itertools import chain, count
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]  # has no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # has no types

from flowledger.domain.archives import ARCHIVES, MANIFEST, Manifest, Part, folder_of, manifest_of
from flowledger.domain.run_mapping import Row, detail_from_values, detail_values, run_from_values, run_values
from flowledger.domain.runs import AppKey, Creator, Entry
from flowledger.errors import StorageError, UsageError
from flowledger.io.scratch_folders import scratch_folder
from flowledger.ports import Decoder, StorageBackend

GROUP_ROWS = 1000
GROUP_BYTES = 16 << 20
"""A row group is in memory as a whole, when it is written and when it is read."""

BASE_WEIGHT = 1024
"""About what the small columns of a row take in memory."""

_INSTANT = pa.timestamp("us", tz="UTC")
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
    **{f"creator_{each.name}": pa.string() for each in fields(Creator)},
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
_INSTANTS = tuple(name for name, kind in _COLUMNS.items() if kind == _INSTANT)
_LARGE = ("raw", "bodies")


def write_part(path: Path, entries: Iterable[Entry]) -> int:
    """Write runs with their details into a new file, and return how many; none makes no file."""
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
    """Return a run and its detail as a row of an archive."""
    values = detail_values(entry.detail) or {"level": None, "reason": "", "permanent": False, "bodies": {}}
    row = {
        **run_values(entry.run),
        "raw": entry.run.raw,
        **values,
        "bodies": sorted(values["bodies"].items()),
    }
    row["elapsed_s"] = None if row["elapsed_s"] is None else str(row["elapsed_s"])
    return _in_utc(row)


def entry_of(row: Row, decoders: Mapping[str, Decoder]) -> Entry:
    """Return the run and detail that ``row_of`` was given.

    :raises StorageError: when nothing can read the bodies of the run's source.
    """
    run = run_from_values(row, row["raw"])
    if row["level"] and run.app.source not in decoders:
        raise StorageError(
            f"run {run.run_id} of {run.app}: nothing here can read details of the source"
            f" {run.app.source!r}: add its decoder, then restore again"
        )
    values = None if row["level"] is None else {**row, "bodies": dict(row["bodies"])}
    return Entry(run, detail_from_values(run, values, decoders))


def digest_of(row: Row) -> bytes:
    """Return the SHA-256 of all that a row says."""
    small = [row[name] for name in _COLUMNS if name not in _LARGE]
    digest = sha256(repr(small).encode("utf-8", "surrogatepass"))
    for name, body in [("", row["raw"]), *sorted(row["bodies"])]:
        digest.update(f"{name!r} {len(body)}\n".encode("utf-8", "surrogatepass"))
        digest.update(body)
    return digest.digest()


def weight_of(row: Row) -> int:
    """Return about how many bytes a row takes in memory."""
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


def _in_utc(row: Row) -> Row:
    """Let an instant look the same wherever it comes from."""
    for name in _INSTANTS:
        if row[name] is not None:
            row[name] = row[name].astimezone(UTC)
    return row


PART_RUNS = 5_000
PART_BYTES = 64 << 20
"""Bytes of raw JSON in one file: so much is read at once, compressed."""


@dataclass(frozen=True, slots=True)
class ArchiveStore:
    """Keeps archives in a storage, which is never a spool: what waits on this machine is not archived.

    Every method may raise ``StorageError``, naming the file.
    """

    backend: StorageBackend
    decoders: Mapping[str, Decoder]

    def archives(self, app: AppKey) -> Sequence[str]:
        """Name an app's archives without reading any, oldest runs first."""
        names = self._names(app)
        return sorted(name.rpartition("/")[0] for name in names if name.endswith(f"/{MANIFEST}"))

    def manifests(self, app: AppKey | None = None) -> Sequence[Manifest]:
        """Return the manifests of an app's archives, or of all, oldest archive first."""
        found = [self._manifest(name) for name in self._names(app) if name.endswith(f"/{MANIFEST}")]
        wanted = [each for each in found if app is None or each.app == app]
        return sorted(wanted, key=lambda each: (each.created_at, each.archive))

    def unfinished(self) -> Sequence[str]:
        """Return the folders that have files and no manifest; no run in them was deleted for their sake."""
        names = self._names(None)
        folders = {name.rpartition("/")[0] for name in names}
        return sorted(folders - {name.rpartition("/")[0] for name in names if name.endswith(f"/{MANIFEST}")})

    def manifest(self, archive: str) -> Manifest:
        """Return one archive's manifest.

        :raises UsageError: when there is no such archive.
        """
        name = f"{archive.rstrip('/')}/{MANIFEST}"
        if not archive.startswith(f"{ARCHIVES}/") or name not in {
            each.name for each in self.backend.names(name)
        }:
            raise UsageError(
                f"there is no archive {archive!r:.300}: flowledger history archives lists them by name"
            )
        return self._manifest(name)

    def keep(self, folder: Path, manifest: Manifest) -> Manifest:
        """Upload the files of a folder as an archive, then its manifest."""
        self.backend.put(manifest.archive, folder)
        text = json.dumps(manifest.document(), ensure_ascii=False, indent=2)
        with workplace() as place:
            (place / MANIFEST).write_text(text, "utf-8")
            self.backend.put(f"{manifest.archive}/{MANIFEST}", place / MANIFEST)
        return self.manifest(manifest.archive)

    def checked(self, manifest: Manifest) -> Mapping[str, bytes]:
        """Read an archive back whole and give the SHA-256 of every run in it, by id.

        :raises StorageError: naming the file, when a checksum, a count or an id is not as the manifest says.
        """
        digests: dict[str, bytes] = {}
        for part in manifest.parts:
            for row in self._rows(manifest, part):
                digests[row["run_id"]] = digest_of(row)
        if len(digests) != manifest.runs:
            raise self._broken(manifest.archive, f"{len(digests)} runs in it, not {manifest.runs}")
        return digests

    def entries(self, manifest: Manifest) -> Iterator[Entry]:
        """Read the runs of an archive, newest first, a file at a time, each checked before it is used."""
        for part in manifest.parts:
            for row in self._rows(manifest, part):
                yield entry_of(row, self.decoders)

    def _rows(self, manifest: Manifest, part: Part) -> Iterator[Row]:
        name = f"{manifest.archive}/{part.name}"
        content = self.backend.read(name)
        if len(content) != part.size_bytes or sha256(content).hexdigest() != part.sha256:
            raise self._broken(name, "its SHA-256 is not the manifest's")
        runs = 0
        for row in read_part(content, self.backend.location(name)):
            if (row["source"], row["app_id"]) != (manifest.app.source, manifest.app.app_id):
                raise self._broken(name, f"run {row['run_id']} in it is of another app")
            runs += 1
            yield row
        if runs != part.runs:
            raise self._broken(name, f"{runs} runs in it, not {part.runs}")

    def _names(self, app: AppKey | None) -> Sequence[str]:
        prefix = f"{ARCHIVES}/" if app is None else folder_of(app)
        return [each.name for each in self.backend.names(prefix)]

    def _manifest(self, name: str) -> Manifest:
        place = self.backend.location(name)
        try:
            document = json.loads(self.backend.read(name))
        except ValueError as error:
            raise self._broken(name, "it is no JSON") from error
        # Where it is found is its name: a storage may have been copied below another prefix.
        return replace(manifest_of(document, place), archive=name.removesuffix(f"/{MANIFEST}"))

    def _broken(self, name: str, why: str) -> StorageError:
        return StorageError(
            f"the archive's {self.backend.location(name)} is not what was kept: {why}; nothing was deleted"
            " or restored of it: bring the file back from a copy of the storage"
        )


def write_parts(folder: Path, entries: Iterator[Entry], most: int) -> Sequence[Part]:
    """Write at most so many runs into numbered files of a folder, and say what is in them."""
    parts: list[Part] = []
    for number in count(1):
        path = folder / f"part-{number:05}.parquet"
        left = min(PART_RUNS, most - sum(part.runs for part in parts))
        runs = write_part(path, _portion(entries, left)) if left else 0
        if not runs:
            break
        content = path.read_bytes()
        parts.append(Part(path.name, runs, len(content), sha256(content).hexdigest()))
    return parts


def _portion(entries: Iterator[Entry], runs: int) -> Iterator[Entry]:
    size = 0
    for number, entry in enumerate(entries, 1):
        yield entry
        size += weight_of(row_of(entry))
        if number >= runs or size >= PART_BYTES:
            return


@contextmanager
def workplace() -> Iterator[Path]:
    """Yield a folder of our own that goes in the end.

    :raises StorageError: when the temporary directory cannot be written, as when it is full.
    """
    try:
        with scratch_folder() as folder:
            yield folder
    except OSError as error:
        raise StorageError(
            f"an archive cannot be written on this machine: {error.strerror or error}: check the free space"
            " of the temporary directory (TMPDIR); nothing was deleted"
        ) from error
