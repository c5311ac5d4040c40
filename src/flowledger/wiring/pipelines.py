"""Everything that one report needs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from flowledger.ports import Progress
from flowledger.services.pipeline import Pipeline
from flowledger.services.progress import SilentProgress
from flowledger.services.requests import ReportRequest, RunOrder, request_of
from flowledger.settings import Settings
from flowledger.wiring import clock
from flowledger.wiring.configuration import kept_logs, load_settings, user_name
from flowledger.wiring.ledgers import opened_ledger
from flowledger.wiring.sources import open_source
from flowledger.wiring.stores import check_writable, open_store, report_formats


def check(order: RunOrder, instant: datetime) -> ReportRequest:
    """Read an order without touching anything, so that wrong words are refused before anything starts.

    :raises SettingsError, UsageError: as reading it would.
    """
    return _request(order, load_settings(), instant)


def _request(order: RunOrder, settings: Settings, instant: datetime) -> ReportRequest:
    app = settings.app(order.app)
    return request_of(order, instant=instant, tz=app.tz, formats=app.formats)


@contextmanager
def open_pipeline(
    order: RunOrder, instant: datetime, progress: Progress | None = None
) -> Iterator[tuple[Pipeline, ReportRequest]]:
    """Build all parts that an order needs, and give them back at the end.

    :raises FatalError: for whatever cannot be used, the folder of an order too, before anything is collected.
    """
    settings = load_settings()
    request = _request(order, settings, instant)
    app = settings.app(order.app)
    if order.output_dir:
        check_writable(Path(order.output_dir))
    with ExitStack() as stack:
        stack.enter_context(kept_logs(settings, app))
        source = stack.enter_context(open_source(app))
        ledger = stack.enter_context(opened_ledger(settings))
        pipeline = Pipeline(
            app_name=app.name,
            language=app.language,
            source=source,
            ledger=ledger,
            store=open_store(settings, order.output_dir, prefix=app.storage_prefix),
            formats=report_formats(request.formats),
            clock=clock.utc_now,
            progress=progress or SilentProgress(),
            open_for=settings.stuck_after,
            workers=app.max_concurrency,
            user=user_name(),
        )
        yield pipeline, request
