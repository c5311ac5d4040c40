"""The runs of a soak: created as a schedule would, disturbed as planned, and watched to their ends."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from threading import Event
from typing import TypeVar
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Scheduled
from soak_disruptions import Disruption, begin, end, strike
from soak_place import Place, Tenant
from soak_probes import Sample, sample

from flowledger.services.catch_up import Due
from flowledger.services.deploy import MARK as TAG

Found = TypeVar("Found")
STEP_S = 0.5
MOST_S = 300.0
"""No run takes longer, not even one whose death is found by the heartbeats that stop."""
SERVER_AWAY_MOST_S = 60.0
QUIET_S = 20.0


@dataclass
class Step:
    """One scheduled run under way."""

    number: int
    tenant: Tenant
    due: Due
    run_id: UUID
    disruption: Disruption | None
    created: float
    begun: bool = False
    running_since: float = 0.0
    struck: bool = False

    @property
    def is_due(self) -> bool:
        """Whether its disruption is to strike now."""
        return bool(
            self.disruption
            and self.disruption.strikes
            and not self.struck
            and (self.disruption.is_early or self._has_run_for(self.disruption.after_s))
            and self.begun
        )

    def _has_run_for(self, seconds: float) -> bool:
        return bool(self.running_since) and time.monotonic() >= self.running_since + seconds


@dataclass
class Story:
    """What happened: a line for each run, what each disruption did, and samples over the finished runs.

    ``late`` are troubles whose run had ended before they struck: they strike another one.
    """

    report: Callable[[str], None]
    done: list[tuple[Step, str, float]] = field(default_factory=list)
    disrupted: list[Disruption] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    late: list[Disruption] = field(default_factory=list)


def work_off(place: Place, disruptions: Sequence[Disruption], story: Story) -> None:
    """Let the schedule's runs be worked off, one of each app at a time, however they end."""
    by_step = {each.step: each for each in disruptions}
    left = {each.name: deque(each.dues) for each in place.tenants}
    numbers = count(1)
    active: list[Step] = []
    while active or any(left.values()):
        # The first one alone until a worker has it: what it takes part in takes longest.
        is_first = not story.done and (not active or not active[0].begun)
        for tenant in place.tenants[:1] if is_first else place.tenants:
            if left[tenant.name] and all(step.tenant is not tenant for step in active):
                number = next(numbers)
                due = left[tenant.name].popleft()
                is_last = not left[tenant.name]
                active.append(_create(place, number, tenant, due, by_step.get(number), is_last=is_last))
        found = _read(active)
        for step in list(active):
            if _watch(place, step, found[step.run_id], story):
                active.remove(step)
            elif story.late and step.running_since and (not step.disruption or step.struck):
                _strike(place, step, story.late.pop(), story)
        Event().wait(STEP_S)


def let_all_end(place: Place) -> Sequence[FlowRun]:
    """Wait until no run is open, and give those of ours, what was caught up among them.

    There may be fifty, one after another: something hangs only where none of them ends for ``MOST_S``.
    A crash is followed by a run that announces it; where none comes, there is nothing to wait for.
    """
    quiet_since = moved_at = time.monotonic()
    final = 0
    while True:
        runs = all_runs()
        open_runs = [run for run in runs if not (run.state and run.state.is_final())]
        if len(runs) - len(open_runs) > final:
            final, moved_at = len(runs) - len(open_runs), time.monotonic()
        ours = [run for run in runs if TAG in run.tags]
        if open_runs:
            quiet_since = time.monotonic()
        elif _crashed(ours) <= len(runs) - len(ours) or time.monotonic() > quiet_since + QUIET_S:
            return ours
        left = [(run.name, run.state_name) for run in open_runs]
        assert time.monotonic() < moved_at + MOST_S, f"still open: {left}"
        Event().wait(STEP_S * 3)


def _crashed(runs: Sequence[FlowRun]) -> int:
    """Count the runs that the automation has to announce."""
    return sum(run.state_type is StateType.CRASHED for run in runs)


def all_runs() -> list[FlowRun]:
    """Read every flow run there is, announcements among them."""
    everything = FlowRunFilter()
    found: list[FlowRun] = []
    while page := asked(partial(_page, everything, len(found))):
        found += page
    return found


def _page(chosen: FlowRunFilter, offset: int, client: SyncPrefectClient) -> list[FlowRun]:
    return client.read_flow_runs(flow_run_filter=chosen, limit=100, offset=offset)


def asked(read: Callable[[SyncPrefectClient], Found]) -> Found:
    """Ask Prefect's server, however often it takes while it is away."""
    ends = time.monotonic() + SERVER_AWAY_MOST_S
    while True:
        try:
            with get_client(sync_client=True) as client:
                return read(client)
        except (HTTPError, RuntimeError):
            if time.monotonic() > ends:
                raise
            Event().wait(STEP_S)


def _create(
    place: Place, number: int, tenant: Tenant, due: Due, disruption: Disruption | None, *, is_last: bool
) -> Step:
    """Create the run of one day; the last one of an app is the scheduler's own, and catches up."""
    deployment = place.deployment_id(tenant)
    if disruption:
        begin(place, disruption)
    run = asked(
        lambda client: client.create_flow_run_from_deployment(
            deployment,
            state=Scheduled(scheduled_time=due.instant),
            idempotency_key=f"soak-{tenant.name}-{due}",
        )
    )
    if is_last:
        place.let_it_be_scheduled(run.id)
    return Step(number, tenant, due, run.id, disruption, time.monotonic())


def _read(active: Sequence[Step]) -> Mapping[UUID, FlowRun]:
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[step.run_id for step in active]))
    return {run.id: run for run in asked(partial(_page, chosen, 0))}


def _watch(place: Place, step: Step, run: FlowRun, story: Story) -> bool:
    """Look at one run: strike when its time has come, and tell when it has ended."""
    now = time.monotonic()
    is_final = bool(run.state and run.state.is_final())
    step.begun = run.state_type is not StateType.SCHEDULED
    if run.state_name == "Running" and not step.running_since:
        step.running_since = now
    if step.is_due and not is_final:
        _strike(place, step, step.disruption, story)
        step.struck = True
    if not is_final:
        assert now < step.created + MOST_S, f"{run.name} is {run.state_name} after {MOST_S:.0f} s"
        return False
    _report_end(place, step, run, story)
    return True


def _strike(place: Place, step: Step, disruption: Disruption | None, story: Story) -> None:
    assert disruption is not None
    story.report(f"  {step.number:3} {disruption.kind}: {strike(place, disruption, step.run_id)}")
    story.disrupted.append(disruption)


def _report_end(place: Place, step: Step, run: FlowRun, story: Story) -> None:
    took, disruption = time.monotonic() - step.created, step.disruption
    if disruption:
        end(place)
        if not disruption.strikes:
            story.disrupted.append(disruption)
        elif not step.struck:
            story.late.append(disruption)
    word = f"{step.number:3} {run.name}: {run.state_name} after {took:.1f} s"
    story.report(f"{word}, {disruption.kind}" if disruption else word)
    story.done.append((step, str(run.state_name), took))
    story.samples.append(sample(place, len(story.done)))
