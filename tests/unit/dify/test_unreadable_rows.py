"""A row of a list that cannot be filed stops nothing: it is said, and the window is not certified."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from flowledger.dify import parsing
from flowledger.dify.endpoints import Console, ServiceApi
from flowledger.dify.fetcher import WorkflowLogFetcher
from flowledger.domain.certificates import Scope
from flowledger.domain.run_filters import FilterSplit
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import Window
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import SilentProgress
from flowledger.services.collect import Collector

APP = AppKey("dify", "app")
START = 1_795_219_200
WINDOW = Window(START, START + 999)
NOW = datetime.fromtimestamp(START + 5000, UTC)
USABLE = range(250)

Row = dict[str, Any]


def log_row(number: int, at: object, run_at: object = None) -> Row:
    """A row of the log list at a time, of a run that began at another."""
    run = {"id": f"run-{number:03}", "status": "succeeded", "created_at": run_at, "finished_at": START}
    return {"id": f"log-{number:03}", "workflow_run": run, "created_at": at}


@dataclass
class ListedRows:
    """A service API and a console whose lists hold rows, each in the place of a second."""

    rows: list[tuple[int, Row]]

    def logs(self, window: Window, remote: Mapping[str, str], *, page: int, limit: int) -> Mapping[str, Any]:
        """Answer as Dify does: rows newest first, all of them counted."""
        inside = [
            row for at, row in self.rows if "workflow_run" in row and window.after <= at <= window.before
        ]
        data = inside[(page - 1) * limit :][:limit]
        more = len(inside) > page * limit
        return {"page": page, "limit": limit, "total": len(inside), "has_more": more, "data": data}

    def workflow_runs(self, app_id: str, last_id: str | None) -> Mapping[str, Any]:
        """Answer as the console does: the next hundred after a row."""
        rows = [row for _, row in self.rows]
        start = next((place + 1 for place, row in enumerate(rows) if row["id"] == last_id), 0)
        return {"limit": 100, "has_more": len(rows) > start + 100, "data": rows[start:][:100]}

    def count(self, app_id: str, age_s: int) -> Mapping[str, Any]:
        """Count every row."""
        since = NOW.timestamp() - age_s
        return {"total": sum(at >= since for at, _ in self.rows)}


class Fetcher(WorkflowLogFetcher):
    """Knows the time and the kind of its app without asking."""

    def now(self) -> datetime:
        return NOW

    def lists_runs(self) -> bool:
        return True


def fetcher(rows: list[tuple[int, Row]], mode: str = "workflow") -> Fetcher:
    """The source of an app whose lists hold these rows, newest first."""
    listed = ListedRows(sorted(rows, key=lambda row: -row[0]))
    return Fetcher(APP, cast(ServiceApi, listed), cast(Console, listed), _mode=mode, _title="app")


def collect(source: Fetcher) -> tuple[Any, set[str]]:
    """Collect the window; return the certificate and the ids of the runs that are stored."""
    ledger = SqlLedger.open("memory://", {"dify": parsing.decode})
    certificate = Collector(source, ledger, lambda: NOW, SilentProgress(), at_once=2).collect(
        WINDOW, FilterSplit()
    )
    return certificate, {each.run.run_id for each in ledger.entries(Scope(APP, WINDOW), with_details=False)}


@pytest.mark.parametrize(
    ("place", "at"),
    [(0, None), (120, "soon"), (249, ""), (249, -5), (0, {}), pytest.param(120, 10**400, id="huge")],
)
def test_a_log_row_without_any_time_is_said_and_the_others_are_stored(place: int, at: object) -> None:
    """The window is not certified, for a reason that shows the row."""
    rows = [(START + number, log_row(number, START + number)) for number in USABLE if number != place]
    source = fetcher([*rows, (START + place, log_row(place, at))])
    certificate, stored = collect(source)
    assert not certificate.certified
    assert "a log row has no id or no time" in certificate.reason
    assert f"log-{place:03}" in certificate.reason
    assert stored == {f"run-{number:03}" for number in USABLE if number != place}


def test_a_log_row_without_a_time_is_filed_by_its_runs_own() -> None:
    """The run is in the report; its window is not certified, since the list's time decides what is in it."""
    rows = [(START + number, log_row(number, START + number)) for number in USABLE]
    rows[100] = (START + 100, log_row(100, None, START + 100))
    certificate, stored = collect(fetcher(rows))
    assert not certificate.certified
    assert "listed run run-100 without a usable time" in certificate.reason
    assert len(stored) == len(USABLE)


def test_a_run_whose_own_time_lies_outside_is_left_out() -> None:
    """A run of another day is not filed under this one for want of a time."""
    rows = [(START + 10, log_row(10, None, START - 86_400)), (START + 5, log_row(5, START + 5))]
    certificate, stored = collect(fetcher(rows))
    assert (certificate.certified, stored) == (False, {"run-005"})


@pytest.mark.parametrize("place", [0, 99, 100, 249])
def test_a_run_of_a_chatflow_without_a_time_is_said_and_the_others_are_stored(place: int) -> None:
    """Also where it is the last row of a page, from which the list goes on."""
    rows = [
        (
            START + number * 3,
            {"id": f"run-{number:03}", "status": "succeeded", "created_at": START + number * 3},
        )
        for number in USABLE
    ]
    rows[place] = (rows[place][0], {"id": f"run-{place:03}", "status": "succeeded", "created_at": "soon"})
    certificate, stored = collect(fetcher(rows, "advanced-chat"))
    assert not certificate.certified
    assert "a workflow run has no id or no time" in certificate.reason
    assert stored == {f"run-{number:03}" for number in USABLE if number != place}
