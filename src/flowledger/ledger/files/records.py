"""When a line is a record alone: a logged or a Coze execution of which the record tells everything."""

import json
from dataclasses import replace
from decimal import InvalidOperation
from typing import Any

from flowledger.domain.record_kinds import KINDS, NO_NODES
from flowledger.domain.runs import Level, Run
from flowledger.errors import LedgerError
from flowledger.ledger.details import HeldDetail
from flowledger.ledger.files.journal import MARK, DamagedLineError
from flowledger.ledger.storable import storable

_WRONG = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
_UNCLEAN = (b"\\u", b"\xed")
"""How NUL and half a surrogate pair begin in a record's bytes."""
_OPEN = HeldDetail(Level.RUN, NO_NODES.reason, NO_NODES.permanent, read_open=True)
_ENDED = replace(_OPEN, read_open=False)


def plain_run(source: str, line: bytes) -> Run:
    """Make the run of a line that is a record, its bytes included.

    :raises DamagedLineError: when it is none.
    """
    return replace(listed_run(source, line), raw=line)


def listed_run(source: str, line: bytes) -> Run:
    """Make the run of a line that is a record, for an index.

    :raises DamagedLineError: when it is none.
    """
    if source not in KINDS:
        raise DamagedLineError("no line of the ledger")
    try:
        run = KINDS[source].to_run(json.loads(line))
        return storable(run) if any(sign in line for sign in _UNCLEAN) else run
    except _WRONG as error:
        raise DamagedLineError(f"no record: {error!r:.200}") from error


def plain_detail(run: Run) -> HeldDetail:
    """Tell what is held of the detail of a run that is a record alone."""
    return _OPEN if run.status.is_open else _ENDED


def is_record(run: Run) -> bool:
    """Whether a run's raw is the record of exactly this run, so that it can stand in a file of records."""
    record = _record(run)
    return record is not None and record.get(KINDS[run.app.source].run_field) == run.run_id


def is_plain(run: Run, held: HeldDetail | None) -> bool:
    """Whether the record alone tells this run and this detail."""
    if not is_record(run) or run.raw.startswith(MARK):
        return False
    try:
        told = plain_run(run.app.source, run.raw)
        return told == run and repr(told) == repr(run) and plain_detail(told) == held
    except (DamagedLineError, InvalidOperation, LedgerError):
        return False


def _record(run: Run) -> dict[str, Any] | None:
    if run.app.source not in KINDS or b"\n" in run.raw or not run.raw:
        return None
    try:
        record = json.loads(run.raw.decode())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
