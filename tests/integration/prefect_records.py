"""What a Prefect server holds of a flow run."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterName,
    FlowRunFilterTags,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import Artifact, FlowRun, Log, TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import TagsContext
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogHandler

Found = TypeVar("Found")
PATIENCE_S = 30
"""Task runs reach the server as events, a little after the flow run has ended."""


def last_flow_run(name: str | None = None) -> FlowRun:
    """Return the flow run that started last: of this test file, or of a name that no other test uses."""
    ours = FlowRunFilterTags(all_=sorted(TagsContext.get().current_tags))
    chosen = FlowRunFilter(name=FlowRunFilterName(any_=[name])) if name else FlowRunFilter(tags=ours)
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1
        )[0]


def task_runs_of(flow_run: FlowRun, ended: int) -> Sequence[TaskRun]:
    """Give the task runs in their order, once so many have ended."""
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))

    def read(client: SyncPrefectClient) -> list[TaskRun]:
        found = client.read_task_runs(flow_run_filter=chosen)
        return sorted(found, key=lambda run: run.start_time or run.created)  # type: ignore[arg-type, return-value]

    return _await(read, lambda runs: sum(bool(run.state and run.state.is_final()) for run in runs) >= ended)


def artifacts_of(flow_run: FlowRun) -> dict[str, Artifact]:
    """Give the artifacts by their keys."""
    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        return {str(artifact.key): artifact for artifact in client.read_artifacts(artifact_filter=chosen)}


def logs_of(flow_run_id: UUID) -> list[Log]:
    """Give the log lines, all of them."""
    send_what_waits()
    chosen = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        return list(client.read_logs(log_filter=chosen, limit=200))


def send_what_waits() -> None:
    """Send the log lines and events that still wait in this process."""
    APILogHandler().flush()
    EventsWorker.drain_all()


def _await(read: Callable[[SyncPrefectClient], Found], enough: Callable[[Found], bool]) -> Found:
    ends = monotonic() + PATIENCE_S
    with get_client(sync_client=True) as client:
        while not enough(found := read(client)):
            assert monotonic() < ends, f"still only {found}"
    return found
