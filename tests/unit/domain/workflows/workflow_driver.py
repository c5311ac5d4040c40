"""A driver of the planner for tests: calls are answered by a stub, and time is a number that it moves on."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from flowledger.domain.runs import Json, RunStatus
from flowledger.domain.workflows import retrying, templates
from flowledger.domain.workflows.definition import Connection, ConnectionType, Definition, Group, Node
from flowledger.domain.workflows.graph import CompiledWorkflow, compile_workflow
from flowledger.domain.workflows.planner import Planner
from flowledger.domain.workflows.steps import (
    Action,
    CancelStep,
    Done,
    ExecutionFacts,
    Note,
    Outcome,
    RunStep,
    SetTimer,
    StepSettled,
    StepStatus,
    WaitStep,
)
from flowledger.errors import ExpressionError

EXECUTION = ExecutionFacts(7, "exe-7", 1, 1, "1.0", datetime(2026, 1, 1, tzinfo=UTC))
Answer = Callable[[str, int, "Drive"], Any]


def definition(
    links: Iterable[str | Connection],
    nodes: Mapping[str, tuple[str, Mapping[str, Any]] | tuple[str, Mapping[str, Any], Mapping[str, Any]]]
    | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    groups: Sequence[Group] = (),
    order: Sequence[str] = (),
) -> Definition:
    """Return a workflow of chains such as ``start > a > end`` and of what ``link`` gives.

    Nodes that are not described are calls; ``start`` and ``end`` are what their names say.  ``>p`` is a
    PARALLEL connection, ``>l`` a LOOP, ``>t`` and ``>f`` the sides of a CONDITION, ``>!`` one for
    failures, ``>*`` one that is always taken.
    """
    described = nodes or {}
    ways: list[tuple[str, str, str]] = []
    names: dict[str, None] = dict.fromkeys(order)
    for each in links:
        if isinstance(each, Connection):
            names |= dict.fromkeys((str(each.from_id), str(each.to_id)))
            continue
        words = each.split()
        names |= dict.fromkeys(words[::2])
        ways += [
            (one, sign, other)
            for one, sign, other in zip(words[:-1:2], words[1::2], words[2::2], strict=True)
        ]
    names |= dict.fromkeys(described)
    ids = {name: number for number, name in enumerate(names, 1)}
    made = []
    for name, number in ids.items():
        kind, settings, *options = described.get(name) or (
            {"start": "START", "end": "END"}.get(name, "API_CALL"),
            {},
        )
        made.append(Node(number, name, name, kind, settings, options=options[0] if options else {}))
    connections = [_connection(number, ids, *way) for number, way in enumerate(ways, 1)]
    connections += [
        replace(
            each, id=len(connections) + number, from_id=ids[str(each.from_id)], to_id=ids[str(each.to_id)]
        )
        for number, each in enumerate((one for one in links if isinstance(one, Connection)), 1)
    ]
    return Definition(
        "test", config=config or {}, nodes=tuple(made), connections=tuple(connections), groups=tuple(groups)
    )


_SIGNS: Mapping[str, tuple[ConnectionType, Mapping[str, Json]]] = {
    ">": (ConnectionType.SEQUENCE, {}),
    ">p": (ConnectionType.PARALLEL, {}),
    ">l": (ConnectionType.LOOP, {}),
    ">t": (ConnectionType.CONDITIONAL_TRUE, {}),
    ">f": (ConnectionType.CONDITIONAL_FALSE, {}),
    ">!": (ConnectionType.SEQUENCE, {"on": "failure"}),
    ">*": (ConnectionType.SEQUENCE, {"on": "always"}),
}


def _connection(number: int, ids: Mapping[str, int], one: str, sign: str, other: str) -> Connection:
    kind, config = _SIGNS[sign]
    return Connection(number, ids[one], ids[other], kind, config=config)


def link(
    one: str, other: str, condition: Json = None, *, kind: str = "CONDITIONAL", **config: Json
) -> Connection:
    """Return a connection between nodes by their names."""
    return Connection(0, one, other, ConnectionType(kind), condition, config)  # type: ignore[arg-type]


def ok(output: Json = None, **more: Any) -> Outcome:
    """Return a success."""
    return Outcome(StepStatus.SUCCESS, output, **more)


def bad(error: str = "broken", error_type: str = "Broken", **more: Any) -> Outcome:
    """Return a failure."""
    return Outcome(StepStatus.FAILED, error=error, error_type=error_type, **more)


def http(status: int, body: Json = None, retry_after_s: float | None = None) -> Outcome:
    """Return the outcome of a call."""
    response = {"status": status, "headers": {}, "body": body}
    if status < 400:
        return Outcome(StepStatus.SUCCESS, body, response, http_status=status)
    error = f"HTTP {status}: {body or ''}"
    return Outcome(StepStatus.FAILED, None, response, error, "HTTPError", status, retry_after_s)


@dataclass
class Drive:
    """One execution, driven to its end or as far as it goes.

    ``answers`` give by alias an outcome, a list (one for each try or pass, the last again), a number of
    seconds with an outcome, or a function of the key, the try and this object.
    """

    workflow: CompiledWorkflow
    answers: Mapping[str, Any] = field(default_factory=dict)
    input: Json = None
    variables: Mapping[str, Json] = field(default_factory=dict)
    held: Sequence[tuple[str, Outcome]] = ()
    most: int = 100_000
    now: float = 0.0
    trace: list[str] = field(default_factory=list)
    record: list[tuple[str, Outcome]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    waits: dict[str, WaitStep] = field(default_factory=dict)
    starts: list[tuple[str, float]] = field(default_factory=list)
    progress: list[int] = field(default_factory=list)
    done: Done | None = None

    def __post_init__(self) -> None:
        self.planner = Planner(self.workflow, EXECUTION, self.input, self.variables)
        self._events: list[tuple[float, int, str, Callable[[], list[Action]]]] = []
        self._number = 0
        self._calls: dict[str, int] = {}
        self._settled: set[str] = set()

    def run(self) -> "Drive":
        """Drive until nothing is left to do but waits."""
        self.do(self.planner.begin(self.held))
        while self._events and self.done is None and self._number < self.most:
            self.now, _, key, action = heapq.heappop(self._events)
            if key not in self._settled:
                self.do(action())
        return self

    def do(self, actions: list[Action]) -> None:
        """Do what the planner asks for."""
        for action in actions:
            match action:
                case RunStep():
                    assert action.key not in self.waits
                    self.at(action.delay_s, action.key, lambda a=action: self.start(a))  # type: ignore[misc]
                case WaitStep():
                    self.waits[action.key] = action
                    self.trace.append(f"{action.key}:waiting")
                    if action.alias in self.answers and not action.gate:
                        self.start(RunStep(action.key, action.alias))
                case SetTimer():
                    self.at(action.seconds, "", lambda a=action: self.planner.timer_fired(a.key))  # type: ignore[misc]
                case CancelStep():
                    self.note(action.key, Outcome(StepStatus.CANCELLED, error=action.reason))
                case StepSettled():
                    self.note(action.key, action.outcome)
                case Note():
                    self.notes.append(action)
                case Done():
                    assert self.done is None
                    self.done = action
        assert set(self.planner.running).isdisjoint(self.planner.waiting)
        self.progress.append(self.planner.progress)

    def at(self, seconds: float, key: str, action: Callable[[], list[Action]]) -> None:
        """Do something later."""
        self._number += 1
        heapq.heappush(self._events, (self.now + seconds, self._number, key, action))

    def start(self, action: RunStep, tries: int = 1) -> list[Action]:
        """Ask the stub for a step's outcome, and try again as its policy says."""
        key = action.key
        self.starts.append((key, self.now))
        seconds, outcome = self.answer(key, action.alias, tries)
        node = self.planner.node(key)
        if outcome.status is StepStatus.SUCCESS and "output_mapping" in node.config:
            outcome = self.map(key, node, outcome)
        policy = retrying.policy_of(node, self.workflow.definition.config)
        delay = retrying.next_delay(policy, outcome, tries=tries, elapsed_s=self.now, random=0.5)
        if outcome.status is StepStatus.FAILED and delay is not None:
            self.trace.append(f"{key}:failed")
            self.at(seconds + delay, key, lambda: self.start(action, tries + 1))
        else:
            self.at(seconds, key, lambda: self.settle(key, outcome))
        return []

    def map(self, key: str, node: Node, outcome: Outcome) -> Outcome:
        """Apply the output_mapping."""
        mapping: Any = node.config["output_mapping"]
        try:
            output = templates.mapped(mapping, self.planner.scope(key).with_response(outcome.response))
        except ExpressionError as error:
            return bad(str(error), "ExpressionError")
        return replace(outcome, output=output)

    def answer(self, key: str, alias: str, tries: int) -> tuple[float, Outcome]:
        """Return how long a step takes, and its outcome."""
        value = self.answers.get(key, self.answers.get(alias, alias))
        number = self._calls[alias] = self._calls.get(alias, 0) + 1
        if callable(value):
            value = value(key, tries, self)
        elif isinstance(value, list):
            value = value[min(number, len(value)) - 1]
        seconds, value = value if isinstance(value, tuple) else (0.0, value)
        return seconds, value if isinstance(value, Outcome) else ok(value)

    def settle(self, key: str, outcome: Outcome) -> list[Action]:
        """Give the planner an outcome."""
        self.note(key, outcome)
        self.waits.pop(key, None)
        return self.planner.settle(key, outcome)

    def resolve(self, key: str, outcome: Outcome) -> None:
        """Settle a wait, and drive on."""
        self.do(self.settle(key, outcome))
        while self._events and self.done is None:
            self.now, _, each, action = heapq.heappop(self._events)
            if each not in self._settled:
                self.do(action())

    def note(self, key: str, outcome: Outcome) -> None:
        """Record an outcome."""
        assert key not in self._settled, f"{key} settled twice"
        self._settled.add(key)
        self.record.append((key, outcome))
        self.trace.append(f"{key}:{outcome.status.value}")

    @property
    def status(self) -> RunStatus | None:
        """Return how the execution ended."""
        return self.done.status if self.done else None

    def steps(self, *prefixes: str) -> list[str]:
        """Return the trace, of the keys that begin so."""
        return [each for each in self.trace if each.startswith(prefixes or "")]

    def outcome(self, key: str) -> Outcome:
        """Return the outcome of a step."""
        return dict(self.record)[key]


def drive(made: Definition, answers: Mapping[str, Any] | None = None, **more: Any) -> Drive:
    """Compile and drive a workflow."""
    return Drive(compile_workflow(made), answers or {}, **more).run()
