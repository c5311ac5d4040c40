"""Executions of small workflows by the engine as the settings wire it."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

from workflow_place import NOW, document, node

from flowledger.bootstrap.workflows import open_engine, ordering
from flowledger.ledger import workflow_store
from flowledger.ports import Ledger
from flowledger.services.workflows.worker import Worker
from flowledger.settings import ConfigManager, Settings
from flowledger.workflow_ports import Execution, Step


def settings_of(root: Path, **variables: str) -> Settings:
    """Return the settings of these variables alone."""
    return ConfigManager(root, {"OUTPUT_BASE_DIR": str(root), **variables}).load(need_app=False)


def executed(settings: Settings, ledger: Ledger, *middle: dict[str, Any]) -> tuple[Execution, list[Step]]:
    """Execute a workflow with these nodes in a row; return the execution and the steps of those nodes."""
    store = workflow_store(ledger)
    nodes = [node("start", "START"), *middle, node("end", "END")]
    links = [(first["name"], second["name"]) for first, second in pairwise(nodes)]
    stored = store.create_workflow(document(nodes, links), NOW)
    execution = ordering(settings, store).execute(stored.id, by="ann", input_data={"pet": 1, "api": 1})

    async def drive() -> Execution | None:
        async with open_engine(settings, ledger) as engine:
            return await Worker(engine, "w1").run_one(execution.id)

    driven = asyncio.run(drive())
    assert driven is not None
    aliases = [each["alias"] for each in middle]
    return driven, [step for step in store.steps(driven.id) if step.alias in aliases]
