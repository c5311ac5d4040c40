"""What a simulated server holds: apps, people and runs, in the orders its lists need.

The hooks at the end change it while a client turns pages (``Options.on_page``).
"""

import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Any, Protocol

from flowledger_simulator import credentials

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EndUser:
    """A caller of the service API; ``session_id`` is the ``user`` of the call."""

    id: str
    session_id: str
    type: str = "service-api"
    is_anonymous: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """A person with a console login."""

    id: str
    name: str
    email: str


def operator() -> Account:
    """Return the account that the default credentials log in."""
    return Account(credentials.ACCOUNT_ID, credentials.ACCOUNT_NAME, credentials.EMAIL)


@dataclass(frozen=True, slots=True)
class SimulatedApp:
    """One app of the server; ``mode`` is "workflow" or "advanced-chat"."""

    id: str
    name: str
    mode: str = "workflow"
    api_token: str = credentials.API_TOKEN
    description: str = "made up by the simulator"
    enable_api: bool = True
    created_at: int = 1_790_000_000


class Content(Protocol):
    """A run's inputs, outputs and nodes, made only when they are read."""

    def inputs(self, run: "SimulatedRun") -> Json:
        """Return the run's inputs."""

    def outputs(self, run: "SimulatedRun") -> Json | None:
        """Return the run's outputs, None where the server stored none."""

    def nodes(self, run: "SimulatedRun") -> Sequence[Json]:
        """Return the node executions in order, with the fields of the newest release."""


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedRun:
    """One run and its log row.

    ``started_us`` is in microseconds since 1970; all other times are whole seconds since 1970.  ``listed_at``
    is the log row's time where it is written at the start, ``listed_at_end`` where it is written at the end
    (None: never listed there).
    """

    id: str
    log_id: str
    app_id: str
    workflow_id: str
    listed_at: int
    listed_at_end: int | None
    started_us: int
    status: str
    content: Content
    author: EndUser | Account
    finished_at: int | None = None
    error: str | None = None
    elapsed_time: float = 0.0
    total_tokens: int = 0
    total_steps: int | None = 0
    exceptions_count: int | None = 0
    version: str = "2026-11-01 00:00:00.000000"
    triggered_from: str = "app-run"
    created_from: str = "service-api"
    gone: bool = False

    @property
    def created_at(self) -> int:
        """When the run started, truncated as the server does."""
        return self.started_us // 1_000_000


Order = Callable[[SimulatedRun], int]


def by_start(run: SimulatedRun) -> int:
    """Order of the log list from 1.11.0 on."""
    return run.listed_at


def by_end(run: SimulatedRun) -> int:
    """Order of the log list up to 1.10.1; only for runs that have ended."""
    return run.listed_at if run.listed_at_end is None else run.listed_at_end


def by_microsecond(run: SimulatedRun) -> int:
    """Order of the console's cursor list."""
    return run.started_us


_MEMBERS: Mapping[Order, Callable[[SimulatedRun], bool]] = {
    by_start: lambda run: run.triggered_from == "app-run",
    by_end: lambda run: run.triggered_from == "app-run" and run.listed_at_end is not None,
    # The cursor list has runs, not log rows: editor previews are in it, orphans are not.
    by_microsecond: lambda run: not run.gone,
}


@dataclass(slots=True)
class _AppRuns:
    """The runs of one app, in each order that was ever read, oldest first."""

    runs: dict[str, SimulatedRun] = field(default_factory=dict)
    orders: dict[Order, list[SimulatedRun]] = field(default_factory=dict)

    def ordered(self, order: Order) -> list[SimulatedRun]:
        # Sorted once and then kept up to date: paging reads the same order again and again.
        if order not in self.orders:
            self.orders[order] = sorted(filter(_MEMBERS[order], self.runs.values()), key=order)
        return self.orders[order]

    def add(self, run: SimulatedRun) -> None:
        self.runs[run.id] = run
        for order, ordered in self.orders.items():
            if _MEMBERS[order](run):
                insort(ordered, run, key=order)

    def remove(self, run_id: str) -> SimulatedRun:
        run = self.runs.pop(run_id)
        for order, ordered in self.orders.items():
            if _MEMBERS[order](run):
                # Ties share a key, so the run itself is looked for from the first of them on.
                ordered.pop(ordered.index(run, bisect_left(ordered, order(run), key=order)))
        return run


class World:
    """Everything one simulated server holds; its methods may be called from any thread.

    ``seed`` decides how ties are reshuffled, request by request.  ``make_run`` generates a run of an app that
    is listed in a second; a loaded world has none.
    """

    def __init__(self, apps: Iterable[SimulatedApp], accounts: Iterable[Account], *, seed: int = 0) -> None:
        self.apps: dict[str, SimulatedApp] = {}
        self.accounts = tuple(accounts)
        self.shuffler = random.Random(seed)
        self.make_run: Callable[[SimulatedApp, int], SimulatedRun] | None = None
        self._app_runs: dict[str, _AppRuns] = {}
        self._lock = RLock()
        for app in apps:
            self.add_app(app)

    @property
    def app(self) -> SimulatedApp:
        """The first app, which is the only one in most worlds."""
        return next(iter(self.apps.values()))

    def add_app(self, app: SimulatedApp) -> None:
        """Put an app in, without runs."""
        with self._lock:
            self.apps[app.id] = app
            self._app_runs[app.id] = _AppRuns()

    def add(self, runs: Iterable[SimulatedRun]) -> None:
        """Put runs in; an existing id is replaced."""
        with self._lock:
            for run in runs:
                app_runs = self._app_runs[run.app_id]
                if run.id in app_runs.runs:
                    app_runs.remove(run.id)
                app_runs.add(run)

    def add_runs(self, number: int, at: int, *, app_id: str | None = None) -> Sequence[SimulatedRun]:
        """Generate new runs that are listed in the second ``at``, and return them.

        :raises LookupError: when the world was loaded, so that it cannot generate any.
        """
        if self.make_run is None:
            raise LookupError("this world was loaded from a data set and cannot make up runs")
        app = self.apps[app_id] if app_id else self.app
        with self._lock:
            runs = [self.make_run(app, at) for _ in range(number)]
            self.add(runs)
        return runs

    def remove(self, run_id: str, *, row_too: bool = True) -> None:
        """Delete a run; with ``row_too=False`` its log row stays, as an orphan.

        :raises LookupError: when there is no such run.
        """
        with self._lock:
            app_runs = self._runs_holding(run_id)
            run = app_runs.remove(run_id)
            if not row_too:
                app_runs.add(replace(run, gone=True))

    def change(self, run_id: str, **values: Any) -> SimulatedRun:
        """Change fields of a run (``status="succeeded", finished_at=…``), and return it.

        :raises LookupError: when there is no such run.
        """
        with self._lock:
            app_runs = self._runs_holding(run_id)
            run = replace(app_runs.runs[run_id], **values)
            app_runs.remove(run_id)
            app_runs.add(run)
        return run

    def find(self, app_id: str, run_id: str) -> SimulatedRun | None:
        """Return a run of an app, or None when it is unknown or its row is gone."""
        with self._lock:
            run = self._app_runs[app_id].runs.get(run_id)
        return None if run is None or run.gone else run

    def between(
        self, app_id: str, order: Order, oldest: int | None, newest: int | None
    ) -> list[SimulatedRun]:
        """Copy the runs whose place in an order lies in the closed interval, oldest first."""
        with self._lock:
            ordered = self._app_runs[app_id].ordered(order)
            low = 0 if oldest is None else bisect_left(ordered, oldest, key=order)
            high = len(ordered) if newest is None else bisect_right(ordered, newest, key=order)
            return ordered[low:high]

    def runs(self, app_id: str | None = None) -> list[SimulatedRun]:
        """Copy all runs of an app in the order of the newest releases' log list, newest first."""
        return self.between(app_id or self.app.id, by_start, None, None)[::-1]

    def _runs_holding(self, run_id: str) -> _AppRuns:
        for app_runs in self._app_runs.values():
            if run_id in app_runs.runs:
                return app_runs
        raise LookupError(f"this world holds no run {run_id}")


PageHook = Callable[[World], object]
"""Called before each page of the log list is cut: runs arrive, change, move or vanish."""


def arriving(number: int, *, at: int | None = None) -> PageHook:
    """Let so many new runs arrive before each page, in the second ``at`` or the newest one listed."""

    def arrive(world: World) -> None:
        newest = max((run.listed_at for run in world.runs()[:1]), default=0)
        world.add_runs(number, newest if at is None else at)

    return arrive


def changing(number: int, *, seed: int = 0) -> PageHook:
    """Let so many open runs succeed before each page, as long as there are any."""
    rng = random.Random(seed)

    def change(world: World) -> None:
        still_open = [run for run in world.runs() if run.status in ("running", "paused")]
        for run in rng.sample(still_open, min(number, len(still_open))):
            world.change(run.id, status="succeeded", finished_at=run.created_at + 5, elapsed_time=5.0)

    return change


def vanishing(number: int, *, seed: int = 0) -> PageHook:
    """Let so many runs be deleted with their log rows before each page."""
    rng = random.Random(seed)

    def vanish(world: World) -> None:
        runs = world.runs()
        for run in rng.sample(runs, min(number, len(runs))):
            world.remove(run.id)

    return vanish


def exchanging(number: int, *, seed: int = 0) -> PageHook:
    """Let so many runs be deleted before each page, and as many new ones come in their seconds."""
    rng = random.Random(seed)

    def exchange(world: World) -> None:
        runs = world.runs()
        for run in rng.sample(runs, min(number, len(runs))):
            world.remove(run.id)
            world.add_runs(1, run.listed_at)

    return exchange


def moving(number: int, *, seed: int = 0) -> PageHook:
    """Let so many runs be listed at the time of others from each page on."""
    rng = random.Random(seed)

    def move(world: World) -> None:
        runs = world.runs()
        for run in rng.sample(runs, min(number, len(runs))):
            other = rng.choice(runs)
            world.change(run.id, listed_at=other.listed_at, listed_at_end=other.listed_at_end)

    return move
