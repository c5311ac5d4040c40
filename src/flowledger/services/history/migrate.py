"""What one ledger holds, read whole and brought into another, batch by batch, so that twice is once."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter

from flowledger.domain.access_keys import AccessKey
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.messages import OutboxMessage
from flowledger.domain.operations import Operation
from flowledger.domain.run_mapping import digest_of
from flowledger.domain.runs import UNREAD, AppKey, Entry, Run
from flowledger.domain.windows import LATEST, Window
from flowledger.ports import Ledger
from flowledger.services.history.paging import count_of, operations_of, pages_of


@dataclass(frozen=True, slots=True)
class Members:
    """Some of the runs that were saved under a filtered scope."""

    scope: Scope
    run_ids: tuple[str, ...]


CERTIFICATES: TypeAdapter[Certificate] = TypeAdapter(Certificate)
MEMBERS: TypeAdapter[Members] = TypeAdapter(Members)
OPERATIONS: TypeAdapter[Operation] = TypeAdapter(Operation)
LETTERS: TypeAdapter[OutboxMessage] = TypeAdapter(OutboxMessage)
KEYS: TypeAdapter[AccessKey] = TypeAdapter(AccessKey)


def digest(adapter: TypeAdapter[Any], value: Any) -> str:
    """Return the SHA-256 of a value."""
    document = adapter.dump_python(value, mode="json")
    return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


EVER = Window(0, LATEST)
NO_SCOPE = Window(0, 0)
NO_COLLECTION = datetime.fromtimestamp(0, UTC)
"""What is copied was seen by no collection of the ledger it comes into."""
ALL_LETTERS = 2**31 - 1
MEMBERS_A_BATCH = 500


@dataclass(slots=True)
class MigrationCounts:
    """How much of each kind went over; ``problems`` are lines for people."""

    runs: int = 0
    skipped: int = 0
    certificates: int = 0
    members: int = 0
    operations: int = 0
    letters: int = 0
    keys: int = 0
    problems: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return the numbers by name."""
        names = ("runs", "skipped", "certificates", "members", "operations", "letters", "keys")
        return {name: getattr(self, name) for name in names}


def save_entries(ledger: Ledger, entries: Sequence[Entry]) -> None:
    """Write runs as they were; a detail that was never asked for stays that."""
    for app, group in groupby(sorted(entries, key=_app), key=_app):
        stored = list(group)
        unread = [entry.run for entry in stored if entry.detail == UNREAD]
        if unread:
            ledger.save_runs(unread, scope=Scope(AppKey(*app), NO_SCOPE), at=NO_COLLECTION)
        read = [(entry.run, entry.detail) for entry in stored if entry.detail != UNREAD]
        if read:
            ledger.save_details(read)


def certificates_of(ledger: Ledger, apps: Iterable[AppKey] = ()) -> Iterator[Certificate]:
    """Yield the newest certificate of every scope of every app that has runs, and of these apps."""
    for app in dict.fromkeys([*(each.app for each in ledger.apps()), *apps]):
        yield from ledger.certificates(app, EVER, None)


def members_of(ledger: Ledger, scope: Scope) -> Iterator[list[Run]]:
    """Yield the runs saved under a filtered scope, in batches."""
    batch: list[Run] = []
    for entry in ledger.entries(scope, with_details=False) if scope.query else ():
        whole = None if entry.run.raw else ledger.entry(RunKey(entry.run.app, entry.run.run_id))
        batch.append(whole.run if whole else entry.run)
        if len(batch) >= MEMBERS_A_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def copy_certificate(ledger: Ledger, certificate: Certificate, members: Iterable[Sequence[Run]]) -> int:
    """Write a certificate with the members of its scope, and return how many there were."""
    count = 0
    for batch in members:
        ledger.save_runs(batch, scope=certificate.scope, at=NO_COLLECTION)
        count += len(batch)
    ledger.save_runs([], scope=certificate.scope, at=NO_COLLECTION, certificate=certificate)
    return count


def is_empty(ledger: Ledger) -> bool:
    """Return whether a ledger holds nothing at all."""
    return not (
        ledger.apps() or ledger.operations(limit=1) or ledger.access_keys() or ledger.outbox_messages(limit=1)
    )


def save_message(ledger: Ledger, letter: OutboxMessage) -> None:
    """Write a letter with what has come of it; one that is held stays as it is."""
    if ledger.enqueue([letter]):
        ledger.complete(letter)


def keep_key(ledger: Ledger, key: AccessKey) -> None:
    """Write a key; one that was revoked there stays revoked."""
    if not any(stored.key_id == key.key_id and stored.revoked_at for stored in ledger.access_keys()):
        ledger.keep_key(key)


def copy_rest(source: Ledger, target: Ledger, totals: MigrationCounts, apps: Iterable[AppKey] = ()) -> None:
    """Copy all that is no run: certificates with members, operations, letters, keys."""
    for certificate in certificates_of(source, apps):
        totals.members += copy_certificate(target, certificate, members_of(source, certificate.scope))
        totals.certificates += 1
    for operation in operations_of(source):
        target.record(operation)
        totals.operations += 1
    for letter in source.outbox_messages(limit=ALL_LETTERS):
        save_message(target, letter)
        totals.letters += 1
    for key in source.access_keys():
        keep_key(target, key)
        totals.keys += 1


def _app(entry: Entry) -> tuple[str, str]:
    return entry.run.app.source, entry.run.app.app_id


def migrate(
    source: Ledger,
    target: Ledger,
    *,
    resume: bool = False,
    apps: Iterable[AppKey] = (),
    on_progress: Callable[[int], None] = lambda _runs: None,
) -> MigrationCounts:
    """Copy everything; twice is once.  ``problems`` name the runs that are not the same in the target.

    ``resume`` leaves out what the target holds already, to the last byte; ``apps`` are those that may have
    certificates and no runs; ``moved`` is told after each batch how many more runs are safe.
    """
    totals = MigrationCounts()
    for page in pages_of(source, RunQuery(), with_details=True):
        batch = [entry for entry in page if not holds(target, entry)] if resume else page
        save_entries(target, batch)
        totals.problems += [_differs(entry) for entry in batch if not holds(target, entry)]
        totals.runs += len(batch)
        totals.skipped += len(page) - len(batch)
        on_progress(len(page))
    copy_rest(source, target, totals, apps)
    return totals


def would_migrate(source: Ledger, target: Ledger | None) -> MigrationCounts:
    """Return how many runs would go over, and how many the target (None: not there yet) holds already."""
    if target is None:
        return MigrationCounts(runs=count_of(source, RunQuery()))
    totals = MigrationCounts()
    for page in pages_of(source, RunQuery(), with_details=True):
        stored = sum(holds(target, entry) for entry in page)
        totals.runs += len(page) - stored
        totals.skipped += stored
    return totals


def holds(target: Ledger, entry: Entry) -> bool:
    """Return whether a ledger holds a run with its detail just so."""
    stored = target.entry(RunKey(entry.run.app, entry.run.run_id))
    return stored is not None and digest_of(stored) == digest_of(entry)


def _differs(entry: Entry) -> str:
    run = entry.run
    return f"run {run.app}:{run.run_id} is held otherwise in the target: newer, or read more deeply, there"
