"""The OpenAPI document is true: whatever is sent, the answer is one that it names, and never a 500."""

from collections.abc import Iterator
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
EXAMPLES = 5 if settings().max_examples <= USUAL else 200
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


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("role", ["admin", "operator", "viewer", "scoped", "scoped-operator"])
def test_every_answer_is_in_the_document(fuzzed: World, role: str, subtests: pytest.Subtests) -> None:
    """No defect, no undocumented status, no body that differs from its schema; for each operation and role.

    No key of some apps is answered with anything of another one.

    Its plugin would make up all requests while tests are collected, which took each process ten seconds.
    """
    app: Any = fuzzed.client.app
    schema = schemathesis.openapi.from_dict(app.openapi())
    schema.app = app
    feedback = FeedbackSources(constants_value_source=make_constants_value_source(schema))

    examples = EXAMPLES if role == "admin" else max(1, EXAMPLES // 4)

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), deadline=None, derandomize=True)
    def call(case: schemathesis.Case[Any]) -> None:
        answer = case.call_and_validate(headers=fuzzed.headers[role], checks=CHECKS)
        assert not role.startswith("scoped") or OUT_OF_REACH not in answer.text

    found = list(schema.get_all_operations())
    operations = [each.ok() for each in found if isinstance(each, Ok)]
    assert len(operations) == len(found) > FEWEST
    for operation in operations:
        with subtests.test(operation.label):
            build_operation_test(
                config=schema.config, operation=operation, test_func=call, given_kwargs={}, feedback=feedback
            )()
