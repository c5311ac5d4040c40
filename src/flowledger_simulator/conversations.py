"""A chatflow's conversations and their messages (docs/dify-api.md "Conversations").

The runs of one person within two hours are one conversation; each run answers one message.
"""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from uuid import NAMESPACE_OID, uuid5

from flowledger_simulator.world import Account, EndUser, Json, SimulatedRun

BLOCK_S = 7_200
NO_PARENT = "00000000-0000-0000-0000-000000000000"


def conversation_id_of(run: SimulatedRun) -> str:
    """Return the id of the conversation that a run belongs to."""
    return str(uuid5(NAMESPACE_OID, f"conversation {run.author.id} {run.listed_at // BLOCK_S}"))


def message_id_of(run: SimulatedRun) -> str:
    """Return the id of the message that a run answers."""
    return str(uuid5(NAMESPACE_OID, f"message_id {run.id}"))


def conversations_of(
    runs: Sequence[SimulatedRun], order: str, shuffler: random.Random
) -> list[Sequence[SimulatedRun]]:
    """Return the conversations as their runs, oldest run first, by ``created_at`` or ``updated_at``.

    A ``-`` before the order puts the newest first.  Those of one time come in a new order for every call.
    """
    by_id = sorted(runs, key=lambda run: (conversation_id_of(run), run.started_us))
    conversations = [list(group) for _, group in groupby(by_id, conversation_id_of)]
    shuffler.shuffle(conversations)
    time_of = _updated_us if order.endswith("updated_at") else _created_us
    return sorted(conversations, key=time_of, reverse=order.startswith("-"))


def _created_us(runs: Sequence[SimulatedRun]) -> int:
    return runs[0].listed_at * 1_000_000


def _updated_us(runs: Sequence[SimulatedRun]) -> int:
    """Return the last change: the database's whole second at first, then the process's microsecond."""
    return _created_us(runs) if len(runs) == 1 else runs[-1].started_us


def conversation_row(runs: Sequence[SimulatedRun]) -> Json:
    """Return a row of the list."""
    first = runs[0]
    counts = Counter(run.status for run in runs if not run.gone)
    question = str(first.content.inputs(first).get("sys.query", ""))
    nobody: Json = {"like": 0, "dislike": 0}
    return {
        "id": conversation_id_of(first),
        "status": "normal",
        **_speaker(first),
        "from_end_user_session_id": first.author.session_id if isinstance(first.author, EndUser) else None,
        "from_account_name": first.author.name if isinstance(first.author, Account) else None,
        "name": question,
        "summary": question,
        "read_at": None,
        "created_at": first.listed_at,
        "updated_at": _updated_us(runs) // 1_000_000,
        "annotated": False,
        "model_config": {"model": None, "pre_prompt": None},
        "message_count": len(runs),
        "user_feedback_stats": nobody,
        "admin_feedback_stats": nobody,
        "status_count": {
            "success": counts["succeeded"],
            "failed": counts["failed"],
            "partial_success": counts["partial-succeeded"],
        },
    }


def _speaker(run: SimulatedRun) -> Json:
    is_account = isinstance(run.author, Account)
    return {
        "from_source": "console" if is_account else "api",
        "from_end_user_id": None if is_account else run.author.id,
        "from_account_id": run.author.id if is_account else None,
    }


def message_page(
    runs: Sequence[SimulatedRun], first: SimulatedRun | None, limit: int, shuffler: random.Random
) -> Json:
    """Return the newest messages of a conversation, or those strictly older than the second of ``first``.

    They are given oldest first; those of one second come in a new order for every call.
    """
    older = [run for run in runs if first is None or run.listed_at < first.listed_at]
    shuffler.shuffle(older)
    older.sort(key=lambda run: -run.listed_at)
    page = older[:limit]
    more = len(page) == limit and any(run.listed_at < page[-1].listed_at for run in older)
    return {"limit": limit, "has_more": more, "data": [_message_row(run) for run in reversed(page)]}


def _message_row(run: SimulatedRun) -> Json:
    inputs = run.content.inputs(run)
    return {
        "id": message_id_of(run),
        "conversation_id": conversation_id_of(run),
        "inputs": {name: value for name, value in inputs.items() if not name.startswith("sys.")},
        "query": str(inputs.get("sys.query", "")),
        "message": "",
        "message_tokens": 0,
        "answer": str((run.content.outputs(run) or {}).get("answer", "")),
        "answer_tokens": 0,
        "provider_response_latency": run.elapsed_time,
        **_speaker(run),
        "feedbacks": [],
        "workflow_run_id": run.id,
        "annotation": None,
        "annotation_hit_history": None,
        "created_at": run.listed_at,
        "agent_thoughts": [],
        "message_files": [],
        "metadata": {"annotation_reply": None, "retriever_resources": [], "usage": _usage(run)},
        "status": "error" if run.status == "failed" else "normal",
        "error": run.error if run.status == "failed" else None,
        "parent_message_id": NO_PARENT,
    }


def _usage(run: SimulatedRun) -> Json:
    prices = ("prompt_unit_price", "prompt_price_unit", "prompt_price", "completion_unit_price")
    return {
        "prompt_tokens": 0,
        **dict.fromkeys(prices, "0.0"),
        "completion_tokens": run.total_tokens,
        **dict.fromkeys(("completion_price_unit", "completion_price", "total_price"), "0.0"),
        "total_tokens": run.total_tokens,
        "currency": "USD",
        "latency": run.elapsed_time,
        "time_to_first_token": 0.378,
        "time_to_generate": 0.0,
    }
