"""APPROVAL: people decide."""

from typing import ClassVar

from flowledger.nodes.options import ANYTHING, FLAG, SECONDS, TEXT, Schema, one_of, options


class ApprovalNode:
    """Waits until enough of its approvers have agreed; its output is who decided what."""

    config_schema: ClassVar[Schema] = options(
        approvers=ANYTHING,
        required_approvals=ANYTHING,
        timeout_hours=SECONDS,
        auto_approve_on_timeout=FLAG,
        message=TEXT,
        forbid_self_approval=FLAG,
        reject_policy=one_of("any", "unreachable"),
    )
    """``validation`` checks that there are approvers, and enough of them."""
