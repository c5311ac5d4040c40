"""The index that follows a journal of runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowledger.domain.runs import AppKey, Level
from flowledger.domain.windows import Window
from flowledger.ledger.files.index import AppIndex, Large, shared
from flowledger.ledger.files.journal import MARK, DamagedLineError, Span, parsed
from flowledger.ledger.files.records import listed_run, plain_detail
from flowledger.ledger.files.values import app_from, certificate_from, instant_from, run_from

WRONG = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What reading a line that is not what was written may raise."""


@dataclass(slots=True)
class RunTable:
    """The index of a journal of runs; plain lines are records of ``source``."""

    source: str
    apps: dict[AppKey, AppIndex] = field(default_factory=dict)
    snapshot_at: int = 0
    """Where in the journal the newest snapshot was made."""

    def clear(self) -> None:
        """Know nothing."""
        self.apps.clear()
        self.snapshot_at = 0

    def take(self, line: bytes, span: Span) -> None:
        """Take in a line."""
        if not line.startswith(MARK):
            self._take_record(line, span)
            return
        values = parsed(line)
        try:
            self._take_values(values, span)
        except WRONG as error:
            raise DamagedLineError(f"no {values.get('flowledger')!r:.40} line: {error!r:.200}") from error

    def of(self, app: AppKey) -> AppIndex:
        """Give the index of an app, made where it is missing."""
        return self.apps.setdefault(app, AppIndex())

    def _take_record(self, line: bytes, span: Span) -> None:
        run = listed_run(self.source, line)
        item = self.of(run.app).put(run, span, is_plain=True)
        item.held = plain_detail(run)
        item.detail_at, item.detail_large = None, ()

    def _take_values(self, values: Mapping[str, Any], span: Span) -> None:
        kind = values["flowledger"]
        if kind == "snapshot":
            self.snapshot_at = span.offset
            return
        app = app_from(values["app"])
        index = self.of(app)
        match kind:
            case "run":
                run = run_from(app, values["run"], b"")
                index.put(run, span, is_plain=False, large=_large(values))
            case "detail":
                item = index.items[values["id"]]
                level, reason, permanent, read_open = values["held"]
                item.held = shared(Level(level), reason, permanent, read_open)
                item.detail_at, item.detail_large = span, _large(values)
            case "seen":
                _see(index, values)
            case "members":
                window = Window(values["after"], values["before"])
                index.members.setdefault((window, values["query"]), set()).update(values["ids"])
            case "deleted":
                for run_id in values["ids"]:
                    index.forget(run_id)
            case "renamed":
                index.rename(values["was"], values["id"])
            case "certificate":
                index.certify(certificate_from(values))
            case _:
                raise DamagedLineError("its kind is unknown")


def _see(index: AppIndex, values: Mapping[str, Any]) -> None:
    at = instant_from(values["at"])
    for run_id in values["ids"]:
        item = index.items.get(run_id)
        if item is not None:  # else its line was damaged
            item.collected_at = at


def _large(values: Mapping[str, Any]) -> Large:
    return tuple((digest, size) for digest, size in values["large"])
