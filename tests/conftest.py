"""For all tests: hypothesis profiles, and which tests share a process when they run in parallel.

``--hypothesis-profile thorough`` tries many examples; every run tries few.
"""

from collections.abc import Sequence

import pytest
from hypothesis import settings

settings.register_profile("everyday", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("everyday")

pytest_plugins = ["postgresql_server"]


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Keep each file's tests in one process: what they start once, such as a server, serves them all."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(str(item.path)))
