"""``/reports``: the stored reports, their files, and orders for new ones."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
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

from flowledger.api.auth import Operator, Viewer
from flowledger.api.backend import Backend, backend_of
from flowledger.api.idempotency import IdempotencyKey, once
from flowledger.api.problems import documented
from flowledger.api.processes import has_ended, own_process
from flowledger.api.query_params import AppParams, PageParams, TimeParams, Word, read_cursor, write_cursor
from flowledger.api.report_queue import CUT_SHORT
from flowledger.api.responses import Answer, tagged, tagged_bytes
from flowledger.api.schemas import Page
from flowledger.domain.access_keys import Caller
from flowledger.domain.history import Place
from flowledger.domain.operations import Operation
from flowledger.domain.retention import StoredReport
from flowledger.domain.runs import AppKey
from flowledger.services.report_requests import RunOrder
from flowledger.storage.service import StorageService

router = APIRouter(prefix="/reports", tags=["reports"])
ORDER = "ORDER_REPORT"
OVERDUE = timedelta(hours=24)
ReportId = Annotated[str, Path(pattern=r"^[0-9a-f]{24}$", examples=["0d4a3c8e5b6f7a8c9d0e1f2a"])]
FileName = Annotated[str, Path(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f/\\]+$")]
OrderId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", examples=["3f5b2e8d7c104c1a9a643f0ef2c1a6de"])]


class ReportShape(BaseModel):
    """A report that is stored completely; `until` is the end of its window, where it has one."""

    report_id: str
    report_type: str = Field(examples=["csv"])
    app: str = Field(description="The app's name, as file names have it.")
    stem: str
    kept_at: datetime
    until: datetime | None
    certified: bool
    size_bytes: int
    files: list[str] = Field(examples=[["yesterday-2026-11-21_sales_20261122T180004Z_2a536c72.csv"]])


class ReportList(TimeParams, AppParams, PageParams):
    """Which reports, by when they were stored; newest first."""

    type: Word | None = Field(default=None, examples=["csv"])


class OrderBody(BaseModel):
    """What to report: a period, or two times; the app's settings decide what is left out."""

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
        """Return the order as services take it."""
        values = self.model_dump(exclude={"formats"})
        return RunOrder(**values, formats=",".join(self.formats) if self.formats else None)


class OrderShape(BaseModel):
    """State of an order."""

    order_id: str
    state: Literal["waiting", "running", "done", "failed"]
    result: dict[str, Any] | None = Field(description="The result of the run, where this program made it.")
    reason: str | None = Field(description="Why it failed.")
    flow_run_id: str | None = Field(description="The run in Prefect, where Prefect makes the report.")


@dataclass(frozen=True, slots=True)
class ReportInStorage:
    """A report and the storage that it is in."""

    storage: StorageService
    report: StoredReport

    @property
    def report_id(self) -> str:
        """An id over all storages, from which no path can be made or guessed."""
        name = "\n".join((self.storage.place, self.report.report_type, self.report.app, self.report.stem))
        return sha256(name.encode()).hexdigest()[:24]

    @property
    def position(self) -> Place:
        """Its position in lists."""
        return Place(self.report.stored_at.astimezone(UTC), self.report_id)

    @property
    def files(self) -> Mapping[str, str]:
        """Its files for people → their names in the storage."""
        return {PurePosixPath(name).name: name for name in self.report.names}

    def row(self) -> dict[str, Any]:
        """Return it as an item of a list (``ReportShape``)."""
        report = self.report
        return {
            "report_id": self.report_id,
            "report_type": report.report_type,
            "app": report.app,
            "stem": report.stem,
            "kept_at": report.stored_at,
            "until": report.until,
            "certified": report.certified,
            "size_bytes": report.size_bytes,
            "files": list(self.files),
        }


@router.get("", response_model=Page[ReportShape], responses=documented(400))
def list_reports(request: Request, params: Annotated[ReportList, Query()], caller: Viewer) -> Response:
    """List the reports that are stored completely, newest first."""
    cursor_scope = params.cursor_scope(caller)
    after = read_cursor(params.cursor, cursor_scope)
    apps = params.apps_for(caller)
    if params.source:
        candidates = backend_of(request).names if apps is None else apps
        apps = tuple(app for app in candidates if app.source in params.source)
    matches = [
        each for each in _reports(backend_of(request), apps, params) if after is None or each.position < after
    ]
    matches.sort(key=lambda each: each.position, reverse=True)
    page = matches[: params.limit]
    following = page[-1].position if len(matches) > len(page) else None
    return tagged(
        request,
        {"items": [each.row() for each in page], "next_cursor": write_cursor(following, cursor_scope)},
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
    report = _find(request, report_id, caller)
    if file_name not in report.files:
        raise HTTPException(404, f"report {report_id} has no file of this name: see /reports/{report_id}")
    # It has outputs of workflows, perhaps HTML: a browser must save it, never render it as a page of ours.
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file_name)}",
        "X-Content-Type-Options": "nosniff",
    }
    media_type = guess_type(file_name)[0] or "application/octet-stream"
    return tagged_bytes(request, report.storage.read(report.files[file_name]), media_type, headers)


@router.post("", status_code=202, response_model=OrderShape, responses=documented(400, 404, 409, 413))
def order_report(request: Request, body: OrderBody, caller: Operator, key: IdempotencyKey = None) -> Response:
    """Order a report: made by Prefect where that is configured, else by this program; poll `Location`."""
    backend, order = backend_of(request), body.order()
    app = _app_of(backend, body.app, caller)
    if body.app is None and len(backend.names) > 1:
        order = replace(order, app=backend.names[app])
    if backend.report_queue is None:
        raise HTTPException(409, "this server makes no reports: it was started without settings of an app")
    backend.report_queue.check(order)
    return once(request, key, caller, lambda: _enqueue(backend, caller, order, app, key))


@router.get("/orders/{order_id}", response_model=OrderShape, responses=documented(404))
def show_order(request: Request, order_id: OrderId, caller: Viewer) -> Response:
    """Show the state of an order."""
    backend = backend_of(request)
    placed = backend.ledger.operation(f"order-{order_id}")
    if placed is None or not caller.reaches(placed.app):
        raise HTTPException(404, f"there is no order {order_id}, or not within this key's reach")
    return tagged(request, _state(backend, placed, order_id))


def _enqueue(backend: Backend, caller: Caller, order: RunOrder, app: AppKey, key: str | None) -> Answer:
    assert backend.report_queue is not None
    # The same id for the same key, so that the queue makes it once even if this operation is not recorded.
    order_id = sha256(f"{caller.key_id}\n{key}".encode()).hexdigest()[:32] if key else uuid4().hex
    reference = backend.report_queue.enqueue(order, order_id)
    values = {name: value for name, value in asdict(order).items() if value is not None}
    data = {"order": values, "reference": reference, "process": own_process()}
    operation_id = f"order-{order_id}"
    backend.ledger.record(Operation(operation_id, ORDER, backend.clock(), caller.name, app, data=data))
    state = {"order_id": order_id, "state": "waiting", "result": None, "reason": None}
    location = f"/reports/orders/{order_id}"
    return Answer({**state, "flow_run_id": reference or None}, 202, {"Location": location})


def _state(backend: Backend, placed: Operation, order_id: str) -> dict[str, Any]:
    """Return how an order ended by the ledger; before that, its state in the queue."""
    reference = str(placed.data.get("reference") or "")
    state: dict[str, Any] = {"result": None, "reason": None}
    ended = backend.ledger.value(f"order-{order_id}-end")
    if ended is not None:
        state |= ended.value
    elif backend.report_queue is not None and (queued := backend.report_queue.state(reference or order_id)):
        state |= queued
    elif not reference and has_ended(placed.data.get("process")):
        # Killed, so that it could not say so itself; a process that ends in peace does.
        backend.ledger.put_value(f"order-{order_id}-end", CUT_SHORT, backend.clock())
        ended = backend.ledger.value(f"order-{order_id}-end")
        state |= CUT_SHORT if ended is None else ended.value
    elif backend.clock() - placed.at > OVERDUE:
        state |= {"state": "failed", "reason": "nothing was heard of it for a day: its server has ended"}
    else:
        state["state"] = "running"
    return {"order_id": order_id, **state, "flow_run_id": reference or None}


def _app_of(backend: Backend, name: str | None, caller: Caller) -> AppKey:
    """Return the app of a name or id, as settings find it, among those within the caller's reach.

    :raises HTTPException: 422, where that is none or not exactly one; 404 for a key of some apps, whether
        the settings have such an app or not.
    """
    within_reach = {app: each for app, each in backend.names.items() if caller.reaches(app)}
    matches = [app for app, each in within_reach.items() if name is None or name in (each, app.app_id)]
    if len(matches) == 1:
        return matches[0]
    if not matches and caller.apps is not None:
        raise HTTPException(404, "there is no such app, or not within this key's reach")
    what = "several apps are configured: name one" if name is None else "this app is not in the settings"
    raise HTTPException(422, what if backend.names else "no app is in the settings")


def _find(request: Request, report_id: str, caller: Caller) -> ReportInStorage:
    for each in _reports(backend_of(request), caller.apps, None):
        if each.report_id == report_id:
            return each
    raise HTTPException(404, f"there is no report {report_id}, or not within this key's reach")


def _reports(
    backend: Backend, apps: tuple[AppKey, ...] | None, params: ReportList | None
) -> Iterator[ReportInStorage]:
    """Yield the reports of some apps; for None of all, also those that are no longer configured."""
    kind, since, before = (params.type, params.since, params.before) if params else (None, None, None)
    for store in backend.report_stores:
        names = [None] if apps is None else [backend.names[app] for app in store.apps if app in apps]
        for name in names:
            for report in store.storage.reports(app=name, report_type=kind, since=since):
                if before is None or report.stored_at < before:
                    yield ReportInStorage(store.storage, report)
