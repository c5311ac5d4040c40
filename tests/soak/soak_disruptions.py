"""What goes wrong in a soak: chosen by a seed beforehand, so that the same seed plans the same troubles."""

import random
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event
from uuid import UUID

from soak_place import Place
from soak_programs import Program, kill, marked, parent_of
from tcp_proxy import SOUND, Network

from flowledger_simulator import parse_faults

BY_DIFY: Mapping[str, str] = {
    "Dify: too many requests": "429:0.1,429-bare:0.1,429-date:0.05,429-past:0.05",
    "Dify: broken": "500:0.12,502:0.08,503:0.08,504:0.04",
    "Dify: garbage": "html:0.05,error-object:0.05,cut-json:0.05,short-body:0.05,bad-chunk:0.05,drop:0.1",
    "Dify: slow": "slow:0.3,hang:0.02",
}
LATE = Network(latency_s=0.2)
BY_NETWORK: Mapping[str, Network] = {
    "network: cut": Network(cut_after_bytes=400, resets=True),
    "network: silent": Network(cut_after_bytes=0, holds=True),
    "network: down": Network(down=True),
}
SOME = 3
"""Connections that are cut or fall silent: every so many."""
AHEAD = 300
"""So many connections from now on."""
SERVER_AWAY_S = 3.0
LATEST_S = 2.5
"""A run lasts little longer."""
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = '{database}' AND pid <> pg_backend_pid()"
)
TERMINATIONS = 4


@dataclass(frozen=True, slots=True)
class Disruption:
    """What goes wrong, with which scheduled run, and how long after its begin (s) where it strikes."""

    kind: str
    step: int
    after_s: float

    @property
    def is_early(self) -> bool:
        """Whether it strikes while the run's process is being started."""
        return self.kind == EARLY

    @property
    def strikes(self) -> bool:
        """Whether it happens at an instant; the others last as long as the run."""
        return self.kind in STRIKES


def plan(runs: int, seed: int) -> Sequence[Disruption]:
    """Choose troubles for every second run, each kind at least once where there are runs enough."""
    rng = random.Random(seed)
    # A machine that is gone is found after a minute and a half, so the first one goes at once.
    others = [kind for kind in KINDS if kind != MACHINE]
    rng.shuffle(others)
    count = min(runs, max(len(KINDS), runs // 2))
    kinds = [MACHINE, *others, *rng.choices(list(KINDS), list(KINDS.values()), k=count)][:count]
    steps = [1, *sorted(rng.sample(range(2, runs + 1), count - 1))]
    return [
        Disruption(kind, step, round(rng.uniform(0.0, LATEST_S), 1) if step > 1 else 0.0)
        for kind, step in zip(kinds, steps, strict=True)
    ]


def short_plan() -> Sequence[Disruption]:
    """Return what goes wrong in the short form: the runs of the first days, and the last ones catch up."""
    kinds = ("Prefect restarted", "run killed", "ledger cut off", "worker killed", "network: cut")
    return [Disruption(kind, step, 0.5) for step, kind in enumerate(kinds, start=1)]


def begin(place: Place, disruption: Disruption) -> None:
    """Begin what lasts; a run that is to be struck is slowed down, so that every stage of it may be met."""
    if disruption.strikes:
        place.proxy.network = LATE
    if disruption.kind in BY_DIFY:
        place.dify.faults.rules = parse_faults(BY_DIFY[disruption.kind]).rules
    if disruption.kind in BY_NETWORK:
        network = BY_NETWORK[disruption.kind]
        now = place.proxy.did["connections"]
        some = frozenset(range(now + 1, now + AHEAD, SOME))
        place.proxy.network = replace(network, concerns=some) if network.cut_after_bytes >= 0 else network


def end(place: Place) -> None:
    """End whatever lasts."""
    place.dify.faults.rules = ()
    place.proxy.network = SOUND


def strike(place: Place, disruption: Disruption, run_id: UUID) -> str:
    """Do what happens at an instant, and say to what."""
    return STRIKES[disruption.kind](place, str(run_id))


def _kill_run(place: Place, run_id: str) -> str:
    pids = processes_of(place, run_id)
    for pid in pids:
        kill(pid)
    return f"killed {len(pids)} processes"


def _kill_worker(place: Place, run_id: str) -> str:
    worker = worker_of(place, run_id)
    worker.end(signal.SIGKILL)
    worker.start()
    return f"{worker.name} killed and started again"


def _kill_machine(place: Place, run_id: str) -> str:
    """Kill a worker with all it has started."""
    worker = worker_of(place, run_id)
    below = [pid for pid, run in marked(place.mark) if run and worker.pid in ancestors_of(pid)]
    worker.end(signal.SIGKILL)
    for pid in below:
        kill(pid)
    worker.start()
    return f"{worker.name} and {len(below)} processes killed"


def _restart_server(place: Place, run_id: str) -> str:
    how = signal.SIGKILL if UUID(run_id).int % 2 else signal.SIGTERM
    place.server.end(how, SERVER_AWAY_S)
    Event().wait(SERVER_AWAY_S)
    place.start_server()
    return f"by {how.name}"


def _cut_ledger_off(place: Place, run_id: str) -> str:
    for _ in range(TERMINATIONS):
        place.ask_ledger_server(TERMINATE.format(database=place.database))
        Event().wait(0.3)
    return f"{TERMINATIONS} times"


MACHINE = "machine gone"
EARLY = "Prefect restarted before the run began"
STRIKES: Mapping[str, Callable[[Place, str], str]] = {
    "run killed": _kill_run,
    "worker killed": _kill_worker,
    MACHINE: _kill_machine,
    EARLY: _restart_server,
    "Prefect restarted": _restart_server,
    "ledger cut off": _cut_ledger_off,
}
KINDS: Mapping[str, float] = {
    **dict.fromkeys(BY_DIFY, 1.0),
    **dict.fromkeys(BY_NETWORK, 1.0),
    "run killed": 3.0,
    "worker killed": 1.5,
    MACHINE: 0.5,
    EARLY: 0.5,
    "Prefect restarted": 0.5,
    "ledger cut off": 1.5,
}
"""Every kind of trouble, and how often it is chosen against the others."""


def processes_of(place: Place, run_id: str) -> Sequence[int]:
    """Give the processes of a flow run."""
    return [pid for pid, found in marked(place.mark) if found == run_id]


def ancestors_of(pid: int) -> set[int]:
    """Give the parents of a process, theirs, and so on."""
    found: set[int] = set()
    while (pid := parent_of(pid)) > 1:
        found.add(pid)
    return found


def worker_of(place: Place, run_id: str) -> Program:
    """Find the worker that executes a flow run; any that lives where the run has none any more."""
    parents = {pid for each in processes_of(place, run_id) for pid in ancestors_of(each)}
    alive = [worker for worker in place.workers if worker.lives]
    return next((worker for worker in alive if worker.pid in parents), alive[0])
