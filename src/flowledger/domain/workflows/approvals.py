"""Approvals: who may vote, and when the votes decide.  Pure (docs/orchestration.md, Approvals).

A wait's ``facts`` hold what the node asks: ``approvers``, ``required_approvals`` (1), ``reject_policy`` (any:
the first rejection decides; unreachable: when so many approvals cannot come together any more),
``forbid_self_approval``, ``message``, ``timeout_hours``, ``auto_approve_on_timeout``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowledger.domain.runs import Json

REJECT_POLICIES = ("any", "unreachable")


@dataclass(frozen=True, slots=True)
class Vote:
    """One vote; ``vote_id`` is the voter's own, so that the same again is one."""

    vote_id: str
    voter: str
    approved: bool
    comment: str
    at: datetime


def approvers_of(facts: Mapping[str, Json]) -> Sequence[str]:
    """Return the distinct names of those who may vote, in order."""
    names = facts.get("approvers")
    return list(dict.fromkeys(map(str, names))) if isinstance(names, Sequence) else []


def required_approvals(facts: Mapping[str, Json]) -> int:
    """Return how many approvals are needed."""
    number = facts.get("required_approvals")
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else 1


def refusal(facts: Mapping[str, Json], voter: str, requester: str) -> str | None:
    """Return why somebody may not vote; None where they may."""
    if voter not in approvers_of(facts):
        return f"{voter} is no approver of this step"
    if facts.get("forbid_self_approval") is True and voter == requester:
        return f"{voter} has started this execution and may not approve it"
    return None


def last_votes(votes: Sequence[Vote]) -> Mapping[str, Vote]:
    """Return the vote that counts of each voter: the last one."""
    return {vote.voter: vote for vote in votes}


def decision(facts: Mapping[str, Json], votes: Sequence[Vote]) -> dict[str, Any] | None:
    """Return the resolution that the votes make; None while they decide nothing yet."""
    counted = last_votes(votes)
    approvals = [vote.voter for vote in counted.values() if vote.approved]
    rejections = [vote for vote in counted.values() if not vote.approved]
    needed = required_approvals(facts)
    record = {
        "votes": [
            {
                "voter": vote.voter,
                "approved": vote.approved,
                "comment": vote.comment,
                "at": vote.at.isoformat(),
            }
            for vote in counted.values()
        ]
    }
    if len(approvals) >= needed:
        return {"approved": True, "by": ", ".join(approvals), **record}
    rejects_at_once = facts.get("reject_policy", "any") != "unreachable"
    is_out_of_reach = len(approvers_of(facts)) - len(rejections) < needed
    if rejections and (rejects_at_once or is_out_of_reach):
        last = rejections[-1]
        return {"approved": False, "by": last.voter, "comment": last.comment, **record}
    return None
