"""The cleaning of the storage as a Prefect flow, for a deployment of its own."""

from typing import Annotated, Any

from prefect import flow, get_run_logger, runtime
from pydantic import Field

from flowledger import wiring
from flowledger.flows.hooks import announce_failure
from flowledger.flows.logs import forwarded_to
from flowledger.flows.telling import tell_what_waits


def name_flow_run() -> str:
    """Name a flow run after what it cleans, as the UI and messages show it."""
    return f"cleanup · {(runtime.flow_run.parameters or {}).get('app') or 'all apps'}"


@flow(
    name="cleanup-storage",
    flow_run_name=name_flow_run,
    log_prints=False,
    on_failure=[announce_failure],
    on_crashed=[announce_failure],
    on_cancellation=[announce_failure],
)
def cleanup_storage_flow(
    app: Annotated[
        str | None, Field(title="App", description="Name or id of an app in the settings; empty for all")
    ] = None,
    dry_run: Annotated[bool, Field(title="Only say what would go")] = False,
) -> list[dict[str, Any]]:
    """Remove reports that are kept long enough, as the settings say; never the newest certified ones."""
    logger = get_run_logger()
    with forwarded_to(logger):
        results = wiring.clean_storage(app, dry_run=dry_run)
        # Bad news of the night need not wait for the next day's run.
        tell_what_waits()
    for result in results:
        logger.info(
            "%s: %d reports, %d bytes %sremoved",
            result["app"],
            result["removed"],
            result["bytes"],
            "would be " if dry_run else "",
        )
    return results
