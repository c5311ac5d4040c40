"""``/approvals/{token}``: the page that a message's link leads to, where an approver logs in and decides.

Opening it changes nothing: mail programs and chat servers open links too.  It is one form without scripts;
the key goes with the decision and is kept nowhere.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from flowledger.api.backend import backend_of
from flowledger.api.body_limit import OPEN_PAGES
from flowledger.api.workflow_access import app_of, services_of
from flowledger.domain.access_keys import Caller, Role
from flowledger.domain.operations import Operation
from flowledger.domain.workflows import approvals
from flowledger.errors import ApprovalLinkError, ForbiddenError, RecordConflictError, UsageError
from flowledger.services.workflows.approval_links import ApprovalLink
from flowledger.services.workflows.approving import LONGEST_COMMENT

router = APIRouter(include_in_schema=False)
MOST_FIELDS = 8
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
STATUSES: Mapping[str, int] = {"changed": 404, "gone": 404, "expired": 410, "used": 409, "somebody": 403}
WORDS: Mapping[str, Mapping[str, str]] = {
    "zh": {
        "title": "审批",
        "workflow": "工作流",
        "execution": "执行",
        "step": "步骤",
        "asked": "事项",
        "requester": "发起人",
        "approvers": "审批人",
        "needed": "需同意人数",
        "due": "截止",
        "for": "此链接属于",
        "key": "密钥（登录）",
        "comment": "意见",
        "approve": "同意",
        "reject": "拒绝",
        "approved": "已记录：同意。可以关闭此页。",
        "rejected": "已记录：拒绝。可以关闭此页。",
        "resolved": "此审批已有结果，不再接受意见。",
        "changed": "链接不完整或被改动过，请按原样打开。",
        "gone": "链接所指的审批已不在记录中。",
        "expired": "链接已过期。",
        "used": "链接已使用过，仅一次有效。",
        "somebody": "此链接属于另一位审批人，您不能用它决定。",
        "login": "密钥无效、已吊销或已过期。",
        "wait": "尝试次数过多，请稍后再试。",
        "forbidden": "您或此密钥的角色不能审批此步骤。",
        "form": "请选择同意或拒绝；意见不能过长。",
    },
    "en": {
        "title": "Approval",
        "workflow": "Workflow",
        "execution": "Execution",
        "step": "Step",
        "asked": "Asked",
        "requester": "Started by",
        "approvers": "Approvers",
        "needed": "Approvals needed",
        "due": "Until",
        "for": "This link is for",
        "key": "Key (log in)",
        "comment": "Comment",
        "approve": "Approve",
        "reject": "Reject",
        "approved": "Recorded: approved. You may close this page.",
        "rejected": "Recorded: rejected. You may close this page.",
        "resolved": "This approval is resolved and takes no more votes.",
        "changed": "The link is not complete, or was changed: open it as it was sent.",
        "gone": "The approval that the link leads to is no longer in the records.",
        "expired": "The link has expired.",
        "used": "The link was used already; it counts once.",
        "somebody": "The link is for somebody else: you cannot decide by it.",
        "login": "The key is unknown, revoked or expired.",
        "wait": "Too many tries: wait a little.",
        "forbidden": "You, or the role of this key, may not approve of this step.",
        "form": "Choose to approve or to reject; a comment must not be too long.",
    },
}
Authenticate = Callable[[str], Awaitable[Caller]]


@router.get(OPEN_PAGES + "{token}")
async def show_approval_page(request: Request, token: str) -> HTMLResponse:
    """Show what is asked, and the form."""
    links = services_of(request).links
    try:
        link = await run_in_threadpool(links.read, token)
        await run_in_threadpool(links.check_unused, link)
    except ApprovalLinkError as error:
        return _told(request, error.why, STATUSES[error.why])
    if link.wait.resolved_at is not None:
        return _told(request, "resolved", 409)
    return _page(request, _facts(request, link) + _form(request))


@router.post(OPEN_PAGES + "{token}")
async def decide(request: Request, token: str) -> HTMLResponse:
    """Take the decision of an approver who shows a key with it."""
    try:
        link = await run_in_threadpool(services_of(request).links.read, token)
        try:
            word = await _decided(request, token, link)
        except HTTPException as error:  # of the log-in: another key may be good
            word = "wait" if error.status_code == 429 else "login"
            return _asked_again(request, link, word, error.status_code)
        except RecordConflictError:
            return _told(request, "resolved", 409)
        except UsageError:
            return _asked_again(request, link, "form", 422)
    except ApprovalLinkError as error:
        return _told(request, error.why, STATUSES[error.why])
    except ForbiddenError:
        return _told(request, "forbidden", 403)
    return _told(request, word, 200)


async def _decided(request: Request, token: str, link: ApprovalLink) -> str:
    """Take a vote, and return the word for it.

    :raises UsageError: when the form is none of ours; HTTPException: when the key opens nothing;
        ForbiddenError: when its owner may not decide; RecordConflictError: when the approval is resolved.
    """
    fields = await _fields(request)
    authenticate: Authenticate = request.scope["authenticate"]
    caller = await authenticate(fields["key"])
    if caller.role < Role.OPERATOR or not caller.reaches(app_of(link.execution.workflow_id)):
        raise ForbiddenError(f"the key of {caller.name} may not approve here")
    is_approved = fields["decision"] == "approve"
    links, comment = services_of(request).links, fields["comment"]
    await run_in_threadpool(lambda: links.vote(token, approved=is_approved, by=caller.name, comment=comment))
    await run_in_threadpool(_record, request, link, is_approved)
    return "approved" if is_approved else "rejected"


async def _fields(request: Request) -> dict[str, str]:
    """Return what was sent with the form.

    :raises UsageError: when it is none of ours.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    try:
        text = body.decode("ascii") if kind == "application/x-www-form-urlencoded" else ""
        sent = parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        sent = {}
    fields = {name: sent.get(name, [""])[0].strip() for name in ("key", "decision", "comment")}
    if fields["decision"] not in ("approve", "reject") or len(fields["comment"]) > LONGEST_COMMENT:
        raise UsageError("the form has no decision, or a comment that is too long")
    return fields


def _record(request: Request, link: ApprovalLink, is_approved: bool) -> None:
    backend = backend_of(request)
    app = app_of(link.execution.workflow_id)
    data = {"step": link.wait.key, "execution_id": link.execution.execution_id, "approved": is_approved}
    operation = Operation(f"workflow-{link.vote_id}", "VOTE", backend.clock(), link.approver, app, data=data)
    backend.ledger.record(operation)


# -------------------------------------------------------------------- the page


def _words(request: Request) -> Mapping[str, str]:
    return WORDS[services_of(request).language]


def _told(request: Request, word: str, status: int) -> HTMLResponse:
    return _page(request, _notice(request, word), status)


def _asked_again(request: Request, link: ApprovalLink, word: str, status: int) -> HTMLResponse:
    return _page(request, _notice(request, word) + _facts(request, link) + _form(request), status)


def _notice(request: Request, word: str) -> str:
    return f'<p role="status"><strong>{escape(_words(request)[word])}</strong></p>'


def _facts(request: Request, link: ApprovalLink) -> str:
    words, wait, execution = _words(request), link.wait, link.execution
    due = "" if wait.due_at is None else f"{wait.due_at.astimezone(backend_of(request).tz):%Y-%m-%d %H:%M %Z}"
    rows: Sequence[tuple[str, Any]] = (
        ("workflow", execution.workflow_name),
        ("execution", f"{execution.name} ({execution.execution_id})"),
        ("step", wait.key),
        ("asked", wait.facts.get("message")),
        ("requester", execution.requested_by),
        ("approvers", ", ".join(approvals.approvers_of(wait.facts))),
        ("needed", approvals.required_approvals(wait.facts)),
        ("due", due),
        ("for", link.approver),
    )
    cells = (
        f"<tr><th>{escape(words[name])}</th><td>{_text(value)}</td></tr>" for name, value in rows if value
    )
    return f"<table>{''.join(cells)}</table>"


def _text(value: object) -> str:
    return escape(str(value).encode("utf-8", "replace").decode())


def _form(request: Request) -> str:
    words = {name: escape(text) for name, text in _words(request).items()}
    return (
        '<form method="post" autocomplete="off">'
        f'<label>{words["key"]}<input type="password" name="key" autocomplete="off"></label>'
        f"<label>{words['comment']}"
        f'<textarea name="comment" rows="3" maxlength="{LONGEST_COMMENT}"></textarea></label>'
        f'<button name="decision" value="approve">{words["approve"]}</button> '
        f'<button name="decision" value="reject">{words["reject"]}</button></form>'
    )


STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:40em;margin:2em auto;padding:0 1em;color:#222}"
    "th{text-align:left;vertical-align:top;padding:2px 14px 2px 0;white-space:nowrap}"
    "td{white-space:pre-wrap;overflow-wrap:anywhere}label{display:block;margin:1em 0}"
    "input,textarea{display:block;width:100%;box-sizing:border-box;font:inherit}"
    "button{font:inherit;padding:.3em 1.5em}"
)


def _page(request: Request, body: str, status: int = 200) -> HTMLResponse:
    language = services_of(request).language
    title = escape(_words(request)["title"])
    whole = (
        f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>"
    )
    return HTMLResponse(whole, status, HEADERS)
