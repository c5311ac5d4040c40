"""Adopts record files of other programs that somebody put into a folder before its ledger had any of them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from flowledger.domain.history import RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import COZE, KINDS, LOG, instant_of
from flowledger.domain.runs import AppKey, Detail, Json, Run
from flowledger.ledger.disk import explaining, set_aside
from flowledger.ledger.projections import EXECUTIONS, HISTORIES, OPERATIONS, file_stem, record_files
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.projection_queue import ProjectionQueue

BATCH = 500
_WRONG = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Adoption:
    """Reads the files of a folder; ``report`` is told of those that are damaged, which are set aside."""

    root: Path
    ledger: SqlLedger
    queue: ProjectionQueue
    report: Callable[[str], None]

    def adopt(self) -> bool:
        """Save what the files hold, and return whether there were any.

        Executions and operations are adopted where the ledger has none, all at once; a Coze workflow's
        file where the ledger has no execution of it.
        """
        adopted = False
        executions = record_files(self.root / EXECUTIONS)
        if executions and not self.ledger.history(RunQuery(sources=(LOG,)), limit=1).entries:
            self.ledger.save_all_details(_batches(self._executions(executions)))
            adopted = True
        operations = record_files(self.root / OPERATIONS)
        if operations and not self.ledger.operations(limit=1):
            self.ledger.record_all(self._operations(operations))
            adopted = True
        if histories := record_files(self.root / HISTORIES):
            stems = {file_stem(workflow_id) for workflow_id in self.queue.workflows(COZE)}
            for file in histories:
                if file.stem not in stems:
                    self.ledger.save_all_details(_batches(self._history(file)))
                    adopted = True
        return adopted

    def _executions(self, files: Iterable[Path]) -> Iterator[tuple[Run, Detail]]:
        for file in files:
            record = self._read(file)
            try:
                if record is not None:
                    yield _run_of(LOG, record)
                    _rename(file, str(record["execution_id"]))
            except _WRONG:
                self._set_aside(file)

    def _operations(self, files: Iterable[Path]) -> Iterator[Operation]:
        for file in files:
            record = self._read(file)
            try:
                if record is not None:
                    operation = _operation_of(record)
                    yield operation
                    _rename(file, operation.operation_id)
            except _WRONG:
                self._set_aside(file)

    def _history(self, file: Path) -> Iterator[tuple[Run, Detail]]:
        """Read a workflow's file, oldest first; of a damaged one what can be read."""
        with explaining(file):
            text = file.read_bytes().decode("utf-8", "replace")
        envelope, whole = _histories(text)
        workflow_id = str(envelope.get("workflow_id") or file.stem)
        if file_stem(workflow_id) != file.stem:
            workflow_id = file.stem
        for record in reversed(envelope["histories"]):
            try:
                yield _run_of(COZE, {**record, "workflow_id": workflow_id})
            except _WRONG:
                whole = False
        if not whole:
            self._set_aside(file)

    def _read(self, file: Path) -> dict[str, Any] | None:
        with explaining(file):
            content = file.read_bytes()
        try:
            record = json.loads(content)
        except _WRONG:
            record = None
        if isinstance(record, dict):
            return record
        self._set_aside(file)
        return None

    def _set_aside(self, file: Path) -> None:
        with explaining(file):
            aside = set_aside(file)
        self.report(f"{file} is damaged: it is kept as {aside.name}, and what can be read of it is stored")


def _batches(saved: Iterable[tuple[Run, Detail]]) -> Iterator[Sequence[tuple[Run, Detail]]]:
    left = iter(saved)
    while batch := list(islice(left, BATCH)):
        yield batch


def _run_of(source: str, record: Mapping[str, Json]) -> tuple[Run, Detail]:
    kind = KINDS[source]
    return kind.run_and_detail({**record, kind.run_field: str(record[kind.run_field])})


def _operation_of(record: Mapping[str, Any]) -> Operation:
    workflow_id = record.get("workflow_id")
    return Operation(
        operation_id=str(record["operation_id"]),
        operation_type=str(record["operation_type"]),
        at=instant_of(record["timestamp"]) or datetime.fromtimestamp(0, UTC),
        user=str(record.get("user") or ""),
        app=None if workflow_id is None else AppKey(LOG, str(workflow_id)),
        data=dict(record.get("data") or {}),
    )


def _rename(file: Path, record_id: str) -> None:
    """Rename a file to the name that the ledger will look for."""
    name = file.with_name(f"{file_stem(record_id)}.json")
    if name != file:
        with explaining(file):
            file.replace(name)


def _histories(text: str) -> tuple[dict[str, Any], bool]:
    """Read a workflow's file as far as it goes, and return whether that was all."""
    try:
        envelope = json.loads(text)
        records = [each for each in envelope["histories"] if isinstance(each, dict)]
        return {**envelope, "histories": records}, len(records) == len(envelope["histories"])
    except _WRONG:
        return {"histories": _readable(text)}, False


def _readable(text: str) -> list[dict[str, Any]]:
    """Find the records in a damaged text: objects that name an execution."""
    records: list[dict[str, Any]] = []
    place = text.find("{", text.find('"histories"') + 1)
    while place >= 0:
        try:
            value, end = _decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            value, end = None, place + 1
        if isinstance(value, dict) and "execute_id" in value:
            records.append(value)
        else:
            end = place + 1
        place = text.find("{", end)
    return records
