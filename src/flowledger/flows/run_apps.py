"""Which app each flow run of the process is about, also for what is said after its own code has ended."""

from collections.abc import Mapping
from threading import Lock

from prefect.context import FlowRunContext

MOST_REMEMBERED = 100
"""Flow runs of one process; the oldest are forgotten."""

_lock = Lock()
_known: dict[str, dict[str, str]] = {}


def note_app(flow_run_id: str | None, name: str | None, app_id: str | None = None) -> None:
    """Note which app a flow run is about: from now on all its lines say so; what was noted first stays."""
    names = {key: value for key, value in (("app", name), ("app_id", app_id)) if value}
    if not flow_run_id or not names:
        return
    with _lock:
        _known[flow_run_id] = {**names, **_known.pop(flow_run_id, {})}
        while len(_known) > MOST_REMEMBERED:
            del _known[next(iter(_known))]


def app_names(flow_run_id: str | None) -> Mapping[str, str]:
    """Give the app as metadata of a line: as it was noted, or else as the run's own parameters say."""
    if flow_run_id is None:
        return {}
    return _known.get(flow_run_id) or _asked_for(flow_run_id)


def _asked_for(flow_run_id: str) -> dict[str, str]:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or str(context.flow_run.id) != flow_run_id:
        return {}
    app = (context.parameters or {}).get("app")
    return {"app": str(app)} if app else {}
