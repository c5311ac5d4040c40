"""Loads a world from a JSON data set ``{app, logs, details, nodes}``, rows as the server gives them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowledger.errors import UsageError
from flowledger_simulator import credentials
from flowledger_simulator.world import Account, EndUser, Json, SimulatedApp, SimulatedRun, World


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A run's inputs, outputs and node executions as they were given."""

    stored_inputs: Json
    stored_outputs: Json | None
    stored_nodes: Sequence[Json] = ()

    def inputs(self, run: SimulatedRun) -> Json:  # noqa: ARG002  # a content that knows needs no run
        """Give the stored inputs."""
        return self.stored_inputs

    def outputs(self, run: SimulatedRun) -> Json | None:  # noqa: ARG002
        """Give the stored outputs; null stays None."""
        return self.stored_outputs

    def nodes(self, run: SimulatedRun) -> Sequence[Json]:  # noqa: ARG002
        """Give the stored node executions."""
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


def operator() -> Account:
    """Give the account that the default credentials log in."""
    return Account(credentials.ACCOUNT_ID, credentials.ACCOUNT_NAME, credentials.EMAIL)


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
