"""Reads a ledger of journals, as Flowledger wrote them into a folder before ``ledger.db``; changes nothing.

``journals/{executions,operations,letters,keys}.jsonl``, ``execution_history/<workflow>.jsonl`` and
``runs/<source>/<app>.jsonl`` hold a JSON object a line.  Lines of the ledger's own begin with ``MARK``; any
other one is a record alone.  Of a run the last line counts.  Large bodies are files in ``<journal>.bodies``.
"""

import fcntl
import json
import os
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from flowledger.domain.access_keys import AccessKey, Role
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.messages import OutboxMessage
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import COZE, KINDS, LOG, NO_NODES
from flowledger.domain.runs import AppKey, Creator, Level, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.errors import LedgerError, LedgerVersionError
from flowledger.ledger.bodies import DamagedError, decompress
from flowledger.ledger.disk import explaining
from flowledger.ledger.rules import StoredDetail, message_from
from flowledger.ledger.texts import storable

VERSION = 1
LOCK_WAIT_S = 10.0
MARK = b'{"flowledger":'
_WRONG = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, DamagedError)
"""What reading a line that is not what was written may raise."""
_FATE = ("tries", "problem", "given_up")
Report = Callable[[str], None]
Values = Mapping[str, Any]


class Span(NamedTuple):
    """Where a line is in its journal."""

    offset: int
    length: int


@dataclass(slots=True)
class LegacyRun:
    """One run: its lines, what is stored of its detail, and which collection saw it last."""

    run_at: Span
    is_record: bool
    detail: StoredDetail | None = None
    detail_at: Span | None = None
    collected_at: datetime | None = None


@dataclass(slots=True)
class LegacyApp:
    """The runs of one app by id, the members of its filtered scopes, and its certificates."""

    runs: dict[str, LegacyRun] = field(default_factory=dict)
    members: dict[tuple[Window, str], set[str]] = field(default_factory=dict)
    certificates: dict[tuple[Window, str], Certificate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LegacyFolder:
    """A folder that may hold journals."""

    root: Path

    def journals(self) -> Sequence[Path]:
        """Return the journals that are there."""
        patterns = ("journals/*.jsonl", "execution_history/[!.]*.jsonl", "runs/*/[!.]*.jsonl")
        return sorted(path for pattern in patterns for path in self.root.glob(pattern))

    def run_journals(self, report: Report) -> Iterator["RunJournal"]:
        """Read the journals of runs, one after another."""
        for path in self.journals():
            place = path.relative_to(self.root).parts
            if place == ("journals", "executions.jsonl"):
                yield RunJournal(path, LOG, report)
            elif place[0] != "journals":
                yield RunJournal(path, COZE if place[0] == "execution_history" else place[1], report)

    def operations(self, report: Report) -> Iterator[Operation]:
        """Stream the operations; of an id the first one counts."""
        for _, values in _ledger_lines(self.root / "journals/operations.jsonl", report):
            yield from _understood(self.root / "journals/operations.jsonl", _operation_from, values, report)

    def letters(self, report: Report) -> Sequence[OutboxMessage]:
        """Return the messages of the outbox, in the order they were added."""
        path = self.root / "journals/letters.jsonl"
        letters: dict[str, OutboxMessage] = {}

        def apply(values: Values) -> None:
            match values["flowledger"]:
                case "letter":
                    letters[values["letter_id"]] = _letter_from(values)
                case "claimed":
                    for letter_id in values["ids"]:
                        until = _instant(values["not_before"])
                        letters[letter_id] = replace(letters[letter_id], not_before=until)
                case "settled":
                    letter_id = values["letter_id"]
                    letters[letter_id] = replace(letters[letter_id], **_progress_from(values))
                case "forgotten":
                    for letter_id in values["ids"]:
                        letters.pop(letter_id, None)

        for _, values in _ledger_lines(path, report):
            list(_understood(path, apply, values, report))
        return list(letters.values())

    def keys(self, report: Report) -> Sequence[AccessKey]:
        """Return the keys of the API; of an id the last one counts."""
        path = self.root / "journals/keys.jsonl"
        lines = (values for _, values in _ledger_lines(path, report))
        keys = (key for values in lines for key in _understood(path, _key_from, values, report))
        return list({key.key_id: key for key in keys}.values())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the locks that writers of journals take.

        :raises LedgerError: when an older Flowledger does not give one up.
        """
        with ExitStack() as stack:
            for path in self.journals():
                with explaining(path):
                    stack.callback(os.close, _lock(path))
            yield


class RunJournal:
    """One journal of runs: what counts of it, and where its lines are."""

    def __init__(self, path: Path, source: str, report: Report) -> None:
        self.path, self.source, self.report = path, source, report
        self.apps: dict[AppKey, LegacyApp] = {}
        for span, line in _lines(path, report):
            try:
                self._apply(line, span)
            except _WRONG as error:
                report(f"{path}: byte {span.offset}: {error!r:.200}")

    def run(self, app: AppKey, run_id: str) -> Run:
        """Read a run.

        :raises LedgerError: naming the run, when it is damaged.
        """
        legacy = self.apps[app].runs[run_id]
        with self._naming(f"run {run_id} of {app}"):
            line = self._line(legacy.run_at)
            if legacy.is_record:
                return _record_run(self.source, line)
            values = json.loads(line)
            return _run_from(app, values["run"], self._unpack(values["raw"]))

    def bodies(self, app: AppKey, run_id: str) -> Mapping[str, bytes]:
        """Read the bodies of a run's detail.

        :raises LedgerError: naming the run, when one is damaged.
        """
        legacy = self.apps[app].runs[run_id]
        if legacy.detail_at is None:
            return {}
        with self._naming(f"the detail of run {run_id} of {app}"):
            bodies = json.loads(self._line(legacy.detail_at))["bodies"]
            return {name: self._unpack(body) for name, body in bodies.items()}

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            yield
        except (*_WRONG, OSError) as error:
            raise LedgerError(f"{self.path}: {what} is damaged: {error!r:.200}") from error

    def _line(self, span: Span) -> bytes:
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), span.length, span.offset)

    def _unpack(self, body: Values) -> bytes:
        if "text" in body:
            text: str = body["text"]
            return text.encode()
        if "zlib" in body:
            return decompress(b64decode(body["zlib"], validate=True))
        content = decompress((self.path.with_suffix(".bodies") / body["sha256"]).read_bytes())
        if sha256(content).hexdigest() != body["sha256"]:
            raise ValueError(f"the SHA-256 of a large body is not {body['sha256']}")
        return content

    def _apply(self, line: bytes, span: Span) -> None:
        if not line.startswith(MARK):
            run = _record_run(self.source, line)
            earlier = self._app(run.app).runs.get(run.run_id)
            detail = StoredDetail(Level.RUN, NO_NODES.reason, NO_NODES.permanent, run.status.is_open)
            collected_at = earlier.collected_at if earlier else None
            self._app(run.app).runs[run.run_id] = LegacyRun(span, True, detail, None, collected_at)
            return
        values = json.loads(line)
        if values["flowledger"] not in ("journal", "batch", "snapshot"):
            self._apply_values(self._app(AppKey(*values["app"])), values, span)

    def _apply_values(self, app: LegacyApp, values: Values, span: Span) -> None:
        match values["flowledger"]:
            case "run":
                run_id = values["run"]["run_id"]
                _run_from(AppKey("", ""), values["run"], b"")
                earlier = app.runs.get(run_id) or LegacyRun(span, is_record=False)
                app.runs[run_id] = replace(earlier, run_at=span, is_record=False)
            case "detail":
                level, reason, permanent, read_open = values["held"]
                detail = StoredDetail(Level(level), reason, permanent, read_open)
                app.runs[values["id"]].detail = detail
                app.runs[values["id"]].detail_at = span
            case "seen":
                for run_id in app.runs.keys() & values["ids"]:
                    app.runs[run_id].collected_at = _instant(values["at"])
            case "members":
                scope = (Window(values["after"], values["before"]), values["query"])
                app.members.setdefault(scope, set()).update(values["ids"])
            case "deleted":
                for run_id in values["ids"]:
                    app.runs.pop(run_id, None)
                for members in app.members.values():
                    members.difference_update(values["ids"])
            case "renamed":
                self._rename(app, values["was"], values["id"])
            case "certificate":
                certificate = _certificate_from(values)
                scope = (certificate.scope.window, certificate.scope.query)
                earlier_one = app.certificates.get(scope)
                if earlier_one is None or earlier_one.at <= certificate.at:
                    app.certificates[scope] = certificate
            case kind:
                raise ValueError(f"lines of the kind {kind!r:.40} are unknown")

    def _rename(self, app: LegacyApp, old: str, new: str) -> None:
        """Let a run that turned up take the place of the row that was all of it; its detail goes."""
        app.runs[new] = replace(app.runs.pop(old), detail=None, detail_at=None)
        for members in app.members.values():
            if old in members:
                members.remove(old)
                members.add(new)

    def _app(self, app: AppKey) -> LegacyApp:
        return self.apps.setdefault(app, LegacyApp())


def _lines(path: Path, report: Report) -> Iterator[tuple[Span, bytes]]:
    """Read the lines that count: what a killed writer left unfinished at the end is no write."""
    with explaining(path):
        if not path.exists():
            return
        size = path.stat().st_size
        with path.open("rb") as file:
            offset = 0
            for line in file:
                span = Span(offset, len(line) - 1)
                offset += len(line)
                if not line.endswith(b"\n"):
                    return
                if line.startswith(MARK + b'"journal"'):
                    _check_version(path, line)
                elif line.startswith(MARK + b'"batch"'):
                    # A write of several lines begins with how much follows: all of it counts, or none.
                    try:
                        if offset + int(json.loads(line)["bytes"]) > size:
                            return
                    except _WRONG as error:
                        report(f"{path}: byte {span.offset}: {error!r:.200}")
                else:
                    yield span, line[:-1]


def _ledger_lines(path: Path, report: Report) -> Iterator[tuple[Span, Values]]:
    for span, line in _lines(path, report):
        try:
            yield span, json.loads(line)
        except _WRONG as error:
            report(f"{path}: byte {span.offset}: {error!r:.200}")


def _understood(path: Path, read: Callable[[Values], Any], values: Values, report: Report) -> Iterator[Any]:
    try:
        yield read(values)
    except _WRONG as error:
        report(f"{path}: {str(values)[:60]}…: {error!r:.200}")


def _check_version(path: Path, line: bytes) -> None:
    try:
        version = json.loads(line)["version"]
    except _WRONG:
        return  # a damaged first line costs no run
    if not isinstance(version, int) or version > VERSION:
        raise LedgerVersionError(
            f"the ledger's file {path} has format {version}, and this program knows journals of format"
            f" {VERSION}: use a Flowledger that knows format {version}"
        )


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                os.close(descriptor)
                raise LedgerError(
                    f"the ledger's file {path} is in use by an older Flowledger, so that its folder cannot be"
                    " taken over: end that program, and open the ledger again"
                ) from error
            time.sleep(0.02)
        else:
            return descriptor


def _record_run(source: str, line: bytes) -> Run:
    return replace(
        storable(KINDS[source].to_run(json.loads(line.decode("utf-8", "surrogatepass")))), raw=line
    )


def _run_from(app: AppKey, values: Values, raw: bytes) -> Run:
    read: dict[str, Any] = dict(values)
    for name in ("listed_at", "started_at", "finished_at"):
        read[name] = _maybe_instant(values.get(name))
    read["status"] = RunStatus(values["status"])
    if "creator" in values:
        read["creator"] = Creator(**values["creator"])
    if "elapsed_s" in values:
        read["elapsed_s"] = Decimal(values["elapsed_s"])
    return Run(app=app, raw=raw, **read)


def _certificate_from(values: Values) -> Certificate:
    window = Window(values["after"], values["before"])
    return Certificate(
        Scope(AppKey(*values["app"]), window, values["query"]),
        certified=values["certified"],
        reason=values["reason"],
        expected=values["expected"],
        distinct=values["distinct"],
        retained=values["retained"],
        at=_instant(values["at"]),
    )


def _operation_from(values: Values) -> Operation:
    source = values["source"]
    return Operation(
        operation_id=values["operation_id"],
        operation_type=values["operation_type"],
        at=_instant(values["timestamp"]),
        user=values["user"],
        app=None if source is None else AppKey(source, values["workflow_id"]),
        subject=values["subject"],
        data=values["data"],
    )


def _letter_from(values: Values) -> OutboxMessage:
    return OutboxMessage(
        letter_id=values["letter_id"],
        channel=values["channel"],
        message=message_from(values["message"]),
        app=None if values["app"] is None else AppKey(*values["app"]),
        posted_at=_instant(values["posted_at"]),
        **_progress_from(values),
    )


def _progress_from(values: Values) -> dict[str, Any]:
    times = {"not_before": _instant(values["not_before"]), "sent_at": _maybe_instant(values["sent_at"])}
    return times | {name: values[name] for name in _FATE}


def _key_from(values: Values) -> AccessKey:
    return AccessKey(
        key_id=values["key_id"],
        name=values["name"],
        digest=values["digest"],
        role=Role[values["role"].upper()],
        created_at=_instant(values["created_at"]),
        apps=None if values["apps"] is None else tuple(AppKey(*app) for app in values["apps"]),
        expires_at=_maybe_instant(values["expires_at"]),
        revoked_at=_maybe_instant(values["revoked_at"]),
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _maybe_instant(text: str | None) -> datetime | None:
    return None if text is None else _instant(text)
