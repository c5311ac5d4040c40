"""A chatflow's conversations and messages, held against what a real release answered."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowledger.dify.conversations import conversation_page, message_page
from flowledger.domain.conversation_scan import Conversation
from flowledger.domain.runs import AppKey, Creator, RunStatus
from flowledger.errors import SourceGarbledError
from flowledger.io.json_text import loads

RECORDINGS = Path(__file__).parents[2] / "data" / "recordings"
APP = AppKey("dify", "app")
USER = Creator("end_user", "841721cf-116e-47b7-ade6-10cb122f81f2", "chat-user-1", session_id="chat-user-1")
TALK = Conversation("ed97d74b-c9f4-40ba-9f7e-6ac4b4299998", 1795308107, 1795308107, 1, USER)


def recorded(name: str, **changes: Any) -> dict[str, Any]:
    """The body of a recorded answer, with the limit that is asked for."""
    body = json.loads((RECORDINGS / f"console_chatflow_{name}.json").read_text("utf-8"))["response"]["body"]
    return {**body, "limit": 100, **changes}


def test_recorded_conversations_are_read_with_their_people() -> None:
    """Ids, both times, the number of messages and who speaks."""
    page = conversation_page(APP, recorded("chat-conversations"), 1)
    assert (page.total, page.has_more, page.problem) == (5, True, "")
    assert page.conversations[1] == TALK
    assert [each.changed for each in page.conversations] == [1795308108, 1795308107, 1795308106]


def test_recorded_messages_name_their_runs() -> None:
    """A run has the user of its conversation, and no state until its detail is read; the row is kept."""
    body = recorded("chat-messages")
    page = message_page(APP, body, TALK)
    (message,) = page.messages
    run = message.run
    assert run
    assert (page.has_more, page.problem, message.second) == (False, "", 1795308107)
    assert (run.run_id, run.creator) == ("723457ef-e8ae-4baf-a5c0-191f5acb275f", USER)
    assert (run.status, run.source_status) == (RunStatus.RUNNING, "")
    assert run.listed_at == datetime.fromtimestamp(1795308107, UTC)
    assert loads(run.raw) == body["data"][0]


def test_an_account_speaks_too() -> None:
    """Members who use an app are named as they are elsewhere."""
    row = recorded("chat-conversations")["data"][0]
    row |= {"from_end_user_id": None, "from_account_id": "a-1", "from_account_name": "Ops"}
    page = conversation_page(APP, {"data": [row], "total": 1, "has_more": False}, 1)
    assert page.conversations[0].creator == Creator("account", "a-1", "Ops")


def test_a_message_without_a_run_is_none() -> None:
    """An annotation answered it."""
    body = recorded("chat-messages")
    body["data"][0]["workflow_run_id"] = None
    assert message_page(APP, body, TALK).messages[0].run is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"page": 2}, "answered with page 2, not 1"),
        ({"limit": 20}, "answered with a limit of 20 where 100 was asked"),
        ({"code": "unknown", "message": "boom"}, "answered with an error beside the rows (boom)"),
    ],
)
def test_an_answer_about_something_else_is_said(change: dict[str, Any], problem: str) -> None:
    """Its rows count, but prove nothing."""
    page = conversation_page(APP, recorded("chat-conversations", **change), 1)
    assert (page.problem, len(page.conversations)) == (problem, 3)


@pytest.mark.parametrize("name", ["id", "created_at", "updated_at"])
def test_a_conversation_that_cannot_be_filed_is_said(name: str) -> None:
    """The others are read."""
    body = recorded("chat-conversations")
    body["data"][0][name] = None
    page = conversation_page(APP, body, 1)
    assert page.problem.startswith("listed a row that cannot be filed (a conversation has no id or no time: ")
    assert len(page.conversations) == 2


@pytest.mark.parametrize(("name", "value"), [("id", ""), ("created_at", "soon")])
def test_a_message_that_cannot_be_filed_is_said(name: str, value: str) -> None:
    """It may be one of the window."""
    body = recorded("chat-messages")
    body["data"][0][name] = value
    page = message_page(APP, body, TALK)
    assert page.problem.startswith("listed a row that cannot be filed (a message has no id or no time: ")
    assert page.messages == []


def test_messages_come_oldest_first_and_are_read_newest_first() -> None:
    """One that comes twice on a page is said."""
    row = recorded("chat-messages")["data"][0]
    rows = [{**row, "id": str(number), "created_at": number} for number in (1, 2, 2)]
    page = message_page(APP, {"data": rows, "has_more": False}, TALK)
    assert [each.second for each in page.messages] == [2, 2, 1]
    assert page.problem == "listed one message twice on a page"


@pytest.mark.parametrize("read", [conversation_page, message_page])
def test_an_answer_without_rows_is_an_error(read: Any) -> None:
    """It never passes for an empty list."""
    with pytest.raises(SourceGarbledError):
        read(APP, {"code": "unauthorized"}, TALK)
