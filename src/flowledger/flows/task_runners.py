"""Where a flow's tasks are executed: in the run's own process, or on Dask."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from prefect import Task

from flowledger.errors import SettingsError

THREADS, DASK = "threads", "dask"

Stage = Callable[..., Any]
"""Calls a task with keyword arguments, waits for it, and gives its result or raises its error."""


@contextmanager
def stages_on(task_runner: str) -> Iterator[Stage]:
    """Give what runs a flow's tasks, as the setting TASK_RUNNER says: threads, dask or dask:tcp://host:port.

    With ``threads`` a task is simply called: its own threads read side by side, and nothing is handed over.

    :raises SettingsError: when Dask is wanted and not installed.
    """
    kind, _, address = task_runner.partition(":")
    if kind == THREADS:
        yield _call
        return
    # The address of a running scheduler; without one, a cluster of this machine's own for as long as the run.
    options = (
        {"address": address}
        if address
        else {"cluster_kwargs": {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}}
    )
    with _dask_runner_class()(**options) as runner:

        def submit(task: Task[..., Any], **parameters: Any) -> Any:
            return runner.submit(task, parameters=parameters).result()

        yield submit


def _call(task: Task[..., Any], **parameters: Any) -> Any:
    return task(**parameters)


def _dask_runner_class() -> Any:
    """Import prefect-dask, which takes seconds and is an extra."""
    try:
        return import_module("prefect_dask").DaskTaskRunner
    except ImportError as error:
        raise SettingsError(
            [f"TASK_RUNNER: Dask is not installed ({error}): run scripts/setup --all, or choose threads"]
        ) from None
