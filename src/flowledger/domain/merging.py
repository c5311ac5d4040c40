"""What two sightings of one run make together, field by field: none takes away what it does not carry.

A source's answers differ in what they carry: a console's row of a chatflow has neither the error nor the end
user, a deleted run's log row has hardly anything, a run's detail has no version (docs/dify-api.md "Console").
"""

from dataclasses import fields, replace
from typing import Any

from flowledger.domain.runs import Creator, Run, RunStatus

_LASTING = ("workflow_version", "created_from", "started_at", "raw")
"""Fields that never change during a run, so that a row of its beginning may add them to one of its end."""
_MOVING = ("error", "elapsed_s", "total_tokens", "total_steps", "exceptions_count", "finished_at")
_PERSON = tuple(each.name for each in fields(Creator))


def merge(stored: Run, incoming: Run) -> Run:
    """Return the run that a stored one and a new sighting of it make together.

    A final run is never made open again; a sighting that the run is gone only marks it; a row that stood for
    a deleted run gives way to the run itself.  Elsewhere the sighting wins in whatever it carries.
    """
    if incoming.gone:
        return replace(_filled(stored, incoming), gone=True)
    if stored.gone and stored.run_id != incoming.run_id:
        return _filled(incoming, stored)
    if incoming.status.is_open and not stored.status.is_open:
        return _filled(stored, incoming)
    if incoming.status.is_open and stored.source_status and not incoming.source_status:
        # A message of a chatflow names its run and tells nothing of how that stands.
        return _filled(stored, incoming)
    filled = _filled(incoming, stored)
    return replace(filled, **{name: _carried(filled, stored, name) for name in _still_true(stored, incoming)})


def _still_true(stored: Run, incoming: Run) -> tuple[str, ...]:
    """Return the changing fields that may be taken over: an open run has no end, a mended one no error."""
    out_of_date = set()
    if incoming.status.is_open:
        out_of_date.add("finished_at")
    if incoming.status is RunStatus.SUCCESS and stored.status is not RunStatus.SUCCESS:
        out_of_date.add("error")
    return tuple(name for name in _MOVING if name not in out_of_date)


def _filled(run: Run, other: Run) -> Run:
    """Return a run with what only the other sighting carries of the fields that never change."""
    values: dict[str, Any] = {name: _carried(run, other, name) for name in _LASTING}
    log_id = run.log_id
    if other.log_id and (not log_id or log_id == run.run_id):
        # A list without log rows files a run under its own id, which is no news of the log row.
        log_id = other.log_id
    return replace(run, **values, log_id=log_id, creator=_creator(run.creator, other.creator))


def _creator(creator: Creator | None, other: Creator | None) -> Creator | None:
    if creator is None or other is None:
        return creator or other
    if not any((creator.id, creator.name, creator.email, creator.session_id)):
        return other if other.role or not creator.role else creator
    if creator.role != other.role or (creator.id and other.id and creator.id != other.id):
        return creator
    return Creator(**{name: _carried(creator, other, name) for name in _PERSON})


def _carried(one: Run | Creator, other: Run | Creator, name: str) -> Any:
    """Return a field as the first has it, where it has it at all; nothing and an empty text are not."""
    value, second = getattr(one, name), getattr(other, name)
    return second if value in (None, "", b"") and second not in (None, "", b"") else value
