"""Records that other programs keep here, as runs: workflow executions (source ``log``) and Coze's (``coze``).

A record is a JSON object in the words of its own service.  It is kept whole as the run's ``raw``; all other
fields of the run follow from it, so that it is one list with the runs of Dify and comes back as it was given.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from flowledger.domain.numbers import integer_of
from flowledger.domain.runs import AppKey, Creator, Detailed, Json, Missing, Run, RunStatus

LOG = "log"
COZE = "coze"
NO_NODES = Missing("the recording program tells of no nodes", permanent=True)
_SYNONYMS: Mapping[RunStatus, str] = {
    RunStatus.PENDING: "created queued waiting scheduled submitted 等待中 排队中 待执行",
    RunStatus.RUNNING: "started in_progress executing processing retrying 运行中 执行中 进行中",
    RunStatus.PAUSED: "suspended awaiting_approval pending_approval 暂停 已暂停",
    RunStatus.SUCCESS: "succeeded successful completed complete finished done ok 成功 完成 已完成",
    RunStatus.PARTIAL: "partial_success partial-succeeded partially_completed 部分成功",
    RunStatus.FAILED: "fail failure error errored exception timeout timed_out crashed 失败 超时 出错",
    RunStatus.CANCELLED: "canceled stopped aborted terminated rejected skipped 取消 已取消 已停止",
    RunStatus.INTERRUPTED: "interrupt 中断 已中断",
}
_WORDS = {word: status for status, words in _SYNONYMS.items() for word in (status.value, *words.split())}


def status_from_word(word: str) -> RunStatus | None:
    """Return the status a word stands for; None where only its own program knows."""
    return _WORDS.get(word.strip().lower().replace(" ", "_"))


def status_of(word: str, *, ended: bool) -> RunStatus:
    """Return the status a word stands for; of an unknown word only whether the run has ended is known."""
    return status_from_word(word) or (RunStatus.PARTIAL if ended else RunStatus.RUNNING)


def raw_of(record: Mapping[str, Json]) -> bytes:
    """Write a record as it is kept: exact, its keys in the order given."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def record_of(run: Run) -> dict[str, Any]:
    """Return the record a run was made of."""
    record: dict[str, Any] = json.loads(run.raw.decode("utf-8", "surrogatepass"))
    return record


def instant_of(value: Json) -> datetime | None:
    """Read aware ISO 8601, or milliseconds since 1970; text without zone is UTC.  None for anything else."""
    try:
        if isinstance(value, str):
            instant = datetime.fromisoformat(value)
            return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=value)
    except (ValueError, OverflowError):
        return None
    return None


def logged_run(record: Mapping[str, Json]) -> Run:
    """Make a run of a logged execution: execution_id, workflow_id, status, start_time, end_time …."""
    started = instant_of(record.get("start_time"))
    ended = instant_of(record.get("end_time"))
    word = str(record.get("status") or "running")
    user = record.get("user")
    usage = record.get("usage")
    return Run(
        app=AppKey(LOG, str(record["workflow_id"])),
        run_id=str(record["execution_id"]),
        listed_at=started or ended or datetime.fromtimestamp(0, UTC),
        status=status_of(word, ended=ended is not None),
        source_status=word,
        creator=_starter(user),
        error=_text(record.get("error") or record.get("error_message")),
        elapsed_s=_seconds(started, ended),
        total_tokens=_tokens(usage if usage is not None else record),
        started_at=started,
        finished_at=ended,
        raw=raw_of(record),
    )


def coze_run(record: Mapping[str, Json]) -> Run:
    """Make a run of a Coze execution: execute_id, workflow_id, create_time (ms), execute_status …."""
    started = instant_of(record.get("create_time")) or datetime.fromtimestamp(0, UTC)
    word = str(record.get("execute_status") or "running")
    status = status_of(word, ended=False)
    ended = None if status.is_open else instant_of(record.get("update_time"))
    user = record.get("connector_uid") or record.get("user_id")
    return Run(
        app=AppKey(COZE, str(record["workflow_id"])),
        run_id=str(record["execute_id"]),
        listed_at=started,
        status=status,
        source_status=word,
        creator=_starter(user, record.get("conversation_id")),
        error=_text(record.get("error_message")),
        elapsed_s=_seconds(started, ended),
        total_tokens=_tokens(record.get("usage")),
        started_at=started,
        finished_at=ended,
        raw=raw_of(record),
    )


def logged_detail(run: Run, _raws: Mapping[str, bytes], _why: str) -> Detailed:
    """Rebuild the detail of a logged execution: its context goes in, its task results come out."""
    record = record_of(run)
    return Detailed(_object(record.get("context")), _object(record.get("task_results")), NO_NODES, {})


def coze_detail(run: Run, _raws: Mapping[str, bytes], _why: str) -> Detailed:
    """Rebuild the detail of a Coze execution."""
    record = record_of(run)
    return Detailed(_object(record.get("input_parameters")), _object(record.get("output")), NO_NODES, {})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of record: the names of its ids, and what it becomes."""

    run_field: str
    to_run: Callable[[Mapping[str, Json]], Run]
    to_detail: Callable[[Run, Mapping[str, bytes], str], Detailed]

    def run_and_detail(self, record: Mapping[str, Json]) -> tuple[Run, Detailed]:
        """Return what a ledger keeps of a record."""
        run = self.to_run(record)
        return run, self.to_detail(run, {}, "")


KINDS: Mapping[str, Kind] = {
    LOG: Kind("execution_id", logged_run, logged_detail),
    COZE: Kind("execute_id", coze_run, coze_detail),
}
"""Source → its kind of record."""


def _starter(user: Json, session: Json = None) -> Creator | None:
    return Creator("user", str(user), str(user), session_id=_text(session)) if user else None


def _text(value: Json) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _object(value: Json) -> Mapping[str, Json] | None:
    if value is None:
        return None
    return value if isinstance(value, dict) else {"value": value}


def _seconds(started: datetime | None, ended: datetime | None) -> Decimal | None:
    if started is None or ended is None or ended < started:
        return None
    return Decimal((ended - started) // timedelta(microseconds=1)) / 1_000_000


def _tokens(usage: Json) -> int | None:
    if not isinstance(usage, dict):
        return None
    count = next(
        (usage[name] for name in ("total_tokens", "tokens", "token_count") if usage.get(name) is not None),
        None,
    )
    return integer_of(count)
