"""Every interface between the core and a backend, on one page.

``RunSource`` (Dify), ``Ledger`` (SQL, files, memory), ``ReportFormat`` (csv, markdown, json),
``StorageBackend`` (local, s3, oss), ``Channel`` (email, dingtalk, …) and ``Progress`` (a terminal, a log).
``plugins`` lists what implements them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from flowledger.domain.access_keys import AccessKey
from flowledger.domain.certificates import Certificate, RunSet, Scope
from flowledger.domain.conversation_scan import Conversation, ConversationPage, MessagePage
from flowledger.domain.cursor_scan import RunCounts
from flowledger.domain.figures import Figures
from flowledger.domain.history import (
    EVERY_OPERATION,
    AppSummary,
    HistoryPage,
    OperationQuery,
    Place,
    RunFacts,
    RunKey,
    RunQuery,
    RunSize,
)
from flowledger.domain.messages import Attachment, Message, OutboxMessage
from flowledger.domain.operations import Operation
from flowledger.domain.report_heading import Heading
from flowledger.domain.retention import NO_SUBJECT, ReportSubject, StoredReport
from flowledger.domain.run_filters import FilterSplit, RunFilter
from flowledger.domain.run_mapping import Decoder as Decoder  # noqa: PLC0414  # what backends implement is found here
from flowledger.domain.runs import AppKey, Detail, Entry, Json, Level, Run
from flowledger.domain.windows import Window


@dataclass(frozen=True, slots=True)
class LogPage:
    """One answer of the source's list: rows newest first, the source's total, whether older ones follow.

    ``page`` and ``limit`` are what the answer says of itself, None where it does not.  ``problem`` says why
    the answer cannot be right, such as rows that do not fit the filter (those are left out of ``rows``).
    """

    rows: Sequence[Run]
    total: int
    has_more: bool
    page: int | None = None
    limit: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CursorPage:
    """One answer of a list without total; ``cursor`` asks for the next (older) one, None at the end.

    ``problem`` says why the answer cannot be right.
    """

    rows: Sequence[Run]
    cursor: str | None
    problem: str = ""


class RunSource(Protocol):
    """Where runs come from.  Every method may raise the errors of ``errors``; retries happen inside."""

    @property
    def app(self) -> AppKey:
        """The app this source reads."""

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent so far, retries included."""

    def identity(self) -> str:
        """Return a digest of where the source is and what opens it."""

    def check_app(self) -> bool:
        """Check that the app has runs and is the key's own; return False where nothing can prove it yet.

        :raises UsageError: when it is another app, no app, or one of a kind that has no runs.
        """

    def now(self) -> datetime:
        """Return the present by the source's clock, aware UTC, as far as it can be told."""

    def split(self, wanted: RunFilter) -> FilterSplit:
        """Divide a filter between the source and us."""

    def page(self, window: Window, remote: Mapping[str, str], *, page: int = 1, limit: int = 100) -> LogPage:
        """Read one page of the log list of a window, newest second first, ties in any order."""

    def lists_logs(self) -> bool:
        """Return whether the app's kind has a log list at all (a Dify chatflow has none)."""

    def lists_runs(self) -> bool:
        """Return whether the list without total has the app's runs; else its conversations lead to them."""

    def cursor_page(self, cursor: str | None) -> CursorPage:
        """Read one page of the list without total, newest first."""

    def count_since(self, second: int) -> RunCounts | None:
        """Count the runs since a unix time, by the source's clock; None where it cannot."""

    def conversations(self, page: int) -> ConversationPage:
        """Read one page of the app's conversations, the last changed first."""

    def messages(self, conversation: Conversation, before: str | None) -> MessagePage:
        """Read the newest messages of a conversation, or those before the second of a message."""

    def unmoved(self, window: Window, runs: Sequence[Run]) -> frozenset[str] | None:
        """Return the ids of those open runs that are open still, as far as few requests tell.

        A run that is not named has to be asked.  None where the source cannot tell.
        """

    def deepest(self) -> Level:
        """How deep a detail this source's credentials can reach."""

    def why_not_deeper(self) -> str:
        """Explain why ``deepest`` is not ``Level.NODES``; empty where it is."""

    def detail(self, run: Run, level: Level) -> tuple[Run, Detail]:
        """Read a run's detail, and the run anew where it was still open.

        :raises SkippableError: when this run cannot be had; RetriableError: when retries are used up.
        """


Change = Callable[[Entry | None], tuple[Run, Detail] | None]
"""Decides what becomes of one run: given as it is held (None: not at all), the run and detail to keep, or
None to leave it.  It may be called again where a database takes a transaction back."""


class RunHistory(Protocol):
    """Runs of every source as one list, and single runs; what other programs record is written here.

    Every method takes and gives aware UTC.
    """

    def apps(self) -> Sequence[AppSummary]:
        """Return a summary of every app that has runs, by source and id."""

    def history(
        self, query: RunQuery, *, after: Place | None = None, limit: int = 50, with_details: bool = False
    ) -> HistoryPage:
        """Read a page of runs, newest first; without details the source's own row is left out as well."""

    def entry(self, key: RunKey) -> Entry | None:
        """Return one run with its detail; None where there is none."""

    def locate(self, source: str, run_id: str) -> AppKey | None:
        """Return the app of a run that is known by source and id alone; of two, the newest one."""

    def facts(self, query: RunQuery) -> Iterator[RunFacts]:
        """Stream what statistics count, in no order."""

    def sizes(self, app: AppKey) -> Iterator[RunSize]:
        """Stream what each run of an app takes, newest first."""

    def amend(self, key: RunKey, change: Change) -> Entry | None:
        """Read one run and store what the change makes of it, atomically; return it as it is then.

        :raises RecordConflictError: when it is new, of a recording program (``domain.record_kinds``), and
            another workflow of the same source has an execution of that id, whichever process recorded it.

        Returns when it is safe on the disk.  What ``change`` raises ends it, and nothing is written.
        Unlike a collection, an amendment may open a run again and take a detail's place with a lesser one.
        """

    def delete_runs(self, keys: Sequence[RunKey], *, only_if: Callable[[Entry], bool] | None = None) -> int:
        """Delete runs with all that is stored of them, in one transaction; return how many were deleted.

        ``only_if`` decides by what is stored at that very moment: in the same transaction, with nobody
        between reading and deleting.  It may be called again where a database takes a transaction back.
        """


class AuditTrail(Protocol):
    """Who did what; nothing in it is ever changed."""

    def record(self, operation: Operation) -> bool:
        """Append to the audit trail; the same operation id twice is once, and False the second time."""

    def operation(self, operation_id: str) -> Operation | None:
        """Return one operation; None where there is none."""

    def operations(
        self, query: OperationQuery = EVERY_OPERATION, *, after: Place | None = None, limit: int = 1000
    ) -> Sequence[Operation]:
        """Return operations, newest first, those of one instant by falling id.

        What follows one is after ``Place(its time, its id)``.
        """


class StoredValue(NamedTuple):
    """A fact that is no act: its key, a JSON object, and when it was stored (aware UTC)."""

    key: str
    value: Mapping[str, Json]
    at: datetime


class KeyValueStore(Protocol):
    """Facts that programs look up by key, such as the answer to a request; only a swap changes one."""

    def put_value(self, key: str, value: Mapping[str, Json], at: datetime) -> bool:
        """Store a value under a key unless there is one, and return whether it was stored."""

    def swap_value(
        self, key: str, old: Mapping[str, Json] | None, new: Mapping[str, Json] | None, at: datetime
    ) -> bool:
        """Put a value in the place of another, None standing for no value; return whether ``old`` was there.

        Atomic: of several processes that see the same value one succeeds.
        """

    def value(self, key: str) -> StoredValue | None:
        """Return the value of a key; None where there is none."""


class KeyStore(Protocol):
    """The keys of the API."""

    def keep_key(self, key: AccessKey) -> None:
        """Keep a key; one of the same id is replaced."""

    def access_keys(self) -> Sequence[AccessKey]:
        """Return all keys, oldest first, revoked ones too."""


class Outbox(Protocol):
    """Where messages wait for their channels: the part of a ledger that stores them."""

    def enqueue(self, messages: Sequence[OutboxMessage]) -> int:
        """Store messages to be sent, in one transaction, and return how many are new.

        One whose id is there stays as it is.
        """

    def claim(self, at: datetime, lease: timedelta, *, limit: int = 100) -> Sequence[OutboxMessage]:
        """Take messages that may be tried at ``at``, oldest first; nobody else gets them during the lease."""

    def complete(self, message: OutboxMessage) -> None:
        """Store what came of a message: tries, problem, next try, when sent, or that it is given up."""

    def outbox_messages(self, *, waiting: bool | None = None, limit: int = 100) -> Sequence[OutboxMessage]:
        """Return the newest messages, newest first: all, only those still waiting, or only the others."""

    def forget_messages(self, posted_before: datetime) -> int:
        """Delete messages posted before an instant that wait no more, and return how many."""


class Ledger(RunHistory, AuditTrail, KeyValueStore, KeyStore, Outbox, Protocol):
    """The durable record.  All writes are idempotent and all-or-nothing; times are aware UTC."""

    def save_runs(
        self, runs: Sequence[Run], *, scope: Scope, at: datetime, certificate: Certificate | None = None
    ) -> None:
        """Insert or update runs, and the scope's certificate, in one transaction.

        ``at`` is when the collection began.  A final run is never made open again; a held detail stays.
        Rows saved under a filtered scope become its members.
        """

    def save_details(self, details: Sequence[tuple[Run, Detail]]) -> None:
        """Keep details (and the runs as they are now) in one transaction; replaces what was held.

        One that is less deep never takes the place of the held one: what was read once stays.
        """

    def certificate(self, scope: Scope) -> Certificate | None:
        """Return the newest certificate of exactly this scope."""

    def certificates(self, app: AppKey, within: Window, query: str | None = "") -> Sequence[Certificate]:
        """Return the newest certificate of each scope inside a window, oldest window first.

        ``query`` is the scope's; None means every one.
        """

    def count(
        self, scope: Scope, *, collected_since: datetime | None = None, source_status: str | None = None
    ) -> int:
        """Count the runs of a scope: all, or those that a collection has seen since an instant, or those in
        a status, by the source's word for it.
        """

    def run_set(
        self, scope: Scope, *, within: Window | None = None, collected_since: datetime | None = None
    ) -> RunSet:
        """Return what tells the runs of a scope from another set: their number and a digest of their ids.

        ``within`` takes only those listed in a part of the window, ``collected_since`` only those that a
        collection has seen since an instant.  A gone run's id is its log id.
        """

    def pending(
        self, scope: Scope, level: Level, *, open_since: datetime, tried: bool | None = None
    ) -> Iterator[Run]:
        """Stream the runs that need enrichment, newest first.

        A run needs it when its detail is shallower than ``level`` and not permanently missing, or when the
        detail was read while the run was open and the run has ended since, or is open still and was listed
        at ``open_since`` or later (an older one is stuck).  ``tried`` wants only those whose detail was asked
        for before, in vain or not, or only those whose never was.
        """

    def open_runs(self, scope: Scope) -> Iterator[Run]:
        """Stream the runs that had not ended when they were last seen, newest first."""

    def entries(self, scope: Scope, *, with_details: bool = True) -> Iterator[Entry]:
        """Stream runs with their details, newest first (ties by log id, then run id), in flat memory."""

    def compact(self) -> None:
        """Return the space of what was deleted back to the disk; others may read and write meanwhile."""

    def close(self) -> None:
        """Return files and connections back."""


class Channel(Protocol):
    """A way to tell people: a frozen dataclass with its options as fields."""

    @property
    def takes_files(self) -> bool:
        """Return whether files can go with a message."""

    def send(self, message: Message, files: Sequence[tuple[str, bytes]] = ()) -> None:
        """Deliver one message, with files by name; return only when it was accepted.

        :raises ChannelBusyError: when trying later may help; MessageRefusedError: when it will not.
            Neither holds a secret.
        """


@runtime_checkable
class Probed(Protocol):
    """A channel that can be asked whether it would take messages, without sending one."""

    def probe(self) -> None:
        """Reach it and log in; nobody is told anything.

        :raises ChannelBusyError, MessageRefusedError: as ``send`` would.
        """


class ReportWriter(Protocol):
    """One artifact set being written: every entry once, newest first, then the figures."""

    def add(self, entry: Entry) -> None:
        """Write one run."""

    def finish(self, figures: Figures) -> Sequence[Path]:
        """Complete the artifacts and give their files, inside the directory given to ``begin``."""


@runtime_checkable
class ReportFormat(Protocol):
    """A way to write a report."""

    @property
    def name(self) -> str:
        """Its word in settings and on the command line."""

    def begin(self, heading: Heading, directory: Path) -> AbstractContextManager[ReportWriter]:
        """Start writing into an empty directory; leaving the context closes all files."""


class StoredFile(NamedTuple):
    """A stored file: its name, when it was stored (aware UTC), its size in bytes."""

    name: str
    stored_at: datetime
    size_bytes: int


class StorageBackend(Protocol):
    """Keeps files under names with ``/``; a name appears whole or not at all."""

    def put(self, name: str, source: Path) -> str:
        """Keep a file or a whole directory under a name, and return its location for people.

        :raises StorageUnavailableError, StorageRefusedError: when the storage is away, or refuses.
        :raises StorageError: with the name, when it cannot; nothing is visible then.
        """

    def read(self, name: str) -> bytes:
        """Return a file's content, proved to be what was kept where the storage can tell."""

    def names(self, prefix: str) -> Sequence[StoredFile]:
        """List the files whose names begin with a prefix, oldest first."""

    def location(self, name: str) -> str:
        """Return the location for people of a name."""

    def link(self, name: str, valid_for: timedelta) -> str:
        """Return an address that opens a file without a log-in for a while; of a local file, its path."""

    def remove(self, *names: str) -> None:
        """Forget files; one that is not there is no error."""


class ReportStore(Protocol):
    """Stores finished reports under names that are never used twice, lists and deletes them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What people must know of where the reports are now: that they wait on this machine, and why."""

    def save_files(
        self,
        paths: Sequence[Path],
        stem: str,
        report_type: str,
        *,
        app: str = "",
        subject: ReportSubject = NO_SUBJECT,
    ) -> Sequence[str]:
        """Keep the files of one report, all or none, and return their locations for people.

        :raises StorageError: naming the file, when it cannot.
        """

    def reports(
        self, *, app: str | None = None, report_type: str | None = None, since: datetime | None = None
    ) -> Sequence[StoredReport]:
        """List the reports that are kept whole, oldest first."""

    def discard(self, reports: Sequence[StoredReport]) -> None:
        """Forget reports, files and all."""


class ReportLinks(Protocol):
    """Finished reports as messages show them.  Every method may raise ``StorageError``, naming the file."""

    def link(self, location: str) -> str:
        """Return an address that people can open, or the location itself where there is none."""

    def attachments(self, locations: Sequence[str]) -> Sequence[Attachment]:
        """Choose the files that go with a message; none where they are too large together."""

    def read(self, attachment: Attachment) -> bytes:
        """Return a file's content."""


class Progress(Protocol):
    """Shows a person how far the work is."""

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of so many steps."""

    def advance(self, steps: int = 1) -> None:
        """So many steps further."""

    def note(self, text: str) -> None:
        """Show something worth knowing."""


@dataclass(frozen=True, slots=True)
class SilentProgress:
    """Progress that nobody watches: takes everything and shows nothing."""

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage."""

    def advance(self, steps: int = 1) -> None:
        """So many steps further."""

    def note(self, text: str) -> None:
        """Show nothing."""


Clock = Callable[[], datetime]
"""Returns the present, aware UTC."""
