"""The compose file and the systemd units name only what there is."""

import re
import shlex
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import ROOT

from flowledger.cli.main import COMMANDS
from flowledger.settings.model import VARIABLES

FOLDER = ROOT / "deployments"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
UNITS = sorted((FOLDER / "systemd").glob("*.service"))
PROGRAMS = {"flowledger", "prefect"}
KNOWN_PREFIXES = ("PREFECT_", "POSTGRES_")


@pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=list(COMPOSE["services"]))
def test_a_service_runs_a_command_there_is(service: dict[str, Any]) -> None:
    """Its own program is in the image, and Flowledger knows the command."""
    words = service.get("command")
    if words is None:
        assert service["image"].startswith("postgres:")
        return
    assert words[0] in PROGRAMS
    assert words[0] != "flowledger" or words[1] in COMMANDS


@pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=list(COMPOSE["services"]))
def test_a_service_sets_variables_there_are(service: dict[str, Any]) -> None:
    """A mistyped one would be read by nobody."""
    names = set(service.get("environment", {}))
    assert {name for name in names if not name.startswith(KNOWN_PREFIXES)} <= VARIABLES


def test_services_wait_for_services_there_are() -> None:
    """Neither a name nor a volume is mistyped."""
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= services.keys()
        named = [said.split(":")[0] for said in service.get("volumes", ())]
        assert {name for name in named if "/" not in name} <= COMPOSE["volumes"].keys()
        assert all((FOLDER / name).exists() for name in named if name.startswith("."))


def test_nothing_is_published_beyond_the_machine() -> None:
    """Prefect asks nobody who they are."""
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_is_made_of_files_there_are() -> None:
    """What the Dockerfile copies by name is in the checkout."""
    text = (FOLDER / "Dockerfile").read_text("utf-8")
    copied = {word for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for word in line.split()}
    assert copied
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_program_and_restarts_it(unit: Path) -> None:
    """It is one of the installed ones, as a user without rights."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # systemd's names have capitals
    parser.read_string(unit.read_text("utf-8"))
    service = parser["Service"]
    program = shlex.split(service["ExecStart"])[0]
    assert program.startswith("/opt/flowledger/.venv/bin/")
    assert Path(program).name in PROGRAMS
    assert (service["User"], service["Restart"]) == ("flowledger", "always")
