"""A whole ledger as one file, and back: a ZIP of JSON lines, with a manifest of counts and SHA-256."""

import json
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flowledger.domain.access_keys import AccessKey
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.run_mapping import document_of, entry_of
from flowledger.domain.runs import AppKey, Entry
from flowledger.errors import StorageError, UsageError
from flowledger.ports import Decoder, Ledger
from flowledger.services.history import migrate
from flowledger.services.history.paging import DETAILED_PAGE, operations_of, runs_of
from flowledger.services.history.whole_file import whole_file

FORMAT = "flowledger-backup/1"
MANIFEST = "manifest.json"
MOST_MANIFEST = 1 << 20
"""Bytes of the largest manifest that is read: ours have a few hundred, whatever a ledger holds."""
PARTS = ("runs", "certificates", "members", "operations", "letters", "keys")
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    NotImplementedError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself: when and by whom it was made, and how many records each part has."""

    path: Path
    created_at: str
    created_by: str
    counts: Mapping[str, int]


def back_up(ledger: Ledger, path: Path, *, at: datetime, user: str, apps: Iterable[AppKey] = ()) -> Backup:
    """Write all that a ledger holds; ``apps`` are those that may have certificates and no runs.

    :raises StorageError: when the file cannot be written; none is made then.
    """
    parts: dict[str, dict[str, Any]] = {}
    with whole_file(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, documents in _documents(ledger, list(apps)):
            parts[name] = _written(archive, name, documents)
        manifest = {"format": FORMAT, "created_at": at.isoformat(), "created_by": user, "parts": parts}
        archive.writestr(MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2))
    counts = {name: part["records"] for name, part in parts.items()}
    return Backup(path, at.isoformat(), user, counts)


def check_backup(path: Path, decoders: Mapping[str, Decoder]) -> Backup:
    """Read a backup whole: every record can be read, and counts and hashes are those of its manifest.

    :raises StorageError: naming what is damaged; UsageError: when it is no backup, or of a newer format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest(archive, path)
            for name in PARTS:
                _check_part(archive, name, manifest["parts"][name], decoders)
            counts = {name: int(manifest["parts"][name]["records"]) for name in PARTS}
            return Backup(path, str(manifest["created_at"]), str(manifest["created_by"]), counts)
    except _DAMAGED as error:
        raise StorageError(
            f"the backup {path} is damaged ({error}): take another copy of it; nothing was written"
        ) from error


def reopening_keys(path: Path, ledger: Ledger | None, at: datetime) -> Sequence[AccessKey]:
    """Return the keys of a backup that would open the API again: valid in it, and unknown to the ledger.

    They may have been revoked since the backup was made.  None is no ledger, which knows of no key.
    """
    known = {key.key_id for key in ledger.access_keys()} if ledger is not None else set()
    with zipfile.ZipFile(path) as archive:
        keys: list[AccessKey] = list(_values(archive, "keys", migrate.KEYS))
    return [key for key in keys if key.is_valid(at) and key.key_id not in known]


def restore(
    path: Path,
    ledger: Ledger,
    decoders: Mapping[str, Decoder],
    *,
    merge: bool = False,
    without_keys: Collection[str] = (),
) -> Backup:
    """Write what a backup holds into a ledger; it was read whole and checked before.  Twice is once.

    ``without_keys`` are the ids of keys that stay out (``reopening_keys``).

    :raises UsageError: when the ledger holds something and ``merge`` is not wanted.
    """
    if not merge and not migrate.is_empty(ledger):
        raise UsageError("the ledger is not empty: restore into an empty one, or add --merge")
    backup = check_backup(path, decoders)
    with zipfile.ZipFile(path) as archive:
        batch: list[Entry] = []
        for document in _lines(archive, "runs"):
            batch.append(entry_of(document, decoders))
            if len(batch) >= DETAILED_PAGE:
                migrate.save_entries(ledger, batch)
                batch = []
        migrate.save_entries(ledger, batch)
        for members in _values(archive, "members", migrate.MEMBERS):
            _save_members(ledger, members)
        for certificate in _values(archive, "certificates", migrate.CERTIFICATES):
            ledger.save_runs([], scope=certificate.scope, at=migrate.NO_COLLECTION, certificate=certificate)
        for operation in _values(archive, "operations", migrate.OPERATIONS):
            ledger.record(operation)
        for letter in _values(archive, "letters", migrate.LETTERS):
            migrate.save_message(ledger, letter)
        for key in _values(archive, "keys", migrate.KEYS):
            if key.key_id not in without_keys:
                migrate.keep_key(ledger, key)
    return backup


def _documents(ledger: Ledger, apps: Sequence[AppKey]) -> Iterator[tuple[str, Iterator[Any]]]:
    yield "runs", map(document_of, runs_of(ledger, RunQuery(), with_details=True))
    yield "certificates", _dumped(migrate.CERTIFICATES, migrate.certificates_of(ledger, apps))
    yield "members", _dumped(migrate.MEMBERS, _members(ledger, apps))
    yield "operations", _dumped(migrate.OPERATIONS, operations_of(ledger))
    yield "letters", _dumped(migrate.LETTERS, ledger.outbox_messages(limit=migrate.ALL_LETTERS))
    yield "keys", _dumped(migrate.KEYS, ledger.access_keys())


def _members(ledger: Ledger, apps: Sequence[AppKey]) -> Iterator[migrate.Members]:
    for certificate in migrate.certificates_of(ledger, apps):
        for batch in migrate.members_of(ledger, certificate.scope):
            yield migrate.Members(certificate.scope, tuple(run.run_id for run in batch))


def _save_members(ledger: Ledger, members: migrate.Members) -> None:
    app = members.scope.app
    entries = (ledger.entry(RunKey(app, run_id)) for run_id in members.run_ids)
    runs = [entry.run for entry in entries if entry is not None]
    ledger.save_runs(runs, scope=members.scope, at=migrate.NO_COLLECTION)


def _dumped(adapter: TypeAdapter[Any], values: Iterable[Any]) -> Iterator[Any]:
    return (adapter.dump_python(value, mode="json") for value in values)


def _written(archive: zipfile.ZipFile, name: str, documents: Iterable[Any]) -> dict[str, Any]:
    digest, records = sha256(), 0
    with archive.open(_file(name), "w", force_zip64=True) as part:
        for document in documents:
            line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
            digest.update(line)
            part.write(line)
            records += 1
    return {"records": records, "sha256": digest.hexdigest()}


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    if MANIFEST not in archive.namelist():
        raise UsageError(f"{path} is no backup of a ledger: it has no {MANIFEST}")
    if archive.getinfo(MANIFEST).file_size > MOST_MANIFEST:
        raise ValueError(f"its manifest has more than {MOST_MANIFEST:,} bytes")
    manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
    if manifest["format"] != FORMAT:
        raise UsageError(f"{path} has the format {manifest['format']!r:.80}, this program reads {FORMAT}")
    return manifest


def _check_part(
    archive: zipfile.ZipFile, name: str, expected: Mapping[str, Any], decoders: Mapping[str, Decoder]
) -> None:
    digest, records = sha256(), 0
    with archive.open(_file(name)) as part:
        for line in part:
            digest.update(line)
            records += 1
            _check_record(name, records, json.loads(line), decoders)
    if records != expected["records"] or digest.hexdigest() != expected["sha256"]:
        raise ValueError(
            f"{name}: {records} records, {expected['records']} by its manifest, or another SHA-256"
        )


def _check_record(name: str, number: int, document: Any, decoders: Mapping[str, Decoder]) -> None:
    try:
        if name == "runs":
            entry_of(document, decoders)
        else:
            _ADAPTERS[name].validate_python(document)
    except (ValueError, ValidationError) as error:
        raise ValueError(f"{name}, record {number}: {error}") from error


def _lines(archive: zipfile.ZipFile, name: str) -> Iterator[Any]:
    with archive.open(_file(name)) as part:
        yield from map(json.loads, part)


def _values(archive: zipfile.ZipFile, name: str, adapter: TypeAdapter[Any]) -> Iterator[Any]:
    return map(adapter.validate_python, _lines(archive, name))


def _file(name: str) -> str:
    return f"{name}.jsonl"


_ADAPTERS: Mapping[str, TypeAdapter[Any]] = {
    "certificates": migrate.CERTIFICATES,
    "members": migrate.MEMBERS,
    "operations": migrate.OPERATIONS,
    "letters": migrate.LETTERS,
    "keys": migrate.KEYS,
}
