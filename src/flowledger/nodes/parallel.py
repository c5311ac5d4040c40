"""PARALLEL: branches beside each other."""

from typing import ClassVar

from flowledger.domain.workflows.containers import POLICIES
from flowledger.nodes.options import COUNT, FLAG, SECONDS, Schema, one_of, options


class ParallelNode:
    """Runs branches at once and joins them as its policy says; its output has their results and statuses."""

    config_schema: ClassVar[Schema] = options(
        max_concurrent=COUNT, wait_for_all=FLAG, sync_policy=one_of(*POLICIES), timeout_seconds=SECONDS
    )
