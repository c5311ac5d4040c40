"""``flowledger logs``: what the program's own log says."""

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from flowledger import bootstrap
from flowledger.errors import UsageError
from flowledger.services import log_query

EXIT_NOTHING = 1


@click.group()
def logs() -> None:
    """Search the program's own log."""


@logs.command()
@click.option(
    "--level",
    type=click.Choice(tuple(log_query.LEVELS), case_sensitive=False),
    default="TRACE",
    metavar="LEVEL",
    help=f"At least this: {', '.join(log_query.LEVELS)}. Default: all.",
)
@click.option("--since", metavar="TIME", help="ISO 8601, or how long ago: 30m, 2h, 3d.")
@click.option("--until", metavar="TIME", help="Likewise, inclusive; a bare date means its end.")
@click.option("--run", metavar="ID", help="Id of a flow run or task run, or its first characters.")
@click.option("--app", metavar="APP", help="Name or id of an app.")
@click.option("--grep", metavar="PATTERN", help="Regular expression, in the message and the error.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest so many.")
@click.option("--json", "as_json", is_flag=True, help="The lines as they stand in the files.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another folder than LOG_DIR.",
)
def query(  # noqa: PLR0913, PLR0917  # the options of a command
    level: str,
    since: str | None,
    until: str | None,
    run: str | None,
    app: str | None,
    grep: str | None,
    limit: int | None,
    as_json: bool,
    directory: Path | None,
) -> int:
    """Print the lines that match, newest last; exits with 1 when none does, as grep does."""
    settings = bootstrap.load_settings(need_app=False)
    now, tz = bootstrap.clock.utc_now(), settings.timezone
    query_filter = log_query.LogQuery(
        level=level.upper(),
        since=log_query.instant_of(since, now, tz) if since else None,
        until=log_query.instant_of(until, now, tz, is_end=True) if until else None,
        run=run,
        app=app,
        pattern=log_query.pattern_of(grep) if grep else None,
    )
    if query_filter.since and query_filter.until and query_filter.since > query_filter.until:
        raise UsageError("--since lies after --until: exchange them")
    reader = log_query.LogReader(directory or settings.log_dir)
    printed = _printed(
        _newest(reader.read(query_filter), limit),
        lambda line: line.raw if as_json else log_query.format_line(line, tz),
    )
    if reader.unreadable:
        click.echo(f"{reader.unreadable} lines are torn or not Flowledger's: left out", err=True)
    if not printed:
        click.echo(f"nothing matches in {reader.directory}", err=True)
    return 0 if printed else EXIT_NOTHING


def _newest(lines: Iterable[log_query.LogLine], limit: int | None) -> Iterable[log_query.LogLine]:
    return lines if limit is None else deque(lines, maxlen=limit)


def _printed(lines: Iterable[log_query.LogLine], text_of: Callable[[log_query.LogLine], str]) -> int:
    count = 0
    for count, line in enumerate(lines, 1):  # noqa: B007  # how many there were
        click.echo(text_of(line))
    return count
