"""Compare two ledgers record by record, by ids and content hashes, in flat memory."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, zip_longest
from typing import Any, NamedTuple

from flowledger.domain.certificates import Scope
from flowledger.domain.history import RunQuery
from flowledger.domain.run_mapping import digest_of
from flowledger.domain.runs import AppKey, Entry
from flowledger.ports import Ledger
from flowledger.services.history import migrate
from flowledger.services.history.audit import INCOMING
from flowledger.services.history.migrate import ALL_LETTERS, certificates_of, members_of
from flowledger.services.history.paging import operations_of, runs_of

MISSING, EXTRA, DIFFERENT = "missing in the target", "only in the target", "different"


class Difference(NamedTuple):
    """One record that is not the same: its kind and id, and how."""

    kind: str
    id: str
    how: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.how}"


@dataclass(slots=True)
class Counts:
    """How many runs each side has."""

    source: int = 0
    target: int = 0


def differences(
    source: Ledger,
    target: Ledger,
    counts: Counts,
    *,
    apps: Iterable[AppKey] = (),
    only_source_apps: bool = False,
) -> Iterator[Difference]:
    """Stream what is not the same; ``counts`` grows meanwhile.

    ``apps`` are those that may have certificates and no runs.  ``only_source_apps`` compares the apps of the
    source alone, and nothing else that the target has on record.
    """
    chosen = tuple(each.app for each in source.apps()) if only_source_apps else None
    yield from _of_runs(source, target, RunQuery(apps=chosen), counts)
    yield from _of_certificates(
        source, target, () if only_source_apps else tuple(apps), both=not only_source_apps
    )
    yield from _of_operations(source, target, both=not only_source_apps)
    if only_source_apps:
        return
    for kind, adapter, mine, theirs in (
        ("key", migrate.KEYS, _by_id(source.access_keys(), "key_id"), _by_id(target.access_keys(), "key_id")),
        (
            "letter",
            migrate.LETTERS,
            _by_id(source.outbox_messages(limit=ALL_LETTERS), "letter_id"),
            _by_id(target.outbox_messages(limit=ALL_LETTERS), "letter_id"),
        ),
    ):
        yield from _compared(
            kind,
            {name: migrate.digest(adapter, value) for name, value in mine.items()},
            {name: migrate.digest(adapter, value) for name, value in theirs.items()},
        )


def _of_runs(source: Ledger, target: Ledger, query: RunQuery, counts: Counts) -> Iterator[Difference]:
    """Go through both lists side by side, the runs of one instant at a time."""
    left, right = _instants(source, query), _instants(target, query)
    mine, theirs = next(left, None), next(right, None)
    while mine or theirs:
        here = mine if mine and (theirs is None or mine.at >= theirs.at) else None
        there = theirs if theirs and (mine is None or theirs.at >= mine.at) else None
        ours, other = here.digests if here else {}, there.digests if there else {}
        counts.source += len(ours)
        counts.target += len(other)
        yield from _compared("run", ours, other)
        mine = next(left, None) if here else mine
        theirs = next(right, None) if there else theirs


class _Instant(NamedTuple):
    at: datetime
    digests: Mapping[str, str]


def _instants(ledger: Ledger, query: RunQuery) -> Iterator[_Instant]:
    for at, entries in groupby(runs_of(ledger, query, with_details=True), lambda entry: entry.run.listed_at):
        yield _Instant(at, {_name(entry): digest_of(entry) for entry in entries})


def _name(entry: Entry) -> str:
    return f"{entry.run.app}:{entry.run.run_id}"


def _compared(kind: str, mine: Mapping[str, str], theirs: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted(mine.keys() | theirs.keys()):
        if name not in theirs:
            yield Difference(kind, name, MISSING)
        elif name not in mine:
            yield Difference(kind, name, EXTRA)
        elif mine[name] != theirs[name]:
            yield Difference(kind, name, DIFFERENT)


def _of_certificates(
    source: Ledger, target: Ledger, apps: tuple[AppKey, ...], *, both: bool
) -> Iterator[Difference]:
    for certificate in certificates_of(source, apps):
        scope = certificate.scope
        theirs = target.certificate(scope)
        if theirs is None:
            yield Difference("certificate", str(scope), MISSING)
        elif migrate.digest(migrate.CERTIFICATES, theirs) != migrate.digest(
            migrate.CERTIFICATES, certificate
        ):
            yield Difference("certificate", str(scope), DIFFERENT)
        if not _same_members(source, target, scope):
            yield Difference("members of", str(scope), DIFFERENT)
    for certificate in certificates_of(target, apps) if both else ():
        if source.certificate(certificate.scope) is None:
            yield Difference("certificate", str(certificate.scope), EXTRA)


def _same_members(source: Ledger, target: Ledger, scope: Scope) -> bool:
    pairs = zip_longest(_ids(source, scope), _ids(target, scope))
    return all(mine == theirs for mine, theirs in pairs)


def _ids(ledger: Ledger, scope: Scope) -> Iterator[str]:
    return (run.run_id for batch in members_of(ledger, scope) for run in batch)


def _of_operations(source: Ledger, target: Ledger, *, both: bool) -> Iterator[Difference]:
    for operation in operations_of(source):
        theirs = target.operation(operation.operation_id)
        if theirs is None:
            yield Difference("operation", operation.operation_id, MISSING)
        elif migrate.digest(migrate.OPERATIONS, theirs) != migrate.digest(migrate.OPERATIONS, operation):
            yield Difference("operation", operation.operation_id, DIFFERENT)
    for operation in operations_of(target) if both else ():
        if operation.operation_type not in INCOMING and source.operation(operation.operation_id) is None:
            yield Difference("operation", operation.operation_id, EXTRA)


def _by_id(values: Iterable[Any], name: str) -> Mapping[str, Any]:
    return {getattr(value, name): value for value in values}
