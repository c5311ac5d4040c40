"""Links in messages by which an approver comes to a page and decides there.

A link names one wait, one approver and when it ends, and is signed; it counts once.  It is no key: on the
page the approver still shows one.  The secret is made once and kept in the ledger, so that every process of
an installation knows it, and nobody has to set it.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from flowledger.domain.workflows.steps import WaitKind
from flowledger.errors import ApprovalLinkError
from flowledger.ports import Clock, KeyValueStore
from flowledger.services.workflows.approving import Approving
from flowledger.workflow_ports import Execution, Wait, WorkflowStore

SECRET_KEY = "approval-link-secret"  # noqa: S105  the name under which the ledger keeps it
SECRET_BYTES = 32
LASTS = timedelta(days=7)
"""How long a link is valid where the approval itself has no end."""
LONGEST = 1_000
_PURPOSE = b"flowledger approval 1\0"


@dataclass(frozen=True, slots=True)
class ApprovalLink:
    """What a link leads to; ``vote_id`` is that of the one vote it stands for."""

    wait: Wait
    execution: Execution
    approver: str
    expires_at: datetime
    vote_id: str


@dataclass(frozen=True, slots=True)
class ApprovalLinks:
    """Makes links, reads them, and takes the votes that come by them."""

    store: WorkflowStore
    values: KeyValueStore
    approving: Approving
    clock: Clock

    def token(self, wait: Wait, approver: str) -> str:
        """Return the signed part of an approver's link; the same each time."""
        expires = wait.due_at or wait.since + LASTS
        text = f"{wait.id}.{int(expires.timestamp())}.{_encoded(approver.encode())}"
        return f"{text}.{self._signature(text)}"

    def read(self, token: str) -> ApprovalLink:
        """Return what a link leads to.

        :raises ApprovalLinkError: when it was changed, has expired, or its approval is gone.
        """
        text, _, signature = token.rpartition(".")
        is_ours = len(token) <= LONGEST and token.isascii()
        if not is_ours or not hmac.compare_digest(signature, self._signature(text)):
            raise ApprovalLinkError(
                "changed", "this link was changed, or is not complete: open it as it was sent"
            )
        number, expires, name = text.split(".")
        expires_at = datetime.fromtimestamp(int(expires), UTC)
        wait = self.store.wait(int(number))
        execution = None if wait is None else self.store.execution(wait.execution_id)
        if wait is None or execution is None or wait.kind is not WaitKind.APPROVAL:
            raise ApprovalLinkError("gone", "what this link leads to is no longer in the records")
        if self.clock() >= expires_at:
            raise ApprovalLinkError("expired", f"this link has expired on {expires_at:%Y-%m-%d %H:%M} UTC")
        digest = sha256(token.encode()).hexdigest()[:32]
        approver = urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
        return ApprovalLink(wait, execution, approver, expires_at, f"link-{digest}")

    def check_unused(self, link: ApprovalLink) -> None:
        """Refuse a link by which somebody has voted.

        :raises ApprovalLinkError: when it was used.
        """
        if any(vote.vote_id == link.vote_id for vote in self.store.votes(link.wait.id)):
            raise ApprovalLinkError("used", "this link was used already: it counts once")

    def vote(self, token: str, *, approved: bool, by: str, comment: str = "") -> ApprovalLink:
        """Take the vote of an approver who has come by a link and shown who they are.

        :raises ApprovalLinkError: when the link is somebody else's, was used, changed, or has expired;
            ForbiddenError: when the voter may not vote; RecordConflictError: when the approval is resolved.
        """
        link = self.read(token)
        if by != link.approver:
            raise ApprovalLinkError("somebody", f"this link is {link.approver}'s: {by} cannot decide by it")
        self.check_unused(link)
        self.approving.vote(
            link.execution.id,
            link.wait.key,
            approved=approved,
            by=by,
            comment=comment,
            vote_id=link.vote_id,
        )
        # Of two at once one was stored: the other one is told, unless it says the same.
        stored = next(each for each in self.store.votes(link.wait.id) if each.vote_id == link.vote_id)
        if (stored.approved, stored.comment) != (approved, comment):
            raise ApprovalLinkError("used", "this link was used already: it counts once")
        return link

    def _signature(self, text: str) -> str:
        digest = hmac.digest(self._secret(), _PURPOSE + text.encode("utf-8", "surrogatepass"), "sha256")
        return _encoded(digest)

    def _secret(self) -> bytes:
        stored: Any = self.values.value(SECRET_KEY)
        if stored is None:
            made = {"secret": secrets.token_hex(SECRET_BYTES)}
            # Of several processes the first one's stays.
            self.values.put_value(SECRET_KEY, made, self.clock())
            stored = self.values.value(SECRET_KEY)
        return bytes.fromhex(stored.value["secret"])


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")
