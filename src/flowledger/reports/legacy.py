"""The old script's files, from rows of the service API (``rows.joined_row``)."""

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

from flowledger.domain.costs import decimal_of
from flowledger.domain.figures import Tally
from flowledger.domain.runs import (
    AppKey,
    Creator,
    Detail,
    Detailed,
    Entry,
    Missing,
    NodeExecution,
    Run,
    RunStatus,
)
from flowledger.reports import markdown_summary
from flowledger.reports.artifacts import naming, replacing, spool
from flowledger.reports.cells import as_mapping
from flowledger.reports.csv_files import CsvSet
from flowledger.reports.json_file import write_document
from flowledger.reports.json_text import JsonStyle, parse
from flowledger.reports.markdown import MarkdownDocument
from flowledger.reports.markdown_run import RunSection
from flowledger.reports.markdown_style import VERBATIM
from flowledger.reports.paging import Paging
from flowledger.reports.pairs import OLD_SCRIPT
from flowledger.reports.rows import Row
from flowledger.reports.texts import ZH

_APP = AppKey("dify", "")
_JSON = JsonStyle(bare=True)
_NO_DETAIL = "not asked for"


def save_json(path: Path, rows: Iterable[Row], *, before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    """Write rows under ``data`` between outer keys, whole or not at all, and give their number.

    Everything: ``before={"total": n}, after={"has_more": False}``.  One page: ``before`` with page, limit,
    total and has_more, ``after={}``.

    :raises StorageError: when the file cannot be written.
    """
    with replacing(path) as out, naming(path):
        return write_document(out, rows, before=before, after=after, style=_JSON)


def json_text(rows: Sequence[Row], *, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Give what ``save_json`` writes as a text for the console, without a line end."""
    with tempfile.SpooledTemporaryFile(max_size=1 << 24) as out:
        write_document(out, rows, before=before, after=after, style=_JSON)  # type: ignore[arg-type]
        out.seek(0)
        return out.read().decode()


def save_markdown(
    path: Path, rows: Iterable[Row], paging: Paging, *, generated_at: datetime, tz: tzinfo | None
) -> int:
    """Write the old document, whole or not at all, and give the number of runs.

    Times are shown in ``tz`` (None: the machine's zone).

    :raises StorageError: when the file cannot be written.
    """
    with replacing(path) as out, spool(path) as body, naming(path):
        document = MarkdownDocument(RunSection(ZH, VERBATIM, tz), body)
        for row in rows:
            document.add(row)
        summary = [
            *markdown_summary.title(ZH, generated_at, tz),
            *markdown_summary.totals(ZH, VERBATIM, paging, document.statuses),
        ]
        document.finish(summary, out)
        return document.count


def save_csv(directory: Path, rows: Iterable[Row], *, tz: tzinfo | None) -> Sequence[Path]:
    """Write the four CSV files, each whole or not at all, in the order the old script names them.

    Days and times are of ``tz`` (None: the machine's zone).  An empty ``rows`` writes them too.

    :raises StorageError: when a file cannot be written.
    """
    with naming(directory):
        directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=directory))
    try:
        written = _write_csv(staging, rows, tz)
        with naming(directory):
            return [path.replace(directory / path.name) for path in written]
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_csv(staging: Path, rows: Iterable[Row], tz: tzinfo | None) -> Sequence[Path]:
    files = CsvSet(staging, ZH, tz, limits=OLD_SCRIPT)
    tally = Tally(tz, now=datetime.fromtimestamp(0, UTC))  # nothing is stuck in the old reports
    try:
        for row in rows:
            entry = entry_of(row)
            files.add(entry)
            tally.add(entry)
        return files.finish(tally.figures())
    finally:
        files.close()


def entry_of(row: Row) -> Entry:
    """Read a row for the CSV files: what they show of it, leniently, and nothing else."""
    run, detail = as_mapping(row.get("workflow_run")), as_mapping(row.get("workflow_run_detail"))
    log_id = str(row.get("id") or "")
    tokens = decimal_of(detail.get("total_tokens")) or decimal_of(run.get("total_tokens")) or Decimal(0)
    return Entry(
        Run(
            app=_APP,
            run_id=str(run.get("id") or log_id),
            listed_at=_instant(row.get("created_at")),
            status=RunStatus.SUCCESS,
            source_status=str(run.get("status") or ""),
            log_id=log_id,
            gone=not run,
            creator=_creator(row),
            elapsed_s=decimal_of(run.get("elapsed_time")),
            total_tokens=int(tokens),
        ),
        _detail(detail, row.get("node_executions")),
    )


def _detail(detail: Row, nodes: Any) -> Detail:
    if not detail and not nodes:
        return Missing(_NO_DETAIL)
    executions = [_node(at, node) for at, node in enumerate(nodes or []) if isinstance(node, dict)]
    return Detailed(_object(detail.get("inputs")), _object(detail.get("outputs")), executions, {})


def _node(position: int, node: Row) -> NodeExecution:
    return NodeExecution(
        position=position,
        execution_id=str(node.get("id") or ""),
        node_id=str(node.get("node_id") or ""),
        node_type=str(node.get("node_type") or ""),
        title=str(node.get("title") or ""),
        status=str(node.get("status") or ""),
        process_data=_object(node.get("process_data")),
        outputs=_object(node.get("outputs")),
        metadata=_object(node.get("execution_metadata")),
    )


def _creator(row: Row) -> Creator | None:
    user, account = as_mapping(row.get("created_by_end_user")), as_mapping(row.get("created_by_account"))
    if session := user.get("session_id"):
        return Creator("end_user", session_id=str(session))
    if email := account.get("email"):
        return Creator("account", email=str(email))
    return None


def _object(value: Any) -> Row:
    """Objects come as such or as JSON text, depending on the release (contract.md §0.7)."""
    if isinstance(value, str):
        try:
            value = parse(value)
        except ValueError:
            return {}
    return as_mapping(value)


def _instant(value: Any) -> datetime:
    return datetime.fromtimestamp(float(decimal_of(value) or 0), UTC)
