"""The ``WorkflowStore`` port over the database of a ledger."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from flowledger import workflow_ports as ports
from flowledger.domain.runs import AppKey, Json
from flowledger.domain.workflows.approvals import Vote
from flowledger.domain.workflows.definition import Document, WorkflowStatus
from flowledger.domain.workflows.execution_runs import LOCAL
from flowledger.domain.workflows.steps import WaitKind
from flowledger.errors import LeaseLostError, RecordNotFoundError
from flowledger.ledger.sql import workflow_definitions as definitions
from flowledger.ledger.sql import workflow_executions as executions
from flowledger.ledger.sql import workflow_queue as queue
from flowledger.ledger.sql import workflow_statistics as statistics
from flowledger.ledger.sql import workflow_waits as waits_for_people
from flowledger.ledger.sql.group_commit import GroupCommit
from flowledger.ledger.sql.ledger import SqlLedger

Result = TypeVar("Result")


@dataclass(frozen=True)
class SqlWorkflowStore:
    """Workflows and executions beside the runs of a ledger; threads may share it.

    Acceptance, decisions and ends are on the disk when the method returns; steps survive the end of the
    process, not a power cut.
    """

    ledger: SqlLedger
    _orders: GroupCommit[ports.Order, ports.Execution] = field(init=False, repr=False)
    _words: GroupCommit["_Words", ports.Execution | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_orders", GroupCommit(self._accept_all))
        object.__setattr__(self, "_words", GroupCommit(self._write_words))

    # -- definitions

    def create_workflow(self, document: Document, at: datetime) -> ports.StoredWorkflow:
        """Store a new draft and return it with its id."""
        return self._write(lambda connection: definitions.insert_workflow(connection, document, at))

    def workflow(self, workflow_id: int) -> ports.StoredWorkflow | None:
        """Return one workflow; None where there is none."""
        with self.ledger.transactions.reading() as connection:
            return definitions.read_workflow(connection, workflow_id)

    def workflows(
        self,
        *,
        status: WorkflowStatus | None = None,
        name: str | None = None,
        tag: str | None = None,
        among: Collection[int] | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> ports.WorkflowPage:
        """Return workflows, newest first; ``name`` is matched whole."""
        with self.ledger.transactions.reading() as connection:
            return definitions.read_workflows(
                connection, self.ledger.place, status, name, tag, among, after, limit
            )

    def change_workflow(
        self,
        workflow_id: int,
        change: Callable[[ports.StoredWorkflow], tuple[Document, WorkflowStatus]],
        at: datetime,
    ) -> ports.StoredWorkflow | None:
        """Read one workflow and store what the change makes of it, atomically; None where there is none."""
        return self._write(
            lambda connection: definitions.change_workflow(connection, workflow_id, change, at),
            _workflow(workflow_id),
        )

    def delete_workflow(self, workflow_id: int) -> bool:
        """Delete a workflow and the versions that no execution has.

        :raises RecordConflictError: while one of its executions is open.
        """
        return self._write(
            lambda connection: definitions.delete_workflow(connection, workflow_id), _workflow(workflow_id)
        )

    def publish(
        self,
        workflow_id: int,
        revision: int,
        snapshot: Document,
        digest: str,
        at: datetime,
        by: str,
        *,
        activates: bool = True,
    ) -> ports.WorkflowVersion | None:
        """Store a version of the draft that has this revision, and make the workflow active.

        :raises RecordConflictError: when the draft has another revision by now.
        """
        return self._write(
            lambda connection: definitions.insert_version(
                connection, workflow_id, revision, snapshot, digest, at, by, activates=activates
            ),
            _workflow(workflow_id),
        )

    def versions(self, workflow_id: int) -> Sequence[ports.WorkflowVersion]:
        """Return all versions of a workflow, newest first."""
        with self.ledger.transactions.reading() as connection:
            return definitions.read_versions(connection, workflow_id)

    def version(self, workflow_id: int, number: int | None = None) -> ports.WorkflowVersion | None:
        """Return one version, or the newest."""
        with self.ledger.transactions.reading() as connection:
            return definitions.read_version(connection, workflow_id, number)

    def save_api(self, api_id: int | None, fields: Mapping[str, Any], at: datetime) -> ports.StoredApi | None:
        """Store a new API, or replace one; None where there is none of that id."""
        return self._write(lambda connection: definitions.write_api(connection, api_id, fields, at))

    def api(self, api_id: int) -> ports.StoredApi | None:
        """Return one API."""
        with self.ledger.transactions.reading() as connection:
            return definitions.read_api(connection, api_id)

    def apis(self) -> Sequence[ports.StoredApi]:
        """Return all APIs by id."""
        with self.ledger.transactions.reading() as connection:
            return definitions.read_apis(connection)

    def delete_api(self, api_id: int) -> bool:
        """Delete an API; return whether there was one."""
        return self._write(lambda connection: definitions.delete_api(connection, api_id))

    def save_node_type(self, node_type: ports.StoredNodeType) -> None:
        """Store a node type; one of the same name is replaced."""
        self._write(lambda connection: definitions.write_node_type(connection, node_type), "node types")

    def node_types(self) -> Sequence[ports.StoredNodeType]:
        """Return the stored node types by name."""
        with self.ledger.transactions.reading() as connection:
            return definitions.read_node_types(connection)

    # -- executions, for everybody

    def accept(self, order: ports.Order) -> ports.Execution:
        """Store an execution that a worker may take; one of the same id is returned as it is."""
        return self._orders.submit(order)

    def execution(self, execution_id: int | str) -> ports.Execution | None:
        """Return one execution by its number or its id."""
        with self.ledger.transactions.reading() as connection:
            return executions.read_execution(connection, execution_id)

    def executions(
        self, query: ports.ExecutionQuery, *, after: int | None = None, limit: int = 50
    ) -> ports.ExecutionPage:
        """Return executions, newest first."""
        with self.ledger.transactions.reading() as connection:
            return executions.read_executions(connection, query, after, limit)

    def steps(self, execution: int) -> Sequence[ports.Step]:
        """Return every try of every step in the order they settled; what has not, last."""
        with self.ledger.transactions.reading() as connection:
            return executions.read_steps(connection, execution)

    def events(self, execution: int, *, after: int = 0, limit: int = 500) -> Sequence[ports.Event]:
        """Return events in order, those after a cursor."""
        with self.ledger.transactions.reading() as connection:
            return executions.read_events(connection, execution, after, limit)

    def waits(
        self, execution: int | None = None, *, open_only: bool = False, kind: WaitKind | None = None
    ) -> Sequence[ports.Wait]:
        """Return waits, oldest first: of one execution, or of all."""
        with self.ledger.transactions.reading() as connection:
            return queue.read_waits(connection, execution, open_only=open_only, kind=kind)

    def wait(self, wait_id: int) -> ports.Wait | None:
        """Return one wait by its number."""
        with self.ledger.transactions.reading() as connection:
            return waits_for_people.read_wait(connection, wait_id)

    def step(self, step_id: int) -> ports.PastStep | None:
        """Return one try of one step by its number."""
        with self.ledger.transactions.reading() as connection:
            return waits_for_people.read_step(connection, step_id)

    def newest_waits(
        self, query: ports.WaitQuery, *, after: int | None = None, limit: int = 50
    ) -> Sequence[tuple[ports.Wait, ports.Execution]]:
        """Return waits with their executions, newest first, those before a number."""
        with self.ledger.transactions.reading() as connection:
            return waits_for_people.read_newest_waits(connection, query, after, limit)

    def ask(self, execution: int, what: str, at: datetime, *, by: str) -> ports.Execution | None:
        """Keep that somebody wants ``cancel`` or ``pause``; what nobody has is ended or paused at once."""
        if self.execution(execution) is None:
            return None
        return self._write_of(
            execution, lambda connection: queue.ask(connection, self.ledger.place, execution, what, at, by)
        )

    def resume(self, execution: int, resumption: ports.Resumption, at: datetime) -> ports.Execution:
        """Let an ended or paused execution be taken again.

        :raises RecordConflictError: when its attempt is another one by now, or it is running.
        """
        return self._write_of(
            execution, lambda connection: queue.resume(connection, execution, resumption, at)
        )

    def resolve(
        self, execution: int, key: str, resolution: Mapping[str, Json], at: datetime, *, by: str
    ) -> bool:
        """Resolve an open wait and wake its execution; False where it was resolved."""
        return self._write_of(
            execution, lambda connection: queue.resolve(connection, execution, key, resolution, at, by)
        )

    def vote(
        self,
        execution: int,
        key: str,
        vote: Vote,
        decide: Callable[[ports.Wait, Sequence[Vote]], Mapping[str, Json] | None],
    ) -> ports.Wait | None:
        """Store a vote on an open wait, and resolve it where ``decide`` says so."""
        return self._write_of(
            execution, lambda connection: queue.vote(connection, execution, key, vote, decide)
        )

    def votes(self, wait: int) -> Sequence[Vote]:
        """Return all votes on a wait, oldest first."""
        with self.ledger.transactions.reading() as connection:
            return queue.read_votes(connection, wait)

    # -- statistics

    def totals(self, workflow_id: int | None = None) -> Sequence[ports.StatusTotal]:
        """Count the executions of a workflow, or of all, by status."""
        with self.ledger.transactions.reading() as connection:
            return statistics.read_totals(connection, workflow_id)

    def moment(self, since: datetime) -> ports.Moment:
        """Count what is open now, and what was accepted since a moment of the near past."""
        with self.ledger.transactions.reading() as connection:
            return statistics.read_moment(connection, since)

    def recent_past(
        self, workflow_id: int, *, executions: int = 500, steps: int = 20_000
    ) -> ports.RecentPast:
        """Return at most so many of the newest executions of a workflow, and their steps."""
        with self.ledger.transactions.reading() as connection:
            return statistics.read_recent_past(connection, workflow_id, executions, steps)

    # -- executions, for workers

    def is_due(self, at: datetime) -> bool:
        """Return whether an execution can be taken."""
        with self.ledger.transactions.reading() as connection:
            return queue.is_due(connection, at)

    def take(
        self, owner: str, at: datetime, lease: timedelta, *, limit: int, formats: Sequence[int] = (1,)
    ) -> Sequence[ports.Claim]:
        """Take executions that are due, oldest first: attempt + 1, a lease, status running."""

        def take(connection: Connection) -> Sequence[ports.Claim]:
            taken = queue.take(connection, owner, at, lease, limit, formats)
            return [_claim(connection, number, took_over) for number, took_over in taken]

        return self._write(take)

    def take_one(self, execution: int, owner: str, at: datetime, lease: timedelta) -> ports.Claim | None:
        """Take one execution that is due; None where somebody else has it or it is not due."""

        def take(connection: Connection) -> ports.Claim | None:
            taken = queue.take_one(connection, execution, owner, at, lease)
            return next((_claim(connection, number, took_over) for number, took_over in taken), None)

        return self._write(take)

    def renew(self, owner: str, at: datetime, lease: timedelta) -> frozenset[int]:
        """Extend every lease of a worker and return the executions it still has."""
        return self._write(lambda connection: queue.renew(connection, owner, at, lease), durable=False)

    def news(self, owner: str) -> Mapping[int, ports.News]:
        """Return what others want of the executions that a worker has, and what was resolved there."""
        with self.ledger.transactions.reading() as connection:
            return queue.read_news(connection, owner)

    def write(self, lease: ports.Lease, progressed: ports.Progressed, at: datetime) -> None:
        """Store what happened, unless another worker has the execution."""
        self._words.submit(_Words(lease, progressed, at))

    def end(
        self, lease: ports.Lease, ended: ports.Ended, progressed: ports.Progressed, at: datetime
    ) -> ports.Execution:
        """Store how the execution ended, or that it is parked, and give the lease back."""
        ended_execution = self._words.submit(_Words(lease, progressed, at, ended))
        assert ended_execution is not None
        return ended_execution

    def interrupt_lost(self, at: datetime) -> Sequence[ports.Execution]:
        """Mark executions whose lease ran out as interrupted where they do not resume by themselves."""
        with self.ledger.transactions.reading() as connection:
            lost = queue.find_lost(connection, at)
        interrupted = [
            self._write_of(number, partial(queue.interrupt, database=self.ledger.place, number=number, at=at))
            for number in lost
        ]
        return [execution for execution in interrupted if execution is not None]

    def reported(self, execution: int, *, flow_run_id: str | None, state: str | None) -> None:
        """Keep what Prefect was told."""
        self._write(
            lambda connection: queue.mark_reported(connection, execution, flow_run_id, state), durable=False
        )

    def unreported(self, *, limit: int = 100) -> Sequence[ports.Execution]:
        """Return executions whose state Prefect has not been told."""
        with self.ledger.transactions.reading() as connection:
            return executions.read_unreported(connection, limit)

    def _write(self, work: Callable[[Connection], Result], *names: str, durable: bool = True) -> Result:
        return self.ledger.transactions.write(names, work, durable=durable)

    def _write_of(self, execution: int, work: Callable[[Connection], Result]) -> Result:
        """Write of one execution and its run: among others of the same workflow."""
        stored = self.execution(execution)
        if stored is None:
            raise RecordNotFoundError(f"there is no execution {execution}")
        return self._write_among(stored.execution_id, stored.workflow_id, work)

    def _write_among(
        self, execution_id: str, workflow_id: int, work: Callable[[Connection], Result]
    ) -> Result:
        return self._write_all([(execution_id, workflow_id)], work)

    def _write_all(
        self,
        places: Sequence[tuple[str, int]],
        work: Callable[[Connection], Result],
        *,
        durable: bool = True,
    ) -> Result:
        """Write of executions and of their runs: among others of the same workflows."""
        return self.ledger.transactions.write(
            [f"execution {execution_id}" for execution_id, _ in places],
            work,
            among=[f"app {AppKey(LOCAL, str(workflow_id))}" for _, workflow_id in places],
            durable=durable,
        )

    def _accept_all(self, orders: Sequence[ports.Order]) -> Sequence[ports.Execution]:
        places = [(order.execution_id, order.workflow_id) for order in orders]
        return self._write_all(
            places,
            lambda connection: [executions.accept(connection, self.ledger.place, order) for order in orders],
        )

    def _write_words(self, words: Sequence["_Words"]) -> Sequence[ports.Execution | LeaseLostError | None]:
        """Write what several workers' executions have to say in one transaction, each within its fence."""

        def write(connection: Connection) -> Sequence[ports.Execution | LeaseLostError | None]:
            return [self._write_word(connection, word) for word in words]

        ends = [word.lease for word in words if word.ended is not None]
        if not ends:
            return self._write(write, durable=False)
        return self._write_all([(lease.execution_id, lease.workflow_id) for lease in ends], write)

    def _write_word(self, connection: Connection, word: "_Words") -> ports.Execution | LeaseLostError | None:
        try:
            executions.write_progress(connection, word.lease, word.progressed, word.at)
        except LeaseLostError as error:
            return error  # nothing of it was written; the others of the transaction are
        queue.write_waits(connection, word.lease.execution, word.progressed.waits)
        if word.ended is None:
            return None
        return executions.finish(connection, self.ledger.place, word.lease.execution, word.ended, word.at)


@dataclass(frozen=True, slots=True)
class _Words:
    """What a worker writes of one execution at once."""

    lease: ports.Lease
    progressed: ports.Progressed
    at: datetime
    ended: ports.Ended | None = None


def _workflow(workflow_id: int) -> str:
    return f"workflow {workflow_id}"


def _claim(connection: Connection, number: int, took_over: bool) -> ports.Claim:
    """Read all that replay needs of an execution that was taken in this transaction."""
    execution = executions.read_execution(connection, number)
    assert execution is not None
    assert execution.owner is not None
    version = definitions.read_version(connection, execution.workflow_id, execution.version)
    assert version is not None
    is_first = execution.attempt == 1
    return ports.Claim(
        lease=ports.Lease(
            number, execution.attempt, execution.owner, execution.execution_id, execution.workflow_id
        ),
        execution=execution,
        version=version,
        steps=() if is_first else executions.read_steps(connection, number),
        waits=() if is_first else queue.read_waits(connection, number, open_only=False),
        took_over=took_over,
    )
