"""Parses Dify's answers into runs, node executions and details; pure, for all recorded releases."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from flowledger.domain.costs import metadata_price
from flowledger.domain.merging import merge
from flowledger.domain.numbers import LARGEST, decimal_of, integer_of
from flowledger.domain.runs import (
    AppKey,
    Creator,
    Detailed,
    Json,
    Missing,
    NodeExecution,
    Run,
    RunStatus,
)
from flowledger.domain.windows import LATEST
from flowledger.errors import SourceGarbledError
from flowledger.io.json_text import dumps_lossless, loads

LATEST_SECOND = 253_402_300_799  # 9999-12-31: beyond it an epoch is milliseconds
SHOWABLE = range(LATEST + 1)
"""Seconds that every zone can show; other times are none."""


def text(value: Any) -> str | None:
    """Return text as it is, None for nothing, anything else as its JSON text."""
    if value is None or type(value) is str:
        return value
    return dumps_lossless(value).decode()


def number(value: Any) -> Decimal | None:
    """Return a number or a number's text as a decimal; None for nothing, words and what is beyond bounds."""
    return None if value is None else decimal_of(value)


def integer(value: Any) -> int | None:
    """Return a whole number of 64 bits or its text as an integer; None for what is not one."""
    if value is None or (type(value) is int and abs(value) <= LARGEST):
        return value
    return integer_of(value)


def instant(value: Any) -> datetime | None:
    """Return epoch seconds (or milliseconds), ISO 8601 or RFC 822 text (before 1.2.0) as aware UTC."""
    if type(value) is int and value in SHOWABLE:
        return datetime.fromtimestamp(value, UTC)
    seconds = number(value)
    if seconds is not None:
        return _epoch(seconds)
    return _written(value) if isinstance(value, str) else None


def _epoch(seconds: Decimal) -> datetime | None:
    if seconds > LATEST_SECOND:
        seconds /= 1000
    return datetime.fromtimestamp(float(seconds), UTC) if 0 <= seconds <= LATEST else None


def _written(value: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(value)
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
        return moment if int(moment.timestamp()) in SHOWABLE else None
    return None


def mapping(value: Any) -> Mapping[str, Any] | None:
    """Return an object, or what an object's JSON text (run details up to 1.12); None for nothing.

    Any other value is stored under the empty name, so that it reaches the report and is not lost.
    """
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = loads(value)
        except (ValueError, RecursionError):
            return {"": value}
    if value is None or isinstance(value, dict):
        return value
    return {"": value}


SOURCE = "dify"
STATUSES: Mapping[str, RunStatus] = {
    "succeeded": RunStatus.SUCCESS,
    "partial-succeeded": RunStatus.PARTIAL,
    "failed": RunStatus.FAILED,
    "stopped": RunStatus.CANCELLED,
    "running": RunStatus.RUNNING,
    "paused": RunStatus.PAUSED,
    "scheduled": RunStatus.PENDING,
}
TRUNCATION_FLAGS = tuple((name, f"{name}_truncated") for name in ("inputs", "process_data", "outputs"))
ANSWER_NODE = "answer"
END_NODES = frozenset({"end", ANSWER_NODE})
WITHOUT_ERROR = frozenset({RunStatus.SUCCESS, RunStatus.PARTIAL})
"""Such runs have no error of their own, and outputs."""
START_NODES = frozenset({"start"})
UNFINISHED_NODES = frozenset({"running", "pending"})
"""A paused node of an ended run is no contradiction: it waited for a person until the run was stopped."""
EPOCH = datetime.fromtimestamp(0, UTC)


def run_status(word: str | None, *, ended: bool) -> RunStatus:
    """Return the status for Dify's word; an unknown word is open while there is no end time, else failed."""
    return STATUSES.get(word or "", RunStatus.FAILED if ended else RunStatus.RUNNING)


def page_rows(body: Any, where: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a list answer; anything but a list of objects under ``data`` is an error.

    :raises SourceGarbledError: so that an error object never passes for an empty list.
    """
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SourceGarbledError(
            f"{where}: the answer holds no list of rows; is a proxy answering in Dify's place?"
        )
    return rows


def total(body: Any, where: str) -> int:
    """Return the total of a list answer.

    :raises SourceGarbledError: when there is none.
    """
    count = integer(body.get("total")) if isinstance(body, dict) else None
    if count is None or count < 0:
        raise SourceGarbledError(f"{where}: the answer holds no total; is a proxy answering in Dify's place?")
    return count


def log_run(app: AppKey, row: Mapping[str, Any]) -> Run:
    """Return the run of a row of the log list; a row whose run is gone (``workflow_run: null``) is a run too.

    A row without a usable time is filed by the run's own, which can be a second earlier.

    :raises SourceGarbledError: when the row has no id or no time.
    """
    run = row.get("workflow_run")
    if not isinstance(run, dict) or not run.get("id"):
        run = {}
    log_id = text(row.get("id"))
    listed_at = instant(row.get("created_at")) or instant(run.get("created_at"))
    if not log_id or listed_at is None:
        raise SourceGarbledError(f"app {app}: a log row has no id or no time: {excerpt(row)}")
    if not run:
        return _gone_run(app, row, log_id, listed_at)
    return replace(
        _run(app, run, listed_at),
        log_id=log_id,
        created_from=text(row.get("created_from")),
        creator=creator(row),
        raw=dumps_lossless(row),
    )


def cursor_run(app: AppKey, row: Mapping[str, Any]) -> Run:
    """Return the run of one row of the console's ``workflow-runs`` list, listed at the run's own time.

    :raises SourceGarbledError: when the row has no id or no time.
    """
    listed_at = instant(row.get("created_at"))
    if not row.get("id") or listed_at is None:
        raise SourceGarbledError(f"app {app}: a workflow run has no id or no time: {excerpt(row)}")
    run = _run(app, row, listed_at)
    return replace(run, log_id=run.run_id, creator=creator(row), raw=dumps_lossless(row))


def refreshed_run(run: Run, detail: Mapping[str, Any]) -> Run:
    """Return a run brought up to date from its detail (service or console); ``raw`` stays the listed row."""
    now = _run(run.app, {**detail, "id": run.run_id}, run.listed_at)
    return merge(run, replace(now, creator=creator(detail)))


def _run(app: AppKey, run: Mapping[str, Any], listed_at: datetime) -> Run:
    finished_at = instant(run.get("finished_at"))
    word = text(run.get("status")) or ""
    return Run(
        app=app,
        run_id=str(run["id"]),
        listed_at=listed_at,
        status=run_status(word, ended=finished_at is not None),
        source_status=word,
        workflow_version=text(run.get("version")),
        error=text(run.get("error")),
        elapsed_s=number(run.get("elapsed_time")),
        total_tokens=integer(run.get("total_tokens")),
        total_steps=integer(run.get("total_steps")),
        exceptions_count=integer(run.get("exceptions_count")),
        started_at=instant(run.get("created_at")),
        finished_at=finished_at,
    )


def _gone_run(app: AppKey, row: Mapping[str, Any], log_id: str, listed_at: datetime) -> Run:
    return Run(
        app=app,
        run_id=f"log:{log_id}",
        listed_at=listed_at,
        status=RunStatus.INTERRUPTED,
        source_status="",
        log_id=log_id,
        gone=True,
        created_from=text(row.get("created_from")),
        creator=creator(row),
        raw=dumps_lossless(row),
    )


def creator(row: Mapping[str, Any]) -> Creator | None:
    """Return who started a run: an account, else an end user, else the bare role, else None."""
    account, user = row.get("created_by_account"), row.get("created_by_end_user")
    role = text(row.get("created_by_role"))
    if isinstance(account, dict):
        email = text(account.get("email"))
        name = text(account.get("name")) or email
        return Creator(role or "account", id=text(account.get("id")), name=name, email=email)
    if isinstance(user, dict):
        session = text(user.get("session_id"))
        return Creator(role or "end_user", id=text(user.get("id")), name=session, session_id=session)
    return Creator(role) if role else None


def run_with_creator(run: Run, rows: Sequence[Mapping[str, Any]]) -> Run:
    """Return a run with who started it, as its node executions say, where its own row does not."""
    if run.creator is not None:
        return run
    return replace(run, creator=next((person for row in rows if (person := creator(row))), None))


def nodes(body: Any, where: str) -> tuple[NodeExecution, ...]:
    """Return node executions in the array's order, not ``index`` (docs/dify-api.md "Node executions")."""
    return tuple(_node(position, row) for position, row in enumerate(page_rows(body, where)))


def _node(position: int, row: Mapping[str, Any]) -> NodeExecution:
    get = row.get
    metadata = get("execution_metadata")
    price, currency = metadata_price(metadata)
    tokens = integer(metadata.get("total_tokens")) if isinstance(metadata, dict) else None
    return NodeExecution(
        position=position,
        execution_id=text(get("id")) or "",
        node_id=text(get("node_id")) or "",
        node_type=text(get("node_type")) or "",
        title=text(get("title")) or "",
        status=text(get("status")) or "",
        index=integer(get("index")),
        error=text(get("error")),
        elapsed_s=number(get("elapsed_time")),
        total_tokens=tokens,
        total_price=price,
        currency=currency,
        started_at=instant(get("created_at")),
        finished_at=instant(get("finished_at")),
        inputs=get("inputs"),
        process_data=get("process_data"),
        outputs=get("outputs"),
        metadata=metadata,
        truncated=tuple([name for name, flag in TRUNCATION_FLAGS if get(flag) is True]),
    )


def run_detail(body: Any, where: str) -> Mapping[str, Any] | None:
    """Return a run's detail, or None for the nulls of an unknown run (docs/dify-api.md "Run detail").

    :raises SourceGarbledError: when it is not an object that could be one.
    """
    if not isinstance(body, dict) or "status" not in body or "inputs" not in body:
        raise SourceGarbledError(
            f"{where}: the answer is no run detail; is a proxy answering in Dify's place?"
        )
    return body if body.get("id") else None


def is_self_contained(run: Run, executions: Sequence[NodeExecution]) -> bool:
    """Return whether node executions hold a run's inputs and outputs (docs/dify-api.md "Fewer requests").

    Several answers of a chatflow are one text in its outputs, which releases join differently.
    """
    starts = [node for node in executions if node.node_type in START_NODES]
    ends = [node for node in executions if node.node_type in END_NODES]
    return (
        not run.status.is_open
        and bool(starts)
        and "inputs" not in starts[0].truncated
        and (bool(ends) or run.status not in WITHOUT_ERROR)
        and not any("outputs" in end.truncated for end in ends)
        and (len(ends) <= 1 or all(end.node_type != ANSWER_NODE for end in ends))
    )


def contradicts(run: Run, executions: Sequence[NodeExecution]) -> bool:
    """Return whether node executions cannot be all of a run's.

    An empty list is also the answer for a run of another app, and an ended run's last nodes may be written
    after it.  How many there are proves nothing: steps count retries, but no nodes of iterations
    (docs/dify-api.md "Node executions").
    """
    if not executions:
        return bool(run.total_steps)
    return not run.status.is_open and any(node.status in UNFINISHED_NODES for node in executions)


def decode(run: Run, raw: Mapping[str, bytes], why_no_nodes: str) -> Detailed:
    """Return a detail rebuilt from its stored raw answers (``ports.Decoder``)."""
    executions: Sequence[NodeExecution] | Missing = Missing(why_no_nodes)
    if "nodes" in raw:
        executions = nodes(loads(raw["nodes"]), f"run {run.run_id}")
    stated = raw.get("detail") or raw.get("console_detail")
    return assemble(run, executions, loads(stated) if stated else None, raw)


def assemble(
    run: Run,
    executions: Sequence[NodeExecution] | Missing,
    stated: Mapping[str, Any] | None,
    raw: Mapping[str, bytes],
) -> Detailed:
    """Return a detail made of node executions and, where it was read, the run detail."""
    inputs, outputs = _rebuilt(run, () if isinstance(executions, Missing) else executions)
    if stated is not None:
        # A chatflow's start node has the conversation, its run does not (observed on 1.12.1).
        inputs = {**(inputs or {}), **(mapping(stated.get("inputs")) or {})}
        outputs = mapping(stated.get("outputs"))
    return Detailed(inputs, outputs, executions, raw)


def _rebuilt(
    run: Run, executions: Sequence[NodeExecution]
) -> tuple[Mapping[str, Json] | None, Mapping[str, Json] | None]:
    inputs = next((mapping(node.inputs) for node in executions if node.node_type in START_NODES), None)
    outputs: dict[str, Json] = {}
    for node in executions:
        if node.node_type in END_NODES:
            outputs |= mapping(node.outputs) or {}
    return inputs, outputs if outputs and run.status in WITHOUT_ERROR else None


def excerpt(row: Mapping[str, Any]) -> str:
    """Return the beginning of a row, for messages."""
    return dumps_lossless(row)[:200].decode("utf-8", "replace")
