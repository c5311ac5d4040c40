"""What would be refused later, found before anything is registered."""

from collections.abc import Iterator, Sequence

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound, ParameterTypeError, PrefectException
from prefect.settings import PREFECT_API_URL

from flowledger.flows.registration import flow_of
from flowledger.services.deploying import Deployment

PROCESS = "process"
SETUP = "run scripts/setup_prefect.sh"


def check_words(planned: Sequence[Deployment]) -> Iterator[str]:
    """Give a line for each cron, zone and parameter that Prefect or the flow would refuse."""
    for each in planned:
        who = f"{each.key} of {each.app_name}"
        try:
            if each.cron:
                CronSchedule(cron=each.cron, timezone=each.timezone)
        except ValueError:
            yield f"{who}: Prefect does not understand the schedule {each.cron!r} in {each.timezone}"
        try:
            flow_of(each.flow).validate_parameters(dict(each.parameters))
        except (ParameterTypeError, TypeError, ValueError) as error:
            yield f"{who}: the flow does not take these parameters: {error}"


def check_server(pool: str, *, may_lack_pool: bool = False) -> Iterator[str]:
    """Give a line for what the server lacks, or why it cannot be asked; setting up makes a pool."""
    if not PREFECT_API_URL.value():
        yield f"PREFECT_API_URL is not set: start a server (prefect server start) and {SETUP}"
        return
    try:
        with get_client(sync_client=True) as client:
            found = client.read_work_pool(pool)
    except ObjectNotFound:
        if may_lack_pool:
            return
        yield f"PREFECT_WORK_POOL_NAME: there is no work pool {pool!r} on {PREFECT_API_URL.value()}: {SETUP}"
    except (HTTPError, PrefectException, RuntimeError) as error:
        yield unreachable(error)
    else:
        yield from _wrong_kind(found)


def unreachable(error: Exception) -> str:
    """Say that the server does not answer, and how to start one."""
    return (
        f"the Prefect server at {PREFECT_API_URL.value()} does not answer ({type(error).__name__}):"
        " start it (prefect server start), or correct PREFECT_API_URL"
    )


def _wrong_kind(pool: WorkPool) -> Iterator[str]:
    if pool.type != PROCESS:
        yield (
            f"PREFECT_WORK_POOL_NAME: the work pool {pool.name!r} is of type {pool.type}, not process:"
            f" name another one, or delete it and {SETUP}"
        )
