"""For all tests: hypothesis profiles, the long forms of tests, and which files begin first.

``--whole`` takes the long form where a test has one, and many examples: ``--hypothesis-profile thorough``.
"""

import pytest
from hypothesis import settings

settings.register_profile("everyday", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("everyday")

pytest_plugins = ["postgresql_server", "prefect_session"]

SLOW_FIRST = (
    "test_worker_soak",
    "test_worker_runs",
    "test_worker_dask",
    "test_deployments",
    "test_flow",
    "test_secrets_in_prefect",
)
"""Files that start Prefect servers and wait for them: begun last, they would keep all others waiting."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the long forms."""
    parser.addoption(
        "--whole", action="store_true", help="the long forms: every fault point, each trouble of a soak"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take many examples where all is wanted."""
    if config.getoption("whole"):
        settings.load_profile("thorough")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits longest; pytest-xdist gives out whole files, in their order."""
    items.sort(key=lambda item: _rank(item.path.name))


def _rank(name: str) -> int:
    return next((rank for rank, first in enumerate(SLOW_FIRST) if name.startswith(first)), len(SLOW_FIRST))
