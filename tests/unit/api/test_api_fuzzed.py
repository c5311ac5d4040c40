"""The OpenAPI document is true: whatever is sent, the answer is one that it names, and never a 500."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from api_world import Clock, World, opened_world
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from flowledger.api.app import create_app
from flowledger.api.backend import ApiOptions, Backend
from flowledger.domain.windows import zone
from flowledger.ledger.sql.ledger import SqlLedger

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


USUAL = 25
EXAMPLES = 5 if settings().max_examples <= USUAL else 200
"""Of each operation; many with ``--hypothesis-profile thorough``."""

schema = schemathesis.openapi.from_dict(
    create_app(Backend(ledger=SqlLedger.open("memory://", {}), clock=Clock(), tz=zone("UTC"))).openapi()
)


BEHIND: list[ASGIApp] = []
"""The app that is asked, once it is open."""


async def _asked(scope: Scope, receive: Receive, send: Send) -> None:
    await BEHIND[-1](scope, receive, send)


schema.app = _asked


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Open the API for very many requests."""
    with opened_world(tmp_path_factory.mktemp("fuzzed"), ApiOptions(per_minute=1_000_000)) as world:
        BEHIND.append(world.client.app)
        yield world


@schema.parametrize()
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None, derandomize=True)
def test_every_answer_is_in_the_document(case: schemathesis.Case[Any], fuzzed: World) -> None:
    """No defect, no undocumented status, no body that differs from its schema."""
    case.call_and_validate(headers=fuzzed.headers["admin"], checks=CHECKS)
