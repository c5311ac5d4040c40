"""A Dify server that behaves as the recorded ones do, for tests, demonstrations and measurements."""

from flowledger_simulator.datasets import Recipe, load_dataset, make_world
from flowledger_simulator.faults import FAULTS, Fault, Faults, parse_faults
from flowledger_simulator.releases import RECORDED, Release
from flowledger_simulator.server import SimulatedServer, run, serve
from flowledger_simulator.site import Options
from flowledger_simulator.world import SimulatedApp, SimulatedRun, World, arriving, changing, vanishing

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
    "load_dataset",
    "make_world",
    "parse_faults",
    "run",
    "serve",
    "vanishing",
]
