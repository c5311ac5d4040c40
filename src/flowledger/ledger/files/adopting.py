"""Takes in what the programs of old have left in a folder, once, before its journal begins."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import COZE, KINDS, LOG, instant_of
from flowledger.domain.runs import AppKey, Json
from flowledger.ledger.files.bodies import Bodies
from flowledger.ledger.files.disk import explaining, set_aside
from flowledger.ledger.files.index import AppIndex
from flowledger.ledger.files.journal import line_of
from flowledger.ledger.files.merge import Merge
from flowledger.ledger.files.values import operation_values
from flowledger.ledger.storable import storable

_WRONG = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Adopting:
    """Reads files of old; ``report`` is told of those that cannot be read, which are kept aside."""

    report: Callable[[str], None]
    bodies: Bodies

    def executions(self, folder: Path) -> Iterator[bytes]:
        """Give the lines of a folder of logged executions."""
        for file in _files(folder):
            yield from self._taken(file, lambda record: self._record_lines(LOG, record))

    def operations(self, folder: Path) -> Iterator[bytes]:
        """Give the lines of a folder of operations."""
        for file in _files(folder):
            yield from self._taken(file, _operation_lines)

    def history(self, file: Path, workflow_id: str) -> Iterator[bytes]:
        """Give the lines of a snapshot, oldest first; of a damaged one what can be read."""
        with explaining(file):
            text = file.read_bytes().decode("utf-8", "replace")
        records, whole = _histories(text)
        for record in reversed(records):
            try:
                yield from self._record_lines(COZE, {**record, "workflow_id": workflow_id})
            except _WRONG:
                whole = False
        if not whole:
            self._set_aside(file)

    def _taken(self, file: Path, lines_of: Callable[[dict[str, Any]], list[bytes]]) -> list[bytes]:
        with explaining(file):
            content = file.read_bytes()
        try:
            return lines_of(json.loads(content))
        except _WRONG:
            self._set_aside(file)
            return []

    def _set_aside(self, file: Path) -> None:
        with explaining(file):
            aside = set_aside(file)
        self.report(f"{file} is damaged: it is kept as {aside.name}, and what can be read of it is held")

    def _record_lines(self, source: str, record: Mapping[str, Json]) -> list[bytes]:
        kind = KINDS[source]
        run, detail = kind.kept({**record, kind.run_field: str(record[kind.run_field])})
        merge = Merge(storable(run.app), AppIndex(), _never, self.bodies)
        merge.put(run, detail)
        return list(merge.lines())


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.json")) if folder.is_dir() else []


def _operation_lines(record: dict[str, Any]) -> list[bytes]:
    workflow_id = record.get("workflow_id")
    at = instant_of(record["timestamp"]) or datetime.fromtimestamp(0, UTC)
    operation = Operation(
        operation_id=str(record["operation_id"]),
        operation_type=str(record["operation_type"]),
        at=at,
        user=str(record.get("user") or ""),
        app=None if workflow_id is None else AppKey(LOG, str(workflow_id)),
        data=dict(record.get("data") or {}),
    )
    return [line_of("operation", **operation_values(storable(operation)))]


def _histories(text: str) -> tuple[list[dict[str, Any]], bool]:
    """Read the records of a snapshot as far as it goes, and tell whether that was all."""
    try:
        found = json.loads(text)["histories"]
        return [each for each in found if isinstance(each, dict)], all(
            isinstance(each, dict) for each in found
        )
    except _WRONG:
        return _readable(text), False


def _readable(text: str) -> list[dict[str, Any]]:
    """Find the records in a damaged text: objects that name an execution."""
    found: list[dict[str, Any]] = []
    place = text.find("{", text.find('"histories"') + 1)
    while place >= 0:
        try:
            value, end = _decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            value, end = None, place + 1
        if isinstance(value, dict) and "execute_id" in value:
            found.append(value)
        else:
            end = place + 1
        place = text.find("{", end)
    return found


def _never(item: object) -> Any:
    raise LookupError(item)
