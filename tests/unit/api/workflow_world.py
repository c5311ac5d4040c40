"""Workflows over the API of ``api_world``: made by requests, executed by a worker in the test."""

import asyncio
from typing import Any

from api_world import World

from flowledger.domain.workflows.definition import alias_from
from flowledger.services.workflows.worker import Worker


def form(
    nodes: list[tuple[str, str, dict[str, Any]]], *links: tuple[str, ...], **more: Any
) -> dict[str, Any]:
    """An exported workflow of ``(name, type, config)`` nodes and ``(from, to[, type])`` connections."""
    return {
        "format": "workflow/1",
        "name": "客户同步",
        "nodes": [
            {"alias": alias_from(name), "name": name, "node_type": kind, "config": config}
            for name, kind, config in nodes
        ],
        "connections": [
            {"from": link[0], "to": link[1], "connection_type": link[2] if len(link) > 2 else "SEQUENCE"}
            for link in links
        ],
        **more,
    }


ADDING = form(
    [
        ("start", "START", {"input_schema": {"a": "number"}}),
        ("加", "TRANSFORM", {"template": {"sum": "{{input.a + 1}}"}}),
        ("end", "END", {"output": "{{加.sum}}"}),
    ],
    ("start", "加"),
    ("加", "end"),
)
"""A workflow that adds 1."""


def imported(world: World, made: dict[str, Any], *, publish: bool = True) -> int:
    """Import a workflow, publish it, and give its number."""
    answer = world.post("/workflows/import", made, "admin")
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    if publish:
        published = world.post(f"/workflows/{number}/publish", None, "admin")
        assert published.status_code == 200, published.text
    return number


def accepted(world: World, workflow: int, **order: Any) -> dict[str, Any]:
    """Order an execution."""
    answer = world.post(f"/workflows/{workflow}/execute", order)
    assert answer.status_code == 202, answer.text
    row: dict[str, Any] = answer.json()
    return row


def work(world: World, execution: int) -> None:
    """Execute what was ordered, until it has ended or is parked."""
    workflows = world.client.app.state.backend.workflows  # type: ignore[attr-defined]  # FastAPI's

    async def drive() -> None:
        async with workflows.open_engine() as engine:
            await Worker(engine, "w1").run_one(execution)

    asyncio.run(drive())
