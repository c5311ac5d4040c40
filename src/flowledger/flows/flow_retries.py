"""Flow-level retries: Prefect waits (AwaitingRetry) and tries again where waiting may mend what failed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from prefect import get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from flowledger import bootstrap
from flowledger.errors import FlowledgerError
from flowledger.flows.orphans import is_orphaned
from flowledger.services.retries import FailedTry, next_delay

AWAITING_RETRY = "AwaitingRetry"
A_MINUTE = timedelta(minutes=1)


@contextmanager
def tried_again() -> Iterator[None]:
    """Let the flow run inside be tried again, after the delays of the settings, where its error may pass.

    Prefect has one delay for all tries of a flow, and tries again whatever failed: the number of tries and
    the delay are set on the run itself, each time it fails.  Only runs of deployments are: at a terminal a
    person waits, and sees the error at once.
    """
    try:
        yield
    except Exception as error:
        _plan_next_try(error)
        raise


def _plan_next_try(error: Exception) -> None:
    run_id = runtime.flow_run.id
    if not run_id:
        return
    logger = get_run_logger()
    try:
        delays = [each * A_MINUTE for each in bootstrap.load_settings().retry_minutes]
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(UUID(str(run_id)))
            if run.deployment_id is None or is_orphaned(client, run):
                return
            tries = len(failed_tries(run)) + 1
            delay = next_delay(error, delays, tries)
            policy = run.empirical_policy.model_copy(
                update={
                    # Prefect counts each begin of the run, such as those that gave way to an older one.
                    "retries": run.run_count if delay else 0,
                    "retry_delay": int(delay.total_seconds()) if delay else 0,
                }
            )
            client.update_flow_run(run.id, empirical_policy=policy)
    except FlowledgerError as problem:
        logger.warning("not tried again, since the settings cannot be read: %s", problem)
    except Exception as problem:  # noqa: BLE001  # named boundary: the run's own error is the one to report
        logger.warning("not tried again, since Prefect does not take it: %s", type(problem).__name__)
    else:
        if delay:
            logger.warning(
                "try %d of %d failed; the next one is in %d minutes",
                tries,
                len(delays) + 1,
                delay.total_seconds() // 60,
            )


def failed_tries(flow_run: FlowRun) -> Sequence[FailedTry]:
    """Return the tries of a flow run that failed before its last one, oldest first."""
    if flow_run.run_count < 2:
        return ()
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(flow_run.id)
    return [
        FailedTry(state.timestamp, state.message or "")
        for state in sorted(states, key=lambda state: state.timestamp)
        if state.name == AWAITING_RETRY
    ]
