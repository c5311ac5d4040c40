"""Worlds loaded from a JSON data set, or generated from a seed with the ties and oddities of real ones.

The oddities are those of docs/dify-api.md "The log list".
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

from flowledger.errors import UsageError
from flowledger_simulator import content, credentials
from flowledger_simulator.content import MadeContent, Shape, steps_of
from flowledger_simulator.world import Account, EndUser, Json, SimulatedApp, SimulatedRun, World, operator


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A run's inputs, outputs and node executions as a data set has them."""

    stored_inputs: Json
    stored_outputs: Json | None
    stored_nodes: Sequence[Json] = ()

    def inputs(self, run: SimulatedRun) -> Json:  # noqa: ARG002  # stored, so the run does not matter
        """Return the stored inputs."""
        return self.stored_inputs

    def outputs(self, run: SimulatedRun) -> Json | None:  # noqa: ARG002
        """Return the stored outputs; null stays None."""
        return self.stored_outputs

    def nodes(self, run: SimulatedRun) -> Sequence[Json]:  # noqa: ARG002
        """Return the stored node executions."""
        return self.stored_nodes


def load_dataset(path: Path, *, seed: int = 0) -> World:
    """Read a data set; its app answers to the default credentials.

    Every row is listed by every release, also a running one, at its own ``created_at``.
    """
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is no JSON data set ({error})") from error
    if not isinstance(data, dict) or not {"app", "logs", "details", "nodes"} <= data.keys():
        raise UsageError(f"{path} is no data set: it must be an object with app, logs, details and nodes")
    app = SimulatedApp(id=data["app"]["id"], name=data["app"]["name"], mode=data["app"]["mode"])
    runs = [_read_run(app, row, data["details"], data["nodes"]) for row in data["logs"]]
    people = {run.author.email: run.author for run in runs if isinstance(run.author, Account)}
    world = World([app], [operator(), *people.values()], seed=seed)
    world.add(runs)
    return world


def _read_run(
    app: SimulatedApp, row: Json, details: Mapping[str, Json], nodes: Mapping[str, Any]
) -> SimulatedRun:
    inner: Json = row["workflow_run"] or {"id": row["id"], "created_at": row["created_at"], "status": ""}
    detail = details.get(inner["id"], {})
    return SimulatedRun(
        id=inner["id"],
        log_id=row["id"],
        app_id=app.id,
        workflow_id=detail.get("workflow_id", app.id),
        listed_at=row["created_at"],
        listed_at_end=row["created_at"],
        started_us=inner["created_at"] * 1_000_000,
        content=StoredContent(detail.get("inputs", {}), detail.get("outputs"), nodes.get(inner["id"], ())),
        author=_read_author(row),
        created_from=row["created_from"],
        gone=row["workflow_run"] is None,
        **{name: inner[name] for name in _SAME_FIELDS if name in inner},
    )


_SAME_FIELDS = (
    "status",
    "error",
    "elapsed_time",
    "total_tokens",
    "total_steps",
    "finished_at",
    "exceptions_count",
    "version",
    "triggered_from",
)


def _read_author(row: Json) -> EndUser | Account:
    if row["created_by_account"] is not None:
        return Account(**row["created_by_account"])
    return EndUser(**row["created_by_end_user"])


DEFAULT_END = datetime(2026, 11, 21, tzinfo=UTC)
DEFAULT_MIX: Mapping[str, float] = MappingProxyType(
    {
        "succeeded": 0.90,
        "failed": 0.05,
        "partial-succeeded": 0.02,
        "stopped": 0.015,
        "running": 0.015,
    }
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parameters of a generated world; the same recipe gives the same world on any machine.

    ``ties`` is the share of runs listed in the same second as another one; ``busiest_second`` is the size of
    the largest such group; ``orphans`` is the share of log rows whose run is gone; ``chat_runs`` adds a
    chatflow app with so many runs.  The log rows lie in [start, end], aware; ``start`` is a day before the
    end when it is None.
    """

    seed: int = 1
    runs: int = 200
    start: datetime | None = None
    end: datetime = DEFAULT_END
    ties: float = 0.3
    busiest_second: int = 90
    nodes: int = 6
    node_kb: float = 4.0
    mix: Mapping[str, float] = field(default_factory=lambda: DEFAULT_MIX)
    orphans: float = 0.002
    users: int = 12
    chat_runs: int = 0

    def seconds(self) -> tuple[int, int]:
        """Return the first and last second since 1970."""
        start = self.start or self.end - timedelta(days=1)
        return int(start.timestamp()), int(self.end.timestamp())


def make_world(recipe: Recipe | None = None) -> World:
    """Generate a world: a workflow app, and a chatflow app when the recipe has runs for it.

    :raises UsageError: when the interval has too few seconds for so many runs.
    """
    recipe = recipe or Recipe()
    workflow = SimulatedApp(credentials.WORKFLOW_APP_ID, "客服问答（模拟）")
    chat = SimulatedApp(
        credentials.CHATFLOW_APP_ID, "客服对话（模拟）", "advanced-chat", credentials.CHATFLOW_API_TOKEN
    )
    world = World([workflow, chat] if recipe.chat_runs else [workflow], [operator()], seed=recipe.seed)
    generator = _Generator(recipe)
    world.add(generator.make_many(workflow, recipe.runs))
    world.add(generator.make_many(chat, recipe.chat_runs))
    world.make_run = generator.make_one
    return world


def spread(recipe: Recipe, runs: int, rng: random.Random) -> list[int]:
    """Return the second of every run, with the recipe's ties, oldest first.

    :raises UsageError: when there are too few seconds.
    """
    first, last = recipe.seconds()
    groups = _tie_sizes(int(runs * recipe.ties), recipe.busiest_second, rng)
    sizes = groups + [1] * (runs - sum(groups))
    if len(sizes) > last - first + 1:
        raise UsageError(f"{runs} runs need {len(sizes)} seconds: give an earlier start, or more ties")
    # Shuffled, so that the busiest second is not always the first.
    rng.shuffle(sizes)
    seconds = sorted(rng.sample(range(first, last + 1), len(sizes)))
    return [second for second, size in zip(seconds, sizes, strict=True) for _ in range(size)]


def _tie_sizes(tied: int, busiest: int, rng: random.Random) -> list[int]:
    """Split so many runs into groups of 2 and more, one of them the busiest second."""
    groups: list[int] = []
    while tied > 1:
        size_limit = busiest if not groups else rng.randint(2, max(2, busiest // 4))
        size = min(size_limit, tied)
        groups.append(size)
        tied -= size
    return groups


class _Generator:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.rng = random.Random(recipe.seed)
        self.shapes = {
            mode: Shape(recipe.nodes, recipe.node_kb, chat=mode != "workflow")
            for mode in ("workflow", "advanced-chat")
        }
        self.users = [self._make_user(number) for number in range(max(1, recipe.users))]
        self.statuses = tuple(recipe.mix)
        self.weights = tuple(recipe.mix.values())

    def make_many(self, app: SimulatedApp, runs: int) -> list[SimulatedRun]:
        made: list[SimulatedRun] = []
        used: set[int] = set()
        for second in spread(self.recipe, runs, self.rng):
            started_us = self._start(second, used)
            gone = self.rng.random() < self.recipe.orphans
            made.append(self._make(app, second, started_us, gone=gone))
        return made

    def make_one(self, app: SimulatedApp, second: int) -> SimulatedRun:
        return self._make(app, second, self._start(second, set()))

    def _start(self, second: int, used: set[int]) -> int:
        """Return an unused microsecond that rounds to the second, as the log row's time does."""
        while True:
            started_us = second * 1_000_000 + self.rng.randrange(-500_000, 500_000)
            if started_us not in used:
                used.add(started_us)
                return started_us

    def _make(self, app: SimulatedApp, second: int, started_us: int, *, gone: bool = False) -> SimulatedRun:
        status = self.rng.choices(self.statuses, self.weights)[0]
        author = self.rng.choice(self.users)
        ended = status not in ("running", "paused")
        elapsed = round(self.rng.uniform(0.3, 9.0), 6) if ended else 0.0
        finish_us = started_us + int(elapsed * 1_000_000)
        return SimulatedRun(
            id=self._uuid(),
            log_id=self._uuid(),
            app_id=app.id,
            workflow_id=app.id,
            listed_at=second,
            # Old releases write the log row at the end, at a rounded time; open runs have none there.
            listed_at_end=(finish_us + 500_000) // 1_000_000 if ended else None,
            started_us=started_us,
            status=status,
            content=MadeContent(self.rng.getrandbits(32), self.shapes[app.mode]),
            author=author,
            finished_at=finish_us // 1_000_000 if ended else None,
            elapsed_time=elapsed,
            created_from=_channel(author),
            gone=gone,
            **self._counts(status),
        )

    def _counts(self, status: str) -> dict[str, Any]:
        """Return tokens, steps, exceptions and error; a few rows have no counts, as in old data."""
        error = self.rng.choice(content.ERRORS) if status == "failed" else None
        if status == "stopped":
            error = "Aborted: User requested stop"
        # Rows from before 0.14 have no counts; two in a thousand keep readers honest.
        if self.rng.random() < 0.002:
            return {"total_steps": None, "exceptions_count": None, "error": error}
        return {
            "total_tokens": 0
            if status == "running" or self.recipe.nodes < 5
            else self.rng.randint(300, 5000),
            "total_steps": 0 if status == "running" else steps_of(status, max(2, self.recipe.nodes)),
            "exceptions_count": 1 if status in ("failed", "partial-succeeded") else 0,
            "error": error,
        }

    def _make_user(self, number: int) -> EndUser | Account:
        if number % 6 == 5:
            return operator()
        names = (f"user-{number:04d}", f"客户-{number:04d}", f"test+{number}@example.com")
        kind = content.pick(("service-api", "browser"), number // 3)
        return EndUser(self._uuid(), content.pick(names, number), kind)

    def _uuid(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))


def _channel(author: EndUser | Account) -> str:
    if isinstance(author, Account):
        return "installed-app"
    return "service-api" if author.type == "service-api" else "web-app"
