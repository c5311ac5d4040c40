"""Archives of runs in a storage: written whole, the manifest last, and believed only when read back."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from pathlib import Path

from flowledger.domain.archives import ARCHIVES, MANIFEST, Manifest, Part, folder_of, manifest_of
from flowledger.domain.runs import AppKey, Entry
from flowledger.errors import StorageError, UsageError
from flowledger.ports import Decoder, StorageBackend
from flowledger.services.archive_files import (
    Row,
    digest_of,
    entry_of,
    read_part,
    row_of,
    weight_of,
    write_part,
)

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
        """Give the manifests of an app's archives, or of all, oldest archive first."""
        found = [self._manifest(name) for name in self._names(app) if name.endswith(f"/{MANIFEST}")]
        wanted = [each for each in found if app is None or each.app == app]
        return sorted(wanted, key=lambda each: (each.created_at, each.archive))

    def unfinished(self) -> Sequence[str]:
        """Give the folders that have files and no manifest; no run in them was deleted for their sake."""
        names = self._names(None)
        folders = {name.rpartition("/")[0] for name in names}
        return sorted(folders - {name.rpartition("/")[0] for name in names if name.endswith(f"/{MANIFEST}")})

    def manifest(self, archive: str) -> Manifest:
        """Give one archive's manifest.

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
    """Give a folder of our own that goes in the end.

    :raises StorageError: when the temporary directory cannot be written, as when it is full.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="flowledger-archive-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"an archive cannot be written on this machine: {error.strerror or error}: check the free space"
            " of the temporary directory (TMPDIR); nothing was deleted"
        ) from error
