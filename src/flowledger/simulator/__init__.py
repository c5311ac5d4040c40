"""A Dify server that behaves as the recorded ones do, for tests, demonstrations and measurements."""

from flowledger.simulator.dataset import load_dataset
from flowledger.simulator.faults import FAULTS, Fault, Faults, parse_faults
from flowledger.simulator.generate import Recipe, make_world
from flowledger.simulator.movement import arriving, changing, vanishing
from flowledger.simulator.releases import RECORDED, Release
from flowledger.simulator.server import SimulatedServer, run, serve
from flowledger.simulator.site import Options
from flowledger.simulator.world import SimulatedApp, SimulatedRun, World

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
