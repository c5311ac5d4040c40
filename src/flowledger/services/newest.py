"""The newest rows of a source, without a certificate: what a person looks at page by page."""

from collections.abc import Iterator, Mapping

from flowledger.domain import walk as walks
from flowledger.domain.runs import Run
from flowledger.domain.walk import Reply, Row, Verdict
from flowledger.domain.windows import Window
from flowledger.ports import RunSource


def newest_runs(source: RunSource, window: Window, remote: Mapping[str, str], most: int) -> Iterator[Run]:
    """Stream at most so many runs, newest first, each once, without turning pages."""
    walk, seen = walks.begin(window), set[str]()
    while len(seen) < most and not isinstance(steps := walks.plan(walk), Verdict) and walk.rounds == 0:
        step = steps[0]
        page = source.page(step.window, remote, page=step.page, limit=step.limit)
        for run in page.rows:
            log_id = run.log_id or run.run_id
            if log_id not in seen and len(seen) < most:
                seen.add(log_id)
                yield run
        rows = [Row(int(run.listed_at.timestamp()), run.log_id or run.run_id) for run in page.rows]
        walk = walks.observe(walk, step, Reply(rows, page.total))
