"""For all tests: hypothesis profiles, and which tests share a process when they run in parallel.

``--hypothesis-profile thorough`` tries many examples; every run tries few.
"""

from collections.abc import Sequence

import pytest
from hypothesis import settings

settings.register_profile("everyday", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("everyday")

SHARED_SERVER = "prefect"
"""The tests of the flow start one Prefect server and share it."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Keep each file's tests in one process, and those of all flow files in the same one."""
    for item in items:
        group = SHARED_SERVER if item.path.name.startswith("test_flow") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
