"""Approvals, for people: what waits for whom, and their votes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from flowledger.domain.runs import Json
from flowledger.domain.workflows import approvals
from flowledger.domain.workflows.approvals import Vote
from flowledger.domain.workflows.steps import WaitKind
from flowledger.errors import ForbiddenError, RecordConflictError, RecordNotFoundError, UsageError
from flowledger.ports import Clock
from flowledger.services.workflows.ordering import Ordering
from flowledger.workflow_ports import Execution, Wait, WorkflowStore

LONGEST_COMMENT = 4_000


@dataclass(frozen=True, slots=True)
class Approving:
    """Takes votes; who votes is the caller's proved name, never a field of the request."""

    store: WorkflowStore
    ordering: Ordering
    clock: Clock

    def waiting(self, *, approver: str | None = None, workflow_id: int | None = None) -> Sequence[Wait]:
        """Return the approvals that are waited for, oldest first: all, one approver's, or one workflow's."""
        waits = self.store.waits(open_only=True, kind=WaitKind.APPROVAL)
        if approver is not None:
            waits = [wait for wait in waits if approver in approvals.approvers_of(wait.facts)]
        if workflow_id is not None:
            waits = [
                wait
                for wait in waits
                if (execution := self.store.execution(wait.execution_id))
                and execution.workflow_id == workflow_id
            ]
        return waits

    def vote(
        self,
        execution_id: int | str,
        step: int | str,
        *,
        approved: bool,
        by: str,
        comment: str = "",
        vote_id: str | None = None,
    ) -> Wait:
        """Take a vote on a step's approval; it may be changed until the approval is resolved.

        ``step`` is the step's key, its node's alias or its node's number.

        :raises ForbiddenError: when the voter may not vote; RecordConflictError: when it is resolved;
            RecordNotFoundError: when nothing of that name was ever waited for.
        """
        if len(comment) > LONGEST_COMMENT:
            raise UsageError(f"a comment has at most {LONGEST_COMMENT:,} characters")
        execution = self.ordering.get(execution_id)
        wait = self.find(execution, step)

        def decide(open_wait: Wait, votes: Sequence[Vote]) -> Mapping[str, Json] | None:
            why = approvals.refusal(open_wait.facts, by, execution.requested_by)
            if why is not None:
                raise ForbiddenError(why)
            return approvals.decision(open_wait.facts, votes)

        vote = Vote(vote_id or uuid4().hex, by, approved, comment, self.clock())
        after = self.store.vote(execution.id, wait.key, vote, decide)
        if after is None:
            why = approvals.refusal(wait.facts, by, execution.requested_by)
            if why is not None:
                raise ForbiddenError(why)
            raise RecordConflictError(f"the approval {wait.key} of {execution.execution_id} is resolved")
        self.ordering.wake()
        return after

    def find(self, execution: Execution, step: int | str) -> Wait:
        """Return the newest approval of a step.

        :raises RecordNotFoundError: when it never asked for one.
        """
        names = {str(step)}
        version = self.store.version(execution.workflow_id, execution.version)
        if version is not None:
            names |= {
                node["alias"]
                for node in version.document["nodes"]
                if str(step) in (str(node["id"]), node["name"])
            }
        found = [
            wait
            for wait in self.store.waits(execution.id, kind=WaitKind.APPROVAL)
            if wait.key in names or wait.alias in names
        ]
        if not found:
            raise RecordNotFoundError(
                f"no approval of step {step!s:.80} was asked for in {execution.execution_id}"
            )
        return found[-1]
