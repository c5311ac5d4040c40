"""A Dify server that behaves as the recorded ones do, for tests, demonstrations and measurements."""

from flowledger_simulator.datasets import Recipe, load_dataset, make_world
from flowledger_simulator.faults import FAULTS, Fault, Faults, parse_faults
from flowledger_simulator.releases import RECORDED, Release
from flowledger_simulator.server import SimulatedServer, run, serve
from flowledger_simulator.site import Options
from flowledger_simulator.world import (
    SimulatedApp,
    SimulatedRun,
    World,
    arriving,
    changing,
    exchanging,
    moving,
    vanishing,
)

__all__ = [
    "FAULTS",
    "RECORDED",
    "Fault",
    "Faults",
    "Options",
    "Recipe",
    "Release",
    "SimulatedApp",
    "SimulatedRun",
    "SimulatedServer",
    "World",
    "arriving",
    "changing",
    "exchanging",
    "load_dataset",
    "make_world",
    "moving",
    "parse_faults",
    "run",
    "serve",
    "vanishing",
]
