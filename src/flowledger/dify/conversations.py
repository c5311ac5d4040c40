"""Reads what the console tells of a chatflow's conversations (docs/dify-api.md "Conversations")."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from flowledger.dify import list_answers, parsing
from flowledger.dify.endpoints import Console
from flowledger.domain.conversation_scan import (
    PAGE_ROWS,
    Conversation,
    ConversationPage,
    Message,
    MessagePage,
)
from flowledger.domain.runs import AppKey, Creator, Run, RunStatus
from flowledger.errors import SourceGarbledError, SourceRefusedError
from flowledger.io.json_text import dumps_lossless

Row = Mapping[str, Any]
Read = TypeVar("Read")


FORBIDDEN, NOT_FOUND = 403, 404


def read_page(console: Console, app: AppKey, page: int) -> ConversationPage:
    """Read one page of an app's conversations, the last changed first.

    :raises SourceRefusedError: to who may not edit the app.
    """
    try:
        body = console.conversations(app.app_id, page)
    except SourceRefusedError as error:
        if error.status != FORBIDDEN:
            raise
        raise SourceRefusedError(
            f"app {app}: up to Dify 1.9.1 only conversations lead to a chatflow's runs, and the"
            f" console account may not read them: make it an editor of the workspace; {error}",
            status=FORBIDDEN,
        ) from error
    return conversation_page(app, body, page)


def read_messages(
    console: Console, app: AppKey, conversation: Conversation, before: str | None
) -> MessagePage:
    """Read the newest messages of a conversation, or those before the second of one; none once it is gone."""
    try:
        body = console.messages(app.app_id, conversation.conversation_id, before)
    except SourceRefusedError as error:
        if error.status != NOT_FOUND:
            raise
        return MessagePage((), False, "listed a conversation and then did not know it")
    return message_page(app, body, conversation)


def conversation_page(app: AppKey, body: Row, page: int) -> ConversationPage:
    """Return a page of an app's conversations.

    :raises SourceGarbledError: when the answer is no list.
    """
    rows = parsing.page_rows(body, f"app {app}")
    conversations, problem = _read_all(rows, _conversation)
    problem = list_answers.error_in(body) or problem or list_answers.wrong_echo(body, PAGE_ROWS, page)
    total = parsing.total(body, f"app {app}")
    return ConversationPage(conversations, total, body.get("has_more") is True, problem)


def message_page(app: AppKey, body: Row, conversation: Conversation) -> MessagePage:
    """Return a page of a conversation's messages, which the console gives oldest first.

    :raises SourceGarbledError: when the answer is no list.
    """
    rows = parsing.page_rows(body, f"app {app}, conversation {conversation.conversation_id}")
    messages, problem = _read_all(rows[::-1], lambda row: _message(app, row, conversation))
    problem = list_answers.error_in(body) or problem or list_answers.wrong_echo(body, PAGE_ROWS)
    ids = {each.message_id for each in messages}
    if len(ids) != len(messages):
        problem = problem or "listed one message twice on a page"
    return MessagePage(messages, body.get("has_more") is True, problem)


def _read_all(rows: Sequence[Row], read: Callable[[Row], Read]) -> tuple[list[Read], str]:
    """Return what can be read, and what is wrong with the first row that cannot."""
    found: list[Read] = []
    problem = ""
    for row in rows:
        try:
            found.append(read(row))
        except SourceGarbledError as error:
            problem = problem or list_answers.unfiled(error)
    return found, problem


def _conversation(row: Row) -> Conversation:
    began, changed = parsing.instant(row.get("created_at")), parsing.instant(row.get("updated_at"))
    if not row.get("id") or began is None or changed is None:
        raise SourceGarbledError(f"a conversation has no id or no time: {parsing.excerpt(row)}")
    return Conversation(
        conversation_id=str(row["id"]),
        began=int(began.timestamp()),
        changed=int(changed.timestamp()),
        messages=parsing.integer(row.get("message_count")),
        creator=_creator(row),
    )


def _creator(row: Row) -> Creator | None:
    account, user = parsing.text(row.get("from_account_id")), parsing.text(row.get("from_end_user_id"))
    if account:
        return Creator("account", id=account, name=parsing.text(row.get("from_account_name")))
    if user:
        session = parsing.text(row.get("from_end_user_session_id"))
        return Creator("end_user", id=user, name=session, session_id=session)
    return None


def _message(app: AppKey, row: Row, conversation: Conversation) -> Message:
    at = parsing.instant(row.get("created_at"))
    if not row.get("id") or at is None:
        raise SourceGarbledError(f"a message has no id or no time: {parsing.excerpt(row)}")
    run_id = parsing.text(row.get("workflow_run_id"))
    if not run_id:
        # An annotation answered it, or nothing did.
        return Message(str(row["id"]), int(at.timestamp()), None)
    run = Run(
        app=app,
        run_id=run_id,
        listed_at=at,
        # Its detail tells how it stands; until that was read it may be in any status.
        status=RunStatus.RUNNING,
        source_status="",
        log_id=run_id,
        creator=conversation.creator,
        raw=dumps_lossless(row),
    )
    return Message(str(row["id"]), int(at.timestamp()), run)
