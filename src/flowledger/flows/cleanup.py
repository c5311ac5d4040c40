"""The cleaning of the storage as a Prefect flow, for a deployment of its own."""

from importlib.util import find_spec
from typing import Annotated, Any

from prefect import flow, get_run_logger, runtime
from pydantic import Field

from flowledger import bootstrap
from flowledger.flows.logs import forwarded_to
from flowledger.flows.notifications import announce_failure, send_waiting
from flowledger.flows.orphans import ends_without_deployment
from flowledger.settings import AppSettings, Settings


def _archived(app: str | None, *, dry_run: bool) -> list[dict[str, Any]]:
    if find_spec("pyarrow") is None and not _limits_runs():
        return []  # an extra, which nobody needs who keeps everything
    from flowledger.bootstrap.archives import archive_nightly

    return archive_nightly(app, dry_run=dry_run)


def _limits_runs() -> bool:
    settings = bootstrap.load_settings(need_app=False)
    limits: tuple[Settings | AppSettings, ...] = (settings, *settings.apps)
    return any(
        each.run_retention_days or each.run_retention_count or each.run_retention_mb for each in limits
    )


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
    """Remove reports that are kept long enough, as the settings say, but never the newest certified ones.

    Runs beyond the retention go into archives, and out of the ledger.
    """
    logger = get_run_logger()
    with forwarded_to(logger), ends_without_deployment():
        results = bootstrap.clean_storage(app, dry_run=dry_run)
        # Bad news of the night need not wait for the next day's run.
        send_waiting()
        archived = _archived(app, dry_run=dry_run)
    for result in results:
        logger.info(
            "%s: %d reports, %d bytes %sremoved",
            result["app"],
            result["removed"],
            result["bytes"],
            "would be " if dry_run else "",
        )
    for result in archived:
        logger.info(
            "%s: %d runs %sarchived, %d deleted",
            result["app"],
            result["runs"],
            "would be " if dry_run else "",
            result["deleted"],
        )
    return [*results, *archived]
