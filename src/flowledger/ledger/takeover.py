"""Takes a folder of journals over, once: into a new ``ledger.db``, whole and verified.

The steps, each of which may be the last before the process is killed:

1. everything is copied into ``.takeover.db`` and compared, while writers of journals wait;
2. ``format.json`` tells that the new ledger counts, and how long each journal was;
3. the new ledger gets its name, and the journals go into ``old-file-ledger``;
4. ``format.json`` tells that this is done.

Before 2 the next opening begins anew, after it the next one goes on; nothing old is ever deleted.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger

from flowledger.domain.certificates import Scope
from flowledger.domain.history import Place, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.run_mapping import digest_of
from flowledger.domain.runs import AppKey, Detail, Entry, Run, RunStatus
from flowledger.domain.windows import LATEST, Window
from flowledger.errors import LedgerError, LedgerVersionError
from flowledger.ledger.disk import explaining, make_folder, sync_folder, write_whole
from flowledger.ledger.legacy_folder import LegacyApp, LegacyFolder, RunJournal
from flowledger.ledger.rules import rebuild
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.projection_queue import ProjectionQueue
from flowledger.ledger.sql.sqlite import SqliteFile
from flowledger.ports import Decoder

DATABASE = "ledger.db"
BUILDING = ".takeover.db"
ASIDE = "old-file-ledger"
FORMAT = "format.json"
VERSION = 2
"""1 was a ledger of journals."""
EVER = Window(0, LATEST)
BEFORE_ALL = datetime.fromtimestamp(0, UTC)
BATCH = 200
NO_ACTS = ("REQUEST", "ANSWER", "ORDER_ENDED")
"""Operations of then that are values of today (migration 0004 does the same in a database)."""
Each = TypeVar("Each")


@dataclass(frozen=True, slots=True)
class Format:
    """What ``format.json`` tells: a version, and how long journals were whose takeover is not finished."""

    version: int
    journals: Mapping[str, int] | None = None


def read_format(root: Path) -> Format | None:
    """Read the format of a folder; None of one that has none yet.

    :raises LedgerError: when it cannot be read; LedgerVersionError: when a newer program wrote it.
    """
    file = root / FORMAT
    with explaining(file):
        if not file.exists():
            return None
        content = file.read_bytes()
    try:
        values = json.loads(content)
        version, journals = values["version"], values.get("journals")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(
            f"the ledger's file {file} does not tell a version ({error}): if the folder is a ledger's, write"
            f' {{"version": {VERSION}}} into it; else set LEDGER_URL to another folder'
        ) from error
    if not isinstance(version, int) or version > VERSION:
        raise LedgerVersionError(
            f"the ledger's file {file} has format {version}, and this program knows formats up to {VERSION}:"
            f" use a Flowledger that knows format {version}"
        )
    return Format(version, journals)


def write_format(root: Path, journals: Mapping[str, int] | None = None) -> None:
    """Write the format of today."""
    values: dict[str, Any] = {"format": "flowledger folder", "version": VERSION}
    if journals is not None:
        values["journals"] = dict(journals)
    with explaining(root / FORMAT):
        write_whole(root / FORMAT, [json.dumps(values).encode() + b"\n"], root / f".{FORMAT}")


def _sizes(legacy: LegacyFolder) -> dict[str, int]:
    """Return how long each journal is, by its place in the folder."""
    return {str(path.relative_to(legacy.root)): path.stat().st_size for path in legacy.journals()}


def refuse_strays(legacy: LegacyFolder, expected: Mapping[str, int]) -> None:
    """Refuse a folder with journals that were written after the takeover: nobody would read them.

    :raises LedgerError: with the way to bring them in.
    """
    strays = [name for name, size in _sizes(legacy).items() if expected.get(name) != size]
    if strays:
        raise LedgerError(
            f"the ledger {legacy.root}: an older Flowledger has written {', '.join(strays)} after this"
            f" folder was taken over: end that program, move these files, at the same places, into a new"
            f" folder, then copy them with: flowledger history migrate --from file://NEW_FOLDER --to file://{legacy.root}"
        )


def take_over(legacy: LegacyFolder, decoders: Mapping[str, Decoder], report: Callable[[str], None]) -> None:
    """Make the new ledger of a folder of journals, and put the journals aside.

    :raises LedgerError: when an older Flowledger is writing, or the new ledger does not answer the same;
        nothing is changed then.
    """
    _remove_building(legacy.root)
    with legacy.locked():
        ledger = SqlLedger.at(SqliteFile(legacy.root / BUILDING), decoders)
        try:
            ProjectionQueue(ledger.transactions).create()
            runs = _copy(legacy, ledger, report)
        except BaseException:
            ledger.close()
            _remove_building(legacy.root)
            raise
        ledger.close()
        write_format(legacy.root, _sizes(legacy))
    finish(legacy)
    logger.info("{}: {} runs were taken over; the journals are in {}", legacy.root, runs, ASIDE)


def finish(legacy: LegacyFolder) -> None:
    """Rename the new ledger to its final name, and move the journals aside."""
    root = legacy.root
    with legacy.locked():
        building = root / BUILDING
        with explaining(building):
            if building.exists():
                building.rename(root / DATABASE)
                sync_folder(root)
        _move_aside(legacy)
    write_format(root)


def _remove_building(root: Path) -> None:
    for name in (BUILDING, f"{BUILDING}-wal", f"{BUILDING}-shm"):
        (root / name).unlink(missing_ok=True)


def _copy(legacy: LegacyFolder, ledger: SqlLedger, report: Callable[[str], None]) -> int:
    """Copy everything into an empty ledger, compare it, and return how many runs there are."""
    copied = sum(
        _AppCopy(ledger, journal, app, content, report).run()
        for journal in legacy.run_journals(report)
        for app, content in journal.apps.items()
    )
    ledger.record_all(legacy.operations(report))
    for operation in legacy.operations(lambda _: None):
        if operation.operation_type in NO_ACTS:
            ledger.put_value(operation.operation_id, operation.data, operation.at)
    ledger.enqueue(legacy.letters(report))
    for key in legacy.keys(report):
        ledger.keep_key(key)
    _compare_the_rest(legacy, ledger)
    return copied


def _move_aside(legacy: LegacyFolder) -> None:
    """Move the journals, with their large bodies, out of the way of the new ledger."""
    root = legacy.root
    moved = [path for journal in legacy.journals() for path in (journal.with_suffix(".bodies"), journal)]
    for path in [*moved, *root.glob("workflow_*/.incoming/*")]:
        target = root / ASIDE / path.relative_to(root)
        with explaining(path):
            if path.exists():
                make_folder(target.parent)
                path.rename(_free(target))
                sync_folder(target.parent)
                sync_folder(path.parent)
    emptied = (root / "journals", *root.glob("workflow_*/.incoming"), *root.glob("runs/*"), root / "runs")
    for folder in emptied:
        with suppress(OSError):  # somebody's own files are in it, or it was never there
            folder.rmdir()


@dataclass(frozen=True, slots=True)
class _AppCopy:
    """Copies the runs of one app, with what is known of them."""

    ledger: SqlLedger
    journal: RunJournal
    app: AppKey
    content: LegacyApp
    report: Callable[[str], None]

    def run(self) -> int:
        digests: dict[str, str] = {}
        for ids in _batches(iter(self.content.runs)):
            entries = [entry for run_id in ids if (entry := self._entry(run_id)) is not None]
            self._save(entries)
            digests |= {entry.run.run_id: digest_of(entry) for entry in entries}
        for (window, query), members in self.content.members.items():
            for ids in _batches(iter(sorted(members & digests.keys()))):
                runs = [entry.run for run_id in ids if (entry := self._entry(run_id)) is not None]
                self.ledger.save_runs(runs, scope=Scope(self.app, window, query), at=BEFORE_ALL)
        for certificate in self.content.certificates.values():
            self.ledger.save_runs([], scope=certificate.scope, at=BEFORE_ALL, certificate=certificate)
        self._compare(dict(digests))
        return len(digests)

    def _entry(self, run_id: str) -> Entry | None:
        """Read a run; None where it is damaged, which is reported: its journal is kept aside."""
        legacy = self.content.runs[run_id]
        try:
            run = self.journal.run(self.app, run_id)
        except LedgerError as error:
            self.report(f"not taken over, see {ASIDE}: {error}")
            return None
        try:
            bodies = self.journal.bodies(self.app, run_id)
        except LedgerError as error:
            self.report(f"not taken over, see {ASIDE}, and to be read anew: {error}")
            bodies, legacy.detail = {}, None
        return Entry(run, rebuild(run, legacy.detail, bodies, self.ledger.decoders))

    def _save(self, entries: Sequence[Entry]) -> None:
        by_collection: dict[datetime, list[Run]] = {}
        plain: list[tuple[Run, Detail]] = []
        details: list[tuple[Run, Detail]] = []
        for entry in entries:
            legacy, run = self.content.runs[entry.run.run_id], entry.run
            if legacy.collected_at is None and legacy.detail is not None:
                plain.append((run, entry.detail))
            else:
                by_collection.setdefault(legacy.collected_at or BEFORE_ALL, []).append(run)
            was_open = legacy.detail is not None and legacy.detail.read_open and not run.status.is_open
            if was_open:  # the stored run has ended and stays so; of the detail is known when it was read
                details.append((replace(run, status=RunStatus.RUNNING), entry.detail))
            elif legacy.collected_at is not None and legacy.detail is not None:
                details.append((run, entry.detail))
        self.ledger.save_details(plain)
        for at, runs in by_collection.items():
            self.ledger.save_runs(runs, scope=Scope(self.app, EVER), at=at)
        self.ledger.save_details(details)

    def _compare(self, expected: dict[str, str]) -> None:
        after: Place | None = None
        query = RunQuery(apps=(self.app,))
        while True:
            page = self.ledger.history(query, after=after, limit=BATCH, with_details=True)
            for entry in page.entries:
                if expected.pop(entry.run.run_id, None) != digest_of(entry):
                    raise _different(f"run {entry.run.run_id} of {self.app}")
            after = page.following
            if after is None:
                break
        if expected:
            raise _different(f"run {next(iter(expected))} of {self.app}")
        certificates = self.ledger.certificates(self.app, EVER, None)
        by_scope = {(each.scope.window, each.scope.query): each for each in certificates}
        if by_scope != self.content.certificates:
            raise _different(f"a certificate of {self.app}")


def _compare_the_rest(legacy: LegacyFolder, ledger: SqlLedger) -> None:
    ignore: Callable[[str], None] = lambda _: None  # noqa: E731  reported when it was copied
    first: dict[str, Operation] = {}
    for operation in legacy.operations(ignore):
        first.setdefault(operation.operation_id, operation)
    for operation in first.values():
        if repr(ledger.operation(operation.operation_id)) != repr(operation):
            raise _different(f"operation {operation.operation_id}")
    letters = {letter.letter_id: repr(letter) for letter in legacy.letters(ignore)}
    stored = {letter.letter_id: repr(letter) for letter in ledger.outbox_messages(limit=len(letters) + 1)}
    if stored != letters:
        raise _different("a message of the outbox")
    if {key.key_id: key for key in ledger.access_keys()} != {key.key_id: key for key in legacy.keys(ignore)}:
        raise _different("a key of the API")


def _different(what: str) -> LedgerError:
    return LedgerError(
        f"the takeover of the journals went wrong: {what} is not as it was.  Nothing is changed, and"
        " the older Flowledger still reads the folder: go on with that, keep a copy, and report this"
    )


def _free(target: Path) -> Path:
    number = 0
    free = target
    while free.exists():
        number += 1
        free = target.with_name(f"{target.name}.{number}")
    return free


def _batches(each: Iterator[Each]) -> Iterator[Sequence[Each]]:
    while batch := list(islice(each, BATCH)):
        yield batch
