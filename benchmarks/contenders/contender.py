"""What all contenders of one race share: the task on standard input, the result on standard output.

Only the standard library, since some contenders run in an environment of their own.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """What is to be read: every run of one app in a window (ISO 8601), with its node executions.

    ``run_ids`` are all there are; only the bound may use them.  ``console`` are the headers of a log-in.
    """

    base_url: str
    token: str
    app: str
    email: str
    password: str
    console: dict[str, str]
    after: str
    before: str
    run_ids: list[str]
    concurrency: int
    folder: str

    @property
    def key(self) -> dict[str, str]:
        """The headers that open the log list."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def logs(self) -> str:
        """The address of the log list."""
        return f"{self.base_url}/v1/workflows/logs"

    def nodes(self, run_id: str) -> str:
        """The address of a run's node executions."""
        return f"{self.detail(run_id)}/node-executions"

    def detail(self, run_id: str) -> str:
        """The address of a run's detail."""
        return f"{self.base_url}/console/api/apps/{self.app}/workflow-runs/{run_id}"

    @property
    def scratch(self) -> Path:
        """A folder of the contender's own."""
        return Path(self.folder)


@dataclass(frozen=True)
class Result:
    """How many requests were sent, and how many different runs and node executions were kept."""

    requests: int
    runs: int
    nodes: int


def compete(work: Callable[[Task], Callable[[], Result]]) -> None:
    """Read the task, do it, and print the seconds it took, imports not counted, and its result.

    Counting what was stored comes after the clock has stopped.
    """
    task = Task(**json.load(sys.stdin))
    began = time.perf_counter()
    count_results = work(task)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, **asdict(count_results())}))
