"""The OpenAPI document is true: whatever is sent, the answer is one that it names, and never a 500."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import schemathesis
from api_world import World, opened_world
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.python._constants.orchestrator import make_constants_value_source
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from flowledger.api.backend import ApiOptions

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

USUAL = 25
EXAMPLES = 3 if settings().max_examples <= USUAL else 200
"""Of each operation; many with ``--hypothesis-profile thorough``."""
OUT_OF_REACH = "Boom: no model"
"""What only a run of an app has that scoped keys do not reach."""
FEWEST = 25
"""Operations that the API has at least."""


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Open the API for very many requests."""
    with opened_world(tmp_path_factory.mktemp("fuzzed"), ApiOptions(per_minute=1_000_000)) as world:
        yield world


ROLES = ("viewer", "scoped", "scoped-operator", "operator", "admin")
"""Who may do most comes last: what a request deletes was there for all others."""


# Traced, it takes longer than all other unit tests together, and what it reaches they reach too.
@pytest.mark.no_cover
@pytest.mark.timeout(1800)
def test_every_answer_is_in_the_document(fuzzed: World, subtests: pytest.Subtests) -> None:
    """No defect, no undocumented status, no body that differs from its schema; for each operation and role.

    No key of some apps is answered with anything of another one.

    Its plugin would make up all requests while tests are collected, which took each process ten seconds.
    """
    app: Any = fuzzed.client.app
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    feedback = FeedbackSources(constants_value_source=make_constants_value_source(schema))

    found = list(schema.get_all_operations())
    operations = [each.ok() for each in found if isinstance(each, Ok)]
    assert len(operations) == len(found) > FEWEST
    for operation in operations:
        with subtests.test(operation.label):
            build_operation_test(
                config=schema.config,
                operation=operation,
                test_func=calls(fuzzed),
                given_kwargs={},
                feedback=feedback,
            )()


def calls(world: World) -> Callable[[schemathesis.Case[Any]], None]:
    """Return the test of one operation: an administrator sends every request, the others each fourth one.

    Making a request up takes much longer than its answer, so all roles send the same one.
    """
    turns = count()

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None, derandomize=True)
    def call(case: schemathesis.Case[Any]) -> None:
        for role in ROLES if next(turns) % 4 == 0 else ROLES[-1:]:
            answer = case.call_and_validate(headers=world.headers[role], checks=CHECKS)
            assert not role.startswith("scoped") or OUT_OF_REACH not in answer.text, role

    return call
