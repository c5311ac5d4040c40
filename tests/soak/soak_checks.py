"""What must hold at the end of a soak, whatever went wrong: each check gives its problems and its figures."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from threading import Event
from typing import Any, TypeVar

from prefect.client.schemas.objects import FlowRun, StateType
from soak_disruptions import ancestors_of
from soak_place import Place, Tenant
from soak_probes import Sample, connections, growth
from soak_programs import marked

from flowledger import bootstrap
from flowledger.dify.parsing import STATUSES
from flowledger.domain.certificates import Scope
from flowledger.domain.history import OperationQuery
from flowledger.domain.operations import Operation
from flowledger.domain.runs import Detailed, Entry, Missing
from flowledger.domain.windows import Window
from flowledger.ports import Ledger
from flowledger.services.catch_up import Due
from flowledger_simulator import SimulatedRun
from flowledger_simulator.world import by_start

BAD_ENDS = (StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)
BY_WORKER = "Flow run infrastructure exited"
"""So begins what a worker says of a run whose own process could not reach the server."""
BAD_NEWS = ("failure", "crash")
ENOUGH_S = 60.0
Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: what was looked at, and what is wrong, a line each."""

    promise: str
    figures: str
    problems: Sequence[str]


def all_checks(place: Place, runs: Sequence[FlowRun], samples: Sequence[Sample], killed: int) -> list[Check]:
    """Look at everything."""
    with bootstrap.open_ledger_at(place.ledger_url) as ledger:
        checks = [
            _ledger_is_the_truth(place, ledger),
            _reported_once(place, ledger),
            _announced_once(place, ledger, runs, killed),
        ]
    return [*checks, _nothing_grows(samples), _nothing_stays(place, killed)]


def _ledger_is_the_truth(place: Place, ledger: Ledger) -> Check:
    """Every window is certified, and holds what the simulator holds of it."""
    problems: list[str] = []
    compared: Counter[str] = Counter()
    for tenant in place.tenants:
        for due in tenant.days:
            problems += _differences(place, ledger, tenant, due, compared)
        held = Counter(entry.run.run_id for entry in _entries(ledger, tenant))
        twice = [run_id for run_id, count in held.items() if count > 1]
        problems += [f"{tenant.name}: {run_id} is held twice" for run_id in twice]
        problems += _only(
            f"{tenant.name}: runs", set(held), {run.id for run in place.dify.world.runs(tenant.app.id)}
        )
    figures = ", ".join(f"{count} {name}" for name, count in compared.items())
    return Check("the ledger holds what Dify holds", figures, problems)


def _entries(ledger: Ledger, tenant: Tenant) -> Iterator[Entry]:
    whole = Window(tenant.first.period.window.after, tenant.dues[-1].period.window.before)
    return ledger.entries(Scope(tenant.key, whole))


def _differences(
    place: Place, ledger: Ledger, tenant: Tenant, due: Due, compared: Counter[str]
) -> Iterator[str]:
    scope = Scope(tenant.key, due.period.window)
    proof = ledger.certificate(scope)
    if proof is None or not proof.certified:
        yield f"{tenant.name} {due}: not certified: {proof.reason if proof else 'never collected'}"
        return
    compared["windows"] += 1
    world = place.dify.world
    real = {
        run.id: run for run in world.between(tenant.app.id, by_start, scope.window.after, scope.window.before)
    }
    held = {entry.run.run_id: entry for entry in ledger.entries(scope)}
    yield from _only(f"{tenant.name} {due}", set(held), set(real))
    for run_id in held.keys() & real.keys():
        compared["runs"] += 1
        yield from _differs(f"{tenant.name} {due}", held[run_id], real[run_id], compared)


def _only(where: str, held: set[str], real: set[str]) -> Iterator[str]:
    if real - held:
        yield f"{where}: {len(real - held)} not in the ledger, such as {min(real - held)}"
    if held - real:
        yield f"{where}: {len(held - real)} not in Dify, such as {min(held - real)}"


def _differs(where: str, entry: Entry, real: SimulatedRun, compared: Counter[str]) -> Iterator[str]:
    run = entry.run
    ours = (run.status, run.source_status, run.elapsed_s, run.total_tokens)
    theirs = (STATUSES[real.status], real.status, Decimal(str(real.elapsed_time)), real.total_tokens)
    if ours != theirs:
        yield f"{where}: run {run.run_id}: {ours} is {theirs} in Dify"
    if isinstance(entry.detail, Missing) or isinstance(entry.detail.nodes, Missing):
        compared["runs without nodes"] += 1
        return
    assert isinstance(entry.detail, Detailed)
    nodes = {(node.execution_id, node.status) for node in entry.detail.nodes}
    wanted = {(node["id"], node["status"]) for node in real.content.nodes(real)}
    compared["nodes"] += len(nodes)
    if nodes != wanted or len(entry.detail.nodes) != len(wanted):
        yield f"{where}: run {run.run_id}: its nodes are not those of Dify"


def _reported_once(place: Place, ledger: Ledger) -> Check:
    """Each day of each app has one report of a certified window, whose files are there."""
    problems: list[str] = []
    written = uncertified = 0
    for tenant in place.tenants:
        by_window: dict[str, list[Operation]] = {}
        query = OperationQuery(apps=(tenant.key,), types=("REPORT",))
        for each in ledger.operations(query, limit=100_000):
            by_window.setdefault(str(each.data["window"]), []).append(each)
        for due in tenant.days:
            found = by_window.pop(str(due.period.window), [])
            good = [each for each in found if each.data["certified"]]
            written, uncertified = written + len(found), uncertified + len(found) - len(good)
            if len(good) != 1:
                problems.append(f"{tenant.name} {due}: {len(good)} certified reports of {len(found)}")
            lost = [
                path for each in found for path in _paths(each) if not (place.site.folder / path).exists()
            ]
            problems += [f"{tenant.name} {due}: {path} is not there" for path in lost]
        # A day that has become due meanwhile is caught up as well.
        last = str(tenant.dues[-1].period.window)
        problems += [
            f"{tenant.name}: reported, though never due: {each}" for each in by_window if each < last
        ]
    figures = f"{written} reports, {uncertified} of them of windows not certified then"
    return Check("every period is reported once", figures, problems)


def _paths(operation: Operation) -> Sequence[str]:
    paths: Any = operation.data["paths"]
    return [str(path) for path in paths]


def _announced_once(place: Place, ledger: Ledger, runs: Sequence[FlowRun], killed: int) -> Check:
    """Each run that ended badly is told once as such, and no other run is."""
    letters = Counter(str(message["notice_id"]) for message in place.told.messages)
    occasions = {str(message["notice_id"]): str(message["occasion"]) for message in place.told.messages}
    bad = {str(run.id) for run in runs if run.state_type in BAD_ENDS}
    told = Counter(_run_of(notice) for notice in letters if occasions[notice] in BAD_NEWS)
    problems = [
        f"run {run_id} ended badly and was told {told[run_id]} times" for run_id in bad if told[run_id] != 1
    ]
    later = _told_later(runs) - told.keys()
    problems = [each for each in problems if not any(run_id in each for run_id in later)]
    problems += [f"run {run_id} was told as bad and was not" for run_id in told.keys() - bad]
    good = [str(run.id) for run in runs if run.state_type is StateType.COMPLETED]
    fine = Counter(_run_of(notice) for notice in letters if occasions[notice] not in BAD_NEWS)
    problems += [
        f"run {run_id} completed and was told {fine[run_id]} times" for run_id in good if fine[run_id] != 1
    ]
    waiting = [letter.letter_id for letter in ledger.outbox_messages(waiting=True)]
    problems += [f"letter {letter_id} waits still" for letter_id in waiting]
    copies = sum(letters.values()) - len(letters)
    if copies > killed:
        problems.append(f"{copies} letters came more than once, and only {killed} processes were killed")
    figures = f"{len(letters)} letters, {len(bad)} runs ended badly; {copies} twice, {len(later)} later"
    return Check("every end is told once", figures, problems)


def _told_later(runs: Sequence[FlowRun]) -> set[str]:
    """Give the runs whose processes ended while Prefect's server was away.

    No hook is called for them; their automation starts when the server lets go of the event, which it holds
    back up to 15 minutes where it has forgotten the one before.
    """
    return {
        str(run.id)
        for run in runs
        if run.state and run.state.is_crashed() and (run.state.message or "").startswith(BY_WORKER)
    }


def _run_of(notice: str) -> str:
    """Give the flow run of a notice: its id without the try and the occasion."""
    return notice.rsplit("-", 2)[0]


def _nothing_grows(samples: Sequence[Sample]) -> Check:
    found = list(growth(samples))
    problems = [
        f"{name}: {before:g} in the second quarter, {after:g} in the last; at most {most:g} was allowed"
        for name, before, after, most in found
        if after > most
    ]
    figures = "; ".join(
        f"{name} {before:g} → {after:g} (≤ {most:.0f})" for name, before, after, most in found
    )
    return Check("nothing grows", figures, problems)


def _nothing_stays(place: Place, killed: int) -> Check:
    """Between runs no process, no connection and no more folders are left than were in use when killed."""
    programs = {each.pid for each in (*place.workers, place.server)}
    # What Prefect began late may be at work still: then it ends.
    begun = {pid for pid, run in marked(place.mark) if run}
    runs = lasting(lambda: sorted(begun & {pid for pid, _ in marked(place.mark)}))
    strays = [
        pid
        for pid, run in marked(place.mark)
        if not run and pid not in programs and not ancestors_of(pid) & programs
    ]
    problems = [f"process {pid} of a run was left behind" for pid in runs]
    problems += [f"process {pid} was left behind" for pid in strays]
    open_ones = lasting(lambda: connections(place))
    if open_ones:
        problems.append(f"{open_ones} connections to the ledger are open")
    folders = [each.name for each in place.scratch.glob("flowledger-*")]
    if len(folders) > killed:
        problems.append(f"{len(folders)} temporary folders are left: {folders[:3]}")
    figures = f"{len(folders)} temporary folders of {killed} killed runs"
    return Check("nothing stays behind", figures, problems)


def lasting(look: Callable[[], Seen]) -> Seen:
    """Give what is seen after a minute still, or nothing as soon as nothing is."""
    ends = time.monotonic() + ENOUGH_S
    while (seen := look()) and time.monotonic() < ends:
        Event().wait(0.5)
    return seen
