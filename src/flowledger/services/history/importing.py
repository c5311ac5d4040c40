"""Runs and records read from JSON lines into a ledger, in batches; twice is once."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from flowledger.domain.operations import Operation
from flowledger.domain.run_documents import FORMAT, entry_of
from flowledger.domain.runs import Entry
from flowledger.errors import UsageError
from flowledger.ports import Decoder, Ledger
from flowledger.services.history.copying import save_entries
from flowledger.services.history.old_layouts import record_item
from flowledger.services.history.paging import DETAILED_PAGE

LISTED = 1000
"""So many bad lines are told of by number; all are counted."""


@dataclass(slots=True)
class Imported:
    """What came of the lines; ``problems`` name bad ones by number."""

    runs: int = 0
    operations: int = 0
    bad: int = 0
    problems: list[str] = field(default_factory=list)

    def refuse(self, number: int, why: str) -> None:
        """Take note of a bad line."""
        self.bad += 1
        if len(self.problems) < LISTED:
            self.problems.append(f"line {number}: {why}")


def import_lines(
    lines: Iterable[bytes], ledger: Ledger | None, decoders: Mapping[str, Decoder], zone: tzinfo
) -> Imported:
    """Write what ``export --lossless`` wrote, or records of the record services; None writes nothing.

    Bad lines are passed over and told of.  Times of records without offset are in the zone.
    """
    told = Imported()
    batch: list[Entry] = []
    for item in _items(lines, told, decoders, zone):
        if isinstance(item, Operation):
            told.operations += 1
            if ledger is not None:
                ledger.record(item)
            continue
        told.runs += 1
        batch.append(item)
        if len(batch) >= DETAILED_PAGE:
            _save(ledger, batch)
            batch = []
    _save(ledger, batch)
    return told


def _items(
    lines: Iterable[bytes], told: Imported, decoders: Mapping[str, Decoder], zone: tzinfo
) -> Iterator[Entry | Operation]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _item(json.loads(line), decoders, zone)
        except (UsageError, ValueError, RecursionError, ArithmeticError) as error:
            told.refuse(number, str(error))


def _item(document: Any, decoders: Mapping[str, Decoder], zone: tzinfo) -> Entry | Operation:
    if not isinstance(document, dict):
        raise UsageError("it is no JSON object")
    if "run_id" in document or document.get("format") == FORMAT:
        return entry_of(document, decoders)
    return record_item(document, zone)


def _save(ledger: Ledger | None, batch: list[Entry]) -> None:
    if ledger is not None and batch:
        save_entries(ledger, batch)
