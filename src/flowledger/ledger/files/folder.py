"""The folder of a ledger: its format, its journals, each opened when it is first asked for."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Self

from loguru import logger

from flowledger.domain.record_kinds import COZE, LOG
from flowledger.domain.runs import AppKey, Json
from flowledger.errors import LedgerError
from flowledger.ledger.files.adopting import Adopting
from flowledger.ledger.files.bodies import Bodies
from flowledger.ledger.files.disk import explaining, make_folder, write_whole
from flowledger.ledger.files.journal import VERSION, Journal, Table, check_version
from flowledger.ledger.files.naming import (
    EXECUTIONS,
    FORMAT,
    HISTORIES,
    JOURNALS,
    OPERATIONS,
    RUNS,
    file_stem,
)
from flowledger.ledger.files.outbox import LetterShelf, LetterTable
from flowledger.ledger.files.projections import RecordFiles
from flowledger.ledger.files.shelf import RunShelf
from flowledger.ledger.files.tables import RunTable
from flowledger.ledger.files.trail import KeyShelf, KeyTable, OperationShelf, OperationTable
from flowledger.ports import Decoder

FORMAT_NAME = "flowledger files"


@dataclass(frozen=True, slots=True)
class Folder:
    """A ledger's folder; ``problems`` grows with what is found damaged."""

    root: Path
    decoders: Mapping[str, Decoder]
    operations: OperationShelf
    letters: LetterShelf
    keys: KeyShelf
    problems: list[str]
    _shelves: dict[Path, RunShelf] = field(default_factory=dict, repr=False)
    _lock: RLock = field(default_factory=RLock, repr=False)

    @classmethod
    def open(cls, root: Path, decoders: Mapping[str, Decoder]) -> Self:
        """Open a folder, made where it is missing.

        :raises LedgerError: when it cannot be used; LedgerVersionError: when its format is newer.
        """
        _check_format(root)
        problems: list[str] = []
        operations, letters, keys = OperationTable(), LetterTable(), KeyTable()
        journals = root / JOURNALS
        adopting = Adopting(_reporting(problems), Bodies(journals / "operations.bodies"))
        trail = _journal(journals / "operations.jsonl", operations, problems, kind="operations")
        if not trail.path.exists() and any((root / OPERATIONS).glob("*.json")):
            trail.begin_with(adopting.operations(root / OPERATIONS))
        return cls(
            root,
            decoders,
            OperationShelf(trail, operations, RecordFiles(root / OPERATIONS, "operation_id")),
            LetterShelf(_journal(journals / "letters.jsonl", letters, problems, kind="letters"), letters),
            KeyShelf(_journal(journals / "keys.jsonl", keys, problems, kind="keys"), keys),
            problems,
        )

    def shelf(self, app: AppKey) -> RunShelf:
        """Give the shelf of an app, which need not hold anything yet."""
        return self._at(self._path(app), app.source, app.app_id)

    def shelves(self, sources: Collection[str] = (), workflows: Collection[str] = ()) -> Sequence[RunShelf]:
        """Give the shelves that are there, of some sources and app ids or of all."""
        stems = {file_stem(each) for each in workflows}
        places = {file_stem(each) for each in sources}
        found = []
        for source, path in self._journals():
            if (not places or source in places) and (not stems or source == LOG or path.stem in stems):
                found.append(self._at(path, source, path.stem))
        return found

    def compact(self) -> None:
        """Write every journal anew without what counts no more, one after the other."""
        for shelf in self.shelves():
            shelf.compact()
        self.letters.compact()
        self.keys.compact()

    def _journals(self) -> Iterator[tuple[str, Path]]:
        if self._executions().exists() or any((self.root / EXECUTIONS).glob("*.json")):
            yield LOG, self._executions()
        histories = self.root / HISTORIES
        stems = {path.stem for pattern in ("[!.]*.jsonl", "[!.]*.json") for path in histories.glob(pattern)}
        for stem in sorted(stems):
            yield COZE, histories / f"{stem}.jsonl"
        for path in sorted((self.root / RUNS).glob("*/[!.]*.jsonl")):
            yield path.parent.name, path

    def _executions(self) -> Path:
        return self.root / JOURNALS / "executions.jsonl"

    def _path(self, app: AppKey) -> Path:
        if app.source == LOG:
            return self._executions()
        name = f"{file_stem(app.app_id)}.jsonl"
        if app.source == COZE:
            return self.root / HISTORIES / name
        return self.root / RUNS / file_stem(app.source) / name

    def _at(self, path: Path, source: str, app_id: str) -> RunShelf:
        with self._lock:
            shelf = self._shelves.get(path)
            if shelf is None:
                shelf = self._opened(path, source, app_id)
                self._shelves[path] = shelf
            return shelf

    def _opened(self, path: Path, source: str, app_id: str) -> RunShelf:
        table = RunTable(source)
        about = {"source": source} if source == LOG else {"source": source, "app": app_id}
        journal = _journal(path, table, self.problems, **about)
        shelf = RunShelf(journal, table, Bodies(path.with_suffix(".bodies")), self.decoders)
        adopting = Adopting(journal.report, shelf.bodies)
        if source == LOG:
            shelf.files = RecordFiles(self.root / EXECUTIONS, "execution_id")
            if not path.exists() and any(shelf.files.folder.glob("[!.]*.json")):
                journal.begin_with(adopting.executions(shelf.files.folder))
        if source == COZE:
            shelf.snapshot = path.with_suffix(".json")
            if not path.exists() and shelf.snapshot.exists():
                journal.begin_with(adopting.history(shelf.snapshot, app_id))
        return shelf


def _journal(path: Path, table: Table, problems: list[str], **about: Json) -> Journal:
    return Journal(path, table, about, _reporting(problems))


class _Reports:
    """Says what is damaged in the log, and keeps it for whoever asks."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems

    def __call__(self, problem: str) -> None:
        self.problems.append(problem)
        logger.warning("{}", problem)


def _reporting(problems: list[str]) -> _Reports:
    return _Reports(problems)


def _check_format(root: Path) -> None:
    file = root / FORMAT
    with explaining(file):
        make_folder(root)
        if not file.exists():
            content = json.dumps({"format": FORMAT_NAME, "version": VERSION})
            write_whole(file, [content.encode() + b"\n"])
            return
        text = file.read_bytes()
    try:
        version = json.loads(text)["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"the ledger's file {file} does not tell a version ({error}): if the folder is a ledger's, write"
            f' {{"version": {VERSION}}} into it; else set LEDGER_URL to another folder'
        ) from error
    check_version(file, version)
