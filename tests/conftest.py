"""For all tests: hypothesis profiles, and which tests share a process when they run in parallel.

``--hypothesis-profile thorough`` tries many examples; every run tries few.
"""

import pytest
from hypothesis import settings

settings.register_profile("everyday", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("everyday")

pytest_plugins = ["postgresql_server"]


SLOW_FIRST = ("test_worker_", "test_deployments", "test_flow", "test_secrets_in_prefect")
"""Files that start Prefect servers and wait for them: begun last, they would keep all others waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each file's tests in one process: what they start once, such as a server, serves them all."""
    items.sort(key=lambda item: _rank(item.path.name))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(str(item.path)))


def _rank(name: str) -> int:
    return next((rank for rank, first in enumerate(SLOW_FIRST) if name.startswith(first)), len(SLOW_FIRST))
