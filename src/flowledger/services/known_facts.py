"""What is known of a run before, or without, its result; values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from flowledger.domain.history import OperationQuery
from flowledger.domain.notices import previous_figures
from flowledger.domain.runs import AppKey, Json
from flowledger.domain.windows import Window
from flowledger.ports import Ledger
from flowledger.services.requests import ReportRequest, RunOrder

LOOKED_BACK = 500
"""So many of an app's operations are searched for the report of the period before."""


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a run: its id, the same in every process that tells of it, and its page for people."""

    run_id: str = ""
    url: str = ""


def words_of(order: RunOrder, request: ReportRequest | None) -> Mapping[str, Json]:
    """Give period and window as a result holds them; without a window where the order cannot be read."""
    if request is None:
        return {"period": order.period or ("custom" if order.after or order.before else "")}
    window = request.window
    return {
        "period": request.period,
        "window": {
            "after": window.after_at.astimezone(request.tz).isoformat(),
            "before": window.before_at.astimezone(request.tz).isoformat(),
        },
    }


def figures_before(ledger: Ledger, app: AppKey, result: Mapping[str, Json]) -> Mapping[str, Json]:
    """Find the figures of the period before a result's; empty where they are unknown or cannot be compared.

    :raises LedgerError: when the ledger cannot be read.
    """
    window = result.get("window")
    if result.get("filtered") or not isinstance(window, Mapping):
        return {}
    first, last = (datetime.fromisoformat(str(window[end])) for end in ("after", "before"))
    operations = ledger.operations(OperationQuery(apps=(app,)), limit=LOOKED_BACK)
    return previous_figures(operations, str(result.get("period")), Window.between(first, last))
