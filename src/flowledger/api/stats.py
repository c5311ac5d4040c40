"""``/stats``: counts, durations, tokens and cost of a stretch of time."""

from datetime import date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from flowledger.api.auth import Viewer
from flowledger.api.backend import backend_of
from flowledger.api.problems import documented
from flowledger.api.query_params import RunWords, SomeApps
from flowledger.api.responses import tagged
from flowledger.domain.runs import RunStatus
from flowledger.domain.statistics import RunTotals, Statistics, statistics_of
from flowledger.domain.windows import zone

router = APIRouter(tags=["statistics"])
USUAL = timedelta(days=30)
LONGEST = timedelta(days=400)


class StatsWords(RunWords, SomeApps):
    """Which runs, and the zone whose days count."""

    timezone: str | None = Field(
        default=None, max_length=64, examples=["Asia/Shanghai"], description="IANA name."
    )


class TallyShape(BaseModel):
    """What was counted; `cost` is exact, by currency."""

    runs: int
    by_status: dict[str, int] = Field(examples=[{"success": 1190, "failed": 12}])
    total_tokens: int
    cost: dict[str, str] = Field(examples=[{"USD": "1.2345000"}])


class DayShape(TallyShape):
    """One day of the zone."""

    day: date


class StatsShape(TallyShape):
    """Runs listed from `since` (included) to `before` (excluded); durations in seconds, within 0.5 %."""

    since: datetime
    before: datetime
    timezone: str
    duration_p50_s: float | None
    duration_p95_s: float | None
    duration_max_s: float | None
    days: list[DayShape]


@router.get("/stats", response_model=StatsShape, responses=documented())
def show_stats(request: Request, asked: Annotated[StatsWords, Query()], caller: Viewer) -> Response:
    """Count runs, by default those of the last 30 days; days without runs are left out."""
    backend = backend_of(request)
    tz = zone(asked.timezone) if asked.timezone else backend.tz
    before = asked.before or (asked.since + USUAL if asked.since else backend.clock())
    since = asked.since or before - USUAL
    if not timedelta() < before - since <= LONGEST:
        raise HTTPException(
            422, f"since must lie before before, and at most {LONGEST.days} days: ask in parts"
        )
    words = asked.model_copy(update={"since": since, "before": before})
    query = words.query(sources=tuple(asked.source), apps=asked.apps(caller))
    found = statistics_of(backend.ledger.facts(query), tz)
    return tagged(request, {"since": since, "before": before, "timezone": str(tz), **_shown(found)})


def _shown(found: Statistics) -> dict[str, Any]:
    return {
        **totals_row(found.total),
        "duration_p50_s": found.duration_p50_s,
        "duration_p95_s": found.duration_p95_s,
        "duration_max_s": found.duration_max_s,
        "days": [{"day": day.isoformat(), **totals_row(totals)} for day, totals in found.by_day.items()],
    }


def totals_row(totals: RunTotals) -> dict[str, Any]:
    """Give what was counted."""
    return {
        "runs": totals.runs,
        "by_status": {
            status.value: totals.by_status[status] for status in RunStatus if totals.by_status[status]
        },
        "total_tokens": totals.total_tokens,
        "cost": {currency: f"{price:f}" for currency, price in sorted(totals.cost.items())},
    }
