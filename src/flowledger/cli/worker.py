"""``flowledger worker``: executes workflows until it is stopped."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import click

from flowledger import bootstrap
from flowledger.bootstrap import workers
from flowledger.ports import Ledger
from flowledger.services.workflows.worker import WorkerOptions
from flowledger.settings import Settings

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command(short_help="Execute workflows until stopped.")
@click.option(
    "--at-once", type=click.IntRange(1, 1024), help="So many executions at once; default: WORKER_AT_ONCE."
)
def worker(at_once: int | None) -> None:
    """Take executions from the ledger and carry them out, until stopped by Ctrl+C or SIGTERM.

    Stopped once, it lets steps that run end, and leaves the rest to other workers; stopped twice, it ends.
    """
    settings = bootstrap.load_settings(need_app=False)
    options = replace(WorkerOptions(), at_once=at_once or settings.worker_at_once)
    with bootstrap.kept_logs(settings), bootstrap.opened_ledger(settings) as ledger:
        asyncio.run(_work(settings, ledger, options))


async def _work(settings: Settings, ledger: Ledger, options: WorkerOptions) -> None:
    with stopped_by_signals() as stop:
        async with workers.reporting_worker(settings, ledger, options) as opened:
            click.echo(f"worker {opened.owner}: at most {options.at_once} executions at once", err=True)
            running = asyncio.create_task(opened.run(stop))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                click.echo("stopping: steps that run may end; a second signal ends them", err=True)
            stopping.cancel()
            await running


@contextmanager
def stopped_by_signals() -> Iterator[asyncio.Event]:
    """Return an event that the first SIGINT or SIGTERM sets; the second one ends the program as ever."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_signal() -> None:
        stop.set()
        remove()

    def remove() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    # Only the main thread gets signals, and not every platform gives them to an event loop.
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            remove()
