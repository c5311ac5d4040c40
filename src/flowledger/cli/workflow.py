"""``flowledger workflow``: its commands, and the services over the settings' ledger that they share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from flowledger import bootstrap
from flowledger.bootstrap.workflows import WorkflowServices, workflow_services
from flowledger.cli.main import LazyCommand, LazyCommands
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import zone
from flowledger.domain.workflows.execution_runs import LOCAL
from flowledger.errors import RecordNotFoundError, UsageError
from flowledger.io.json_text import dumps_strict
from flowledger.ports import Ledger
from flowledger.services.workflows.authoring import Authoring
from flowledger.services.workflows.ordering import Ordering
from flowledger.settings import Settings
from flowledger.workflow_ports import Execution, StoredWorkflow, WorkflowStore

COMMANDS: Mapping[str, LazyCommand] = {
    "apply": LazyCommand(
        "flowledger.cli.workflow_files", "apply", "Make workflows what files say, and publish them."
    ),
    "validate": LazyCommand(
        "flowledger.cli.workflow_files", "validate", "Say all that is wrong with a file or a workflow."
    ),
    "publish": LazyCommand(
        "flowledger.cli.workflow_reading", "publish", "Make a version of a draft, which is executed then."
    ),
    "export": LazyCommand("flowledger.cli.workflow_files", "export", "Write a workflow as YAML or JSON."),
    "import": LazyCommand(
        "flowledger.cli.workflow_files", "import_", "Store a file as a new workflow, of old programs too."
    ),
    "list": LazyCommand("flowledger.cli.workflow_reading", "list_workflows", "List workflows, newest first."),
    "show": LazyCommand("flowledger.cli.workflow_reading", "show", "Show one workflow whole."),
    "run": LazyCommand(
        "flowledger.cli.workflow_run", "run", "Execute a workflow and show its steps as they end."
    ),
    "graph": LazyCommand("flowledger.cli.workflow_reading", "graph", "Print a workflow as a Mermaid graph."),
    "schema": LazyCommand(
        "flowledger.cli.workflow_files", "schema", "Print or write the JSON Schema of files, for editors."
    ),
}


@click.group(cls=LazyCommands, lazy=COMMANDS)
def workflow() -> None:
    """Define, publish and execute workflows of API calls."""


@dataclass(frozen=True, slots=True)
class OpenWorkflows:
    """Workflows and executions in the ledger of the settings."""

    settings: Settings
    ledger: Ledger
    services: WorkflowServices

    @property
    def store(self) -> WorkflowStore:
        """Where they are stored."""
        return self.services.store

    @property
    def authoring(self) -> Authoring:
        """What changes drafts."""
        return self.services.authoring

    @property
    def ordering(self) -> Ordering:
        """What takes orders of executions."""
        return self.services.ordering

    @property
    def user(self) -> str:
        """Who runs this program."""
        return bootstrap.user_name()

    def workflow(self, word: str) -> StoredWorkflow:
        """Return a workflow by its number or its name.

        :raises UsageError: when there is none, or several have the name.
        """
        if word.isascii() and word.isdecimal() and len(word) < 19:
            stored = self.store.workflow(int(word))
            if stored is not None:
                return stored
        named = self.store.workflows(name=word).workflows
        if not named:
            raise UsageError(f"there is no workflow {word!r:.80}: flowledger workflow list shows all")
        if len(named) > 1:
            numbers = ", ".join(str(each.id) for each in named)
            raise UsageError(f"several workflows are named {word!r:.80}: take a number, {numbers}")
        return named[0]

    def execution(self, word: str) -> Execution:
        """Return an execution by its number or its id.

        :raises UsageError: when there is none.
        """
        try:
            return self.ordering.get(word)
        except RecordNotFoundError as error:
            raise UsageError(f"{error}: flowledger execution list shows the newest") from None

    def record(self, act: str, workflow_id: int, **data: Any) -> None:
        """Append what was done to the audit log, as the HTTP API does."""
        operation_id, app = f"workflow-{uuid4().hex}", AppKey(LOCAL, str(workflow_id))
        at = bootstrap.clock.utc_now()
        self.ledger.record(Operation(operation_id, act, at, self.user, app, data=data))

    def local_time(self, at: Any, form: str = "%Y-%m-%d %H:%M:%S") -> str:
        """Return a time in the settings' zone; nothing for None."""
        return "" if at is None else f"{at.astimezone(zone(self.settings.timezone)):{form}}"


@contextmanager
def open_workflows() -> Iterator[OpenWorkflows]:
    """Open the ledger of the settings."""
    settings = bootstrap.load_settings(need_app=False)
    with bootstrap.opened_ledger(settings) as ledger:
        yield OpenWorkflows(settings, ledger, workflow_services(settings, ledger))


def echo_json(value: Any) -> None:
    """Print a value as JSON for people and programs."""
    click.echo(dumps_strict(value, indented=True).decode())


def is_file(word: str) -> bool:
    """Return whether a word names a file of workflows rather than a workflow."""
    return Path(word).suffix.lower() in (".yaml", ".yml", ".json")
