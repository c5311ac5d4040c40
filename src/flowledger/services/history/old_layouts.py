"""The record services' folders of old, read by content: executions, operations, histories of workflows.

``DIR/workflow_executions/*.json``, ``DIR/workflow_operations/*.json`` (an object each) and
``DIR/execution_history/*.json`` (``{workflow_id, total, histories, updated_at}``).  File names say nothing.
What cannot be read, whole or in part, is told of, and the file is copied aside; it is never changed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from hashlib import sha256
from pathlib import Path
from typing import Any

from flowledger.domain.history import RunKey
from flowledger.domain.operations import Operation
from flowledger.domain.record_checks import checked_id, checked_time, checked_word
from flowledger.domain.record_kinds import COZE, KINDS, LOG
from flowledger.domain.runs import AppKey, Entry
from flowledger.errors import UsageError
from flowledger.ports import Ledger
from flowledger.services.history.whole_file import whole_file

FOLDERS = ("workflow_executions", "workflow_operations", "execution_history")
_WRONG = (UsageError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
_decoder = json.JSONDecoder()
Record = dict[str, Any]
Item = Entry | Operation


@dataclass(slots=True)
class OldLayout:
    """A folder of old; times without offset are in ``zone``.  ``quarantine`` None copies nothing aside."""

    folder: Path
    zone: tzinfo
    quarantine: Path | None
    problems: list[str] = field(default_factory=list)
    _aside: set[Path] = field(default_factory=set)

    def fill(self, ledger: Ledger) -> None:
        """Write all that can be read into a ledger; of two records with one id the first stays.

        The file of the other counts as bad where it says something else.
        """
        for file in self._files():
            for item in self._items(file):
                if not _is_saved(ledger, item):
                    self._report(file, f"{_id(item)} is in another file too, with other content")

    def _files(self) -> Iterator[Path]:
        folders = [self.folder / name for name in FOLDERS if (self.folder / name).is_dir()]
        for folder in folders or [self.folder]:
            yield from sorted(path for path in folder.rglob("*.json") if path.is_file())

    def _items(self, file: Path) -> Iterator[Item]:
        try:
            text = file.read_bytes().decode()
            content = json.loads(text)
        except OSError as error:
            self.problems.append(f"{file}: cannot be read ({error.strerror})")
            return
        except (ValueError, RecursionError) as error:
            self._report(file, f"is no whole JSON ({error})")
            text = file.read_bytes().decode("utf-8", "replace")
            content = {"workflow_id": None, "histories": _readable(text)}
        yield from self._read(file, content)

    def _read(self, file: Path, content: Any) -> Iterator[Item]:
        if isinstance(content, dict) and isinstance(content.get("histories"), list):
            owner = content.get("workflow_id")
            for number, record in enumerate(content["histories"], 1):
                yield from self._item(
                    file, f"history {number}", lambda it: _coze(it, owner, self.zone), record
                )
        elif isinstance(content, dict) and "execution_id" in content:
            yield from self._item(file, "execution", lambda it: _execution(it, self.zone), content)
        elif isinstance(content, dict) and "execute_id" in content:
            yield from self._item(file, "execution", lambda it: _coze(it, None, self.zone), content)
        elif isinstance(content, dict) and "operation_id" in content:
            yield from self._item(file, "operation", lambda it: _operation(it, self.zone), content)
        else:
            self._report(file, "is neither an execution, an operation nor a workflow's history")

    def _item(self, file: Path, what: str, make: Callable[[Record], Item], record: Any) -> Iterator[Item]:
        try:
            yield make(record)
        except _WRONG as error:
            self._report(file, f"{what}: {_reason(error)}")

    def _report(self, file: Path, why: str) -> None:
        self.problems.append(f"{file}: {why}")
        if self.quarantine is not None and file not in self._aside:
            self._aside.add(file)
            self._copy(file, self.quarantine / file.relative_to(self.folder))

    def _copy(self, file: Path, aside: Path) -> None:
        content = file.read_bytes()
        aside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if aside.exists() and aside.read_bytes() != content:
            aside = aside.with_name(f"{aside.name}.{sha256(content).hexdigest()[:12]}")
        with whole_file(aside) as stream:
            stream.write(content)


def record_item(record: Mapping[str, Any], zone: tzinfo) -> Item:
    """Make what a ledger keeps of a record: an execution, a Coze execution or an operation.

    :raises UsageError: saying what is wrong with it.
    """
    made = dict(record)
    try:
        if "execution_id" in made:
            return _execution(made, zone)
        if "execute_id" in made:
            return _coze(made, None, zone)
        if "operation_id" in made:
            return _operation(made, zone)
    except _WRONG as error:
        raise UsageError(_reason(error)) from error
    raise UsageError("it is neither a run, an execution nor an operation")


def save_item(ledger: Ledger, item: Item) -> None:
    """Write a record."""
    if isinstance(item, Operation):
        ledger.record(item)
    else:
        ledger.save_details([(item.run, item.detail)])


def _is_saved(ledger: Ledger, item: Item) -> bool:
    """Write a record unless there is one of its id; tell whether that is the same."""
    if isinstance(item, Operation):
        return ledger.record(item) or ledger.operation(item.operation_id) == item
    stored = ledger.entry(RunKey(item.run.app, item.run.run_id))
    if stored is None:
        save_item(ledger, item)
        return True
    return stored.run.raw == item.run.raw


def _execution(record: Record, zone: tzinfo) -> Entry:
    times = {
        name: checked_time(name, record[name], zone)
        for name in ("start_time", "end_time")
        if record.get(name)
    }
    made = {**record, **times}
    checked_id("execution_id", made["execution_id"])
    checked_id("workflow_id", made.get("workflow_id"))
    if made.get("status") is not None:
        checked_word("status", made["status"])
    return Entry(*KINDS[LOG].run_and_detail(made))


def _coze(record: Record, owner: Any, zone: tzinfo) -> Entry:
    times = {
        name: checked_time(name, record[name], zone)
        for name in ("create_time", "update_time")
        if isinstance(record.get(name), str)
    }
    made = {**record, **times}
    if made.get("workflow_id") is None and owner is not None:
        made["workflow_id"] = owner
    checked_id("execute_id", made["execute_id"])
    checked_id("workflow_id", made.get("workflow_id"))
    if made.get("execute_status") is not None:
        checked_word("execute_status", made["execute_status"])
    return Entry(*KINDS[COZE].run_and_detail(made))


def _operation(record: Record, zone: tzinfo) -> Operation:
    workflow_id = record.get("workflow_id")
    at = checked_time("timestamp", record["timestamp"], zone)
    if at is None:
        raise UsageError("timestamp is missing")
    return Operation(
        operation_id=checked_id("operation_id", record["operation_id"]),
        operation_type=checked_word("operation_type", record["operation_type"]),
        at=datetime.fromisoformat(at).astimezone(UTC),
        user=str(record.get("user") or ""),
        app=None if workflow_id is None else AppKey(LOG, checked_id("workflow_id", workflow_id)),
        data=dict(record.get("data") or {}),
    )


def _id(item: Item) -> str:
    return item.operation_id if isinstance(item, Operation) else f"{item.run.app}:{item.run.run_id}"


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _readable(text: str) -> list[Record]:
    """Find the Coze executions in a damaged text: objects that name one."""
    records: list[Record] = []
    place = text.find("{")
    while place >= 0:
        end = place + 1
        try:
            value, after = _decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            value, after = None, end
        if isinstance(value, dict) and "execute_id" in value:
            records.append(value)
            end = after
        place = text.find("{", end)
    return records
