"""``/reports``: what is kept, its files, and orders for more."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from mimetypes import guess_type
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import uuid4

from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from flowledger.api.auth import Operator, Viewer, must_reach
from flowledger.api.backend import Backend, ReportLibrary, backend_of
from flowledger.api.idempotency import IdempotencyKey, once
from flowledger.api.problems import documented
from flowledger.api.query_params import InTime, Paged, SomeApps, Word, read_cursor, write_cursor
from flowledger.api.responses import Answer, tagged, tagged_bytes
from flowledger.api.schemas import Page
from flowledger.domain.access_keys import Caller
from flowledger.domain.history import Place
from flowledger.domain.operations import Operation
from flowledger.domain.retention import StoredReport
from flowledger.domain.runs import AppKey
from flowledger.services.report_requests import RunOrder

router = APIRouter(prefix="/reports", tags=["reports"])
ORDER = "ORDER_REPORT"
OVERDUE = timedelta(hours=24)
ReportId = Annotated[str, Path(pattern=r"^[0-9a-f]{24}$", examples=["0d4a3c8e5b6f7a8c9d0e1f2a"])]
FileName = Annotated[str, Path(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f/\\]+$")]
OrderId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", examples=["3f5b2e8d7c104c1a9a643f0ef2c1a6de"])]


class ReportShape(BaseModel):
    """A report that is kept whole; `until` is the end of its window, where that is known."""

    report_id: str
    report_type: str = Field(examples=["csv"])
    app: str = Field(description="The app's name, as file names have it.")
    stem: str
    kept_at: datetime
    until: datetime | None
    certified: bool
    size_bytes: int
    files: list[str] = Field(examples=[["yesterday-2026-11-21_sales_20261122T180004Z_2a536c72.csv"]])


class ReportList(InTime, SomeApps, Paged):
    """Which reports, by when they were kept; newest first."""

    type: Word | None = Field(default=None, examples=["csv"])


class OrderBody(BaseModel):
    """What shall be reported: a period, or bounds; what is left out is left to the app's settings."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"app": "sales", "period": "yesterday", "formats": ["csv", "json"]}]},
    )

    app: Word | None = Field(default=None, description="Name or id; needed only where there are several.")
    period: Literal["yesterday", "today", "last_week", "last_month", "last_24h", "custom"] | None = None
    after: Word | None = Field(default=None, description="First second, ISO 8601.")
    before: Word | None = Field(
        default=None, description="Last second, inclusive; a bare date means its end."
    )
    timezone: Word | None = None
    formats: list[Word] | None = Field(default=None, min_length=1, max_length=10)
    status: Word | None = None
    keyword: Word | None = None
    with_details: bool = True
    with_node_executions: bool = True

    def order(self) -> RunOrder:
        """Give the order as services take it."""
        said = self.model_dump(exclude={"formats"})
        return RunOrder(**said, formats=",".join(self.formats) if self.formats else None)


class OrderShape(BaseModel):
    """What became of an order."""

    order_id: str
    state: Literal["waiting", "running", "done", "failed"]
    result: dict[str, Any] | None = Field(description="The figures of the run, where this program made it.")
    reason: str | None = Field(description="Why it failed.")
    flow_run_id: str | None = Field(description="The run in Prefect, where that does it.")


@dataclass(frozen=True, slots=True)
class Kept:
    """A report and where it is."""

    library: ReportLibrary
    report: StoredReport

    @property
    def report_id(self) -> str:
        """Tells it from all others, and is no path."""
        name = "\n".join((self.library.place, self.report.report_type, self.report.app, self.report.stem))
        return sha256(name.encode()).hexdigest()[:24]

    @property
    def place(self) -> Place:
        """Where it stands in a list."""
        return Place(self.report.kept_at.astimezone(UTC), self.report_id)

    @property
    def files(self) -> Mapping[str, str]:
        """Its files for people → their names in the storage."""
        return {PurePosixPath(name).name: name for name in self.report.names}

    def row(self) -> dict[str, Any]:
        """Give it as lists show it."""
        report = self.report
        return {
            "report_id": self.report_id,
            "report_type": report.report_type,
            "app": report.app,
            "stem": report.stem,
            "kept_at": report.kept_at,
            "until": report.until,
            "certified": report.certified,
            "size_bytes": report.size_bytes,
            "files": list(self.files),
        }


@router.get("", response_model=Page[ReportShape], responses=documented(400))
def list_reports(request: Request, asked: Annotated[ReportList, Query()], caller: Viewer) -> Response:
    """List the reports that are kept whole, newest first."""
    question = asked.question(caller)
    after = read_cursor(asked.cursor, question)
    apps = asked.apps(caller)
    if asked.source:
        known = backend_of(request).names if apps is None else apps
        apps = tuple(app for app in known if app.source in asked.source)
    found = [each for each in _kept(backend_of(request), apps, asked) if after is None or each.place < after]
    found.sort(key=lambda each: each.place, reverse=True)
    shown = found[: asked.limit]
    following = shown[-1].place if len(found) > len(shown) else None
    return tagged(
        request,
        {"items": [each.row() for each in shown], "next_cursor": write_cursor(following, question)},
    )


@router.get("/{report_id}", response_model=ReportShape, responses=documented(404))
def show_report(request: Request, report_id: ReportId, caller: Viewer) -> Response:
    """Show one report."""
    return tagged(request, _find(request, report_id, caller).row())


@router.get(
    "/{report_id}/files/{file_name}",
    response_class=Response,
    responses={
        **documented(404),
        200: {
            "description": "The file.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
def download(request: Request, report_id: ReportId, file_name: FileName, caller: Viewer) -> Response:
    """Download one file of a report."""
    kept = _find(request, report_id, caller)
    if file_name not in kept.files:
        raise HTTPException(404, f"report {report_id} has no file of this name: see /reports/{report_id}")
    # Whatever a run said is in it: browsers shall keep it, not show it as a page of this server.
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file_name)}",
        "X-Content-Type-Options": "nosniff",
    }
    kind = guess_type(file_name)[0] or "application/octet-stream"
    return tagged_bytes(request, kept.library.read(kept.files[file_name]), kind, headers)


@router.post("", status_code=202, response_model=OrderShape, responses=documented(400, 404, 409, 413))
def order_report(request: Request, body: OrderBody, caller: Operator, key: IdempotencyKey = None) -> Response:
    """Have a report made: by Prefect where that is configured, else by this program; poll `Location`."""
    backend, order = backend_of(request), body.order()
    app = _app_of(backend, body.app)
    must_reach(caller, app)
    if backend.desk is None:
        raise HTTPException(409, "this server makes no reports: it was started without settings of an app")
    backend.desk.check(order)
    return once(request, key, caller, lambda: _placed(backend, caller, order, app, key))


@router.get("/orders/{order_id}", response_model=OrderShape, responses=documented(404))
def show_order(request: Request, order_id: OrderId, caller: Viewer) -> Response:
    """Say what became of an order."""
    backend = backend_of(request)
    placed = backend.ledger.operation(f"order-{order_id}")
    if placed is None or not caller.reaches(placed.app):
        raise HTTPException(404, f"there is no order {order_id}, or not within this key's reach")
    return tagged(request, _state(backend, placed, order_id))


def _placed(backend: Backend, caller: Caller, order: RunOrder, app: AppKey, key: str | None) -> Answer:
    assert backend.desk is not None
    # The same for the same key, so that whoever makes it makes it once, too.
    order_id = sha256(f"{caller.key_id}\n{key}".encode()).hexdigest()[:32] if key else uuid4().hex
    reference = backend.desk.place(order, order_id)
    words = {name: value for name, value in asdict(order).items() if value is not None}
    data = {"order": words, "reference": reference}
    operation_id = f"order-{order_id}"
    backend.ledger.record(Operation(operation_id, ORDER, backend.clock(), caller.name, app, data=data))
    said = {"order_id": order_id, "state": "waiting", "result": None, "reason": None}
    location = f"/reports/orders/{order_id}"
    return Answer({**said, "flow_run_id": reference or None}, 202, {"Location": location})


def _state(backend: Backend, placed: Operation, order_id: str) -> dict[str, Any]:
    """Say what the ledger knows of the end; before that, what the desk does."""
    reference = str(placed.data.get("reference") or "")
    found: dict[str, Any] = {"result": None, "reason": None}
    ended = backend.ledger.operation(f"order-{order_id}-end")
    if ended is not None:
        found |= ended.data
    elif backend.desk is not None and (told := backend.desk.state(reference or order_id)):
        found |= told
    elif backend.clock() - placed.at > OVERDUE:
        found |= {"state": "failed", "reason": "nothing was heard of it for a day: its server has ended"}
    else:
        found["state"] = "running"
    return {"order_id": order_id, **found, "flow_run_id": reference or None}


def _app_of(backend: Backend, name: str | None) -> AppKey:
    """Find the app that is meant, as settings do.

    :raises HTTPException: 422, where that is none or not exactly one.
    """
    matching = [app for app, known in backend.names.items() if name is None or name in (known, app.app_id)]
    if len(matching) == 1:
        return matching[0]
    what = "several apps are configured: name one" if name is None else "this app is not in the settings"
    raise HTTPException(422, what if backend.names else "no app is in the settings")


def _find(request: Request, report_id: str, caller: Caller) -> Kept:
    for each in _kept(backend_of(request), caller.apps, None):
        if each.report_id == report_id:
            return each
    raise HTTPException(404, f"there is no report {report_id}, or not within this key's reach")


def _kept(backend: Backend, apps: tuple[AppKey, ...] | None, asked: ReportList | None) -> Iterator[Kept]:
    """Give the reports of some apps; of None all, those of apps that are no longer configured too."""
    kind, since, before = (asked.type, asked.since, asked.before) if asked else (None, None, None)
    for shelf in backend.shelves:
        names = [None] if apps is None else [backend.names[app] for app in shelf.apps if app in apps]
        for name in names:
            for report in shelf.library.reports(app=name, report_type=kind, since=since):
                if before is None or report.kept_at < before:
                    yield Kept(shelf.library, report)
