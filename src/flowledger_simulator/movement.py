"""Ready-made hooks that move the world while a client turns pages (``Options.on_page``)."""

import random

from flowledger_simulator.site import PageHook
from flowledger_simulator.world import World


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
