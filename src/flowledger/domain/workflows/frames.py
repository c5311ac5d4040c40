"""Where an execution stands: a frame for the workflow, for each branch and for each pass of a loop."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from flowledger.domain.runs import Json
from flowledger.domain.workflows.graph import CompiledNode, CompiledRegion, CompiledWorkflow, Edge
from flowledger.domain.workflows.steps import Outcome, StepStatus


class State(Enum):
    """Where an open step stands."""

    READY = auto()
    DELAYED = auto()
    RUNNING = auto()
    WAITING = auto()
    OPEN = auto()


@dataclass(slots=True)
class OpenStep:
    """A step that has not settled; ``container`` is what a PARALLEL or LOOP has opened."""

    frame: "Frame"
    node: CompiledNode
    key: str
    state: State = State.READY
    is_approved: bool = False
    is_due: bool = False
    container: "Container | None" = None


class Arrived(NamedTuple):
    """What a connection brings along: whether it was taken, the output and the nearest response before it."""

    taken: bool
    previous: Json = None
    response: Mapping[str, Json] | None = None


DEAD = Arrived(taken=False)


@dataclass(slots=True)
class Frame:
    """One run through a region.

    ``waits`` counts the connections that have to settle before each node, ``taken`` holds those taken.
    ``active`` counts running and waiting steps in it and below it.  ``position`` is its place among all
    frames: numbers of branches and passes from the outside in.
    """

    region: CompiledRegion
    prefix: str = ""
    owner: "Container | None" = None
    position: tuple[int, ...] = ()
    loop: Mapping[str, Json] | None = None
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    waits: dict[int, int] = field(default_factory=dict)
    taken: dict[int, list[Edge]] = field(default_factory=dict)
    before: dict[int, Arrived] = field(default_factory=dict)
    exits: dict[int, Arrived] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    open: dict[int, OpenStep] = field(default_factory=dict)
    containers: dict[int, "Container"] = field(default_factory=dict)
    remaining: int = 0
    active: int = 0
    is_stopping: bool = False
    is_closed: bool = False
    failure: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        self.waits = dict(self.region.waits)
        self.remaining = len(self.region.nodes)

    @property
    def index(self) -> int:
        """Return the number of the branch or pass."""
        return self.position[-1] if self.position else 0

    def upwards(self) -> "Iterator[Frame]":
        """Yield this frame and those around it."""
        frame: Frame | None = self
        while frame is not None:
            yield frame
            frame = frame.owner.frame if frame.owner else None

    def arrive(self, edge: Edge, target: CompiledNode, arrived: Arrived) -> bool | None:
        """Let a connection arrive at its target, or stay at the border of the target's region.

        Return True when the target is ready now, False when all that leads to it is dead, else None.
        """
        index = target.index
        if target.region != self.region.index:
            self.exits[edge.index] = arrived
            return None
        self.waits[index] -= 1
        has_begun = target.joins_any and index in self.taken
        if arrived.taken:
            before = self.before.get(index)
            self.taken.setdefault(index, []).append(edge)
            if not has_begun:
                response = arrived.response or (before.response if before else None)
                self.before[index] = arrived._replace(response=response)
        if has_begun or (self.waits[index] and not (target.joins_any and arrived.taken)):
            return None
        return index in self.taken

    def response_of(self, index: int) -> Mapping[str, Json] | None:
        """Return a settled node's response, else the nearest one before it."""
        outcome = self.outcomes.get(index)
        if outcome is not None and outcome.response is not None:
            return outcome.response
        before = self.before.get(index)
        return before.response if before else None

    def status(self) -> StepStatus:
        """Return how a complete frame ended: failed, skipped when nothing in it ran, else success."""
        if self.failure is not None:
            return StepStatus.FAILED
        passed = (each.status is StepStatus.SKIPPED and not each.manual for each in self.outcomes.values())
        return StepStatus.SKIPPED if all(passed) else StepStatus.SUCCESS

    def last(self) -> int | None:
        """Return the last node that ran, in the region's order."""
        for index in reversed(self.region.nodes):
            outcome = self.outcomes.get(index)
            if outcome is not None and (outcome.status is not StepStatus.SKIPPED or outcome.manual):
                return index
        return None

    def result(self) -> Json:
        """Return the output of the last node that ran."""
        last = self.last()
        return None if last is None else self.outcomes[last].output


@dataclass(slots=True)
class Container:
    """An open or settled PARALLEL or LOOP: its frames by number; of a loop, only those still needed."""

    frame: Frame
    node: CompiledNode
    key: str
    frames: dict[int, Frame] = field(default_factory=dict)
    running: int = 0
    counted: float = 0.0
    timeout_s: float | None = None
    response: Mapping[str, Json] | None = None

    def enter(self, region: CompiledRegion, index: int, name: str) -> Frame:
        """Begin a branch or a pass."""
        position = (*self.frame.position, self.node.index, index)
        frame = Frame(region, f"{self.key}/{name}/", self, position)
        self.frames[index] = frame
        self.running += 1
        return frame

    def number_of(self, name: str) -> int:
        """Return the number of the branch or pass that a part of a key names."""
        raise NotImplementedError

    def conclusion(self) -> Outcome | None:
        """Return how the container ends, None while it goes on."""
        raise NotImplementedError

    def end_frame(self, frame: Frame) -> None:
        """Add how one of its frames ended."""
        raise NotImplementedError

    def failed(self, error: str, error_type: str) -> Outcome:
        """Return a failure that has the results so far."""
        return Outcome(StepStatus.FAILED, self.output(), error=error, error_type=error_type)

    def output(self) -> Json:
        """Return the results so far."""
        raise NotImplementedError


def gate_key(key: str) -> str:
    """Return the key of the approval before a step.

    Keys of steps have an odd number of parts, so that this one is no step's.
    """
    return f"{key}/approval"


def gated_key(key: str) -> str:
    """Return the key of the step that an approval stands before; of any other key, the key."""
    return key.removesuffix("/approval") if key.count("/") % 2 else key


def prefixes(keys: Iterable[str]) -> set[str]:
    """Return the keys of all containers, branches and passes that these steps are in."""
    around: set[str] = set()
    for key in keys:
        end = key.rfind("/")
        while end > 0 and key[:end] not in around:
            around.add(key[:end])
            end = key.rfind("/", 0, end)
    return around


def frame_at(workflow: CompiledWorkflow, root: Frame, key: str) -> Frame:
    """Return the frame of a step by its key.

    :raises KeyError: when it has not been entered.
    """
    frame, parts = root, key.split("/")
    for alias, name in zip(parts[:-1:2], parts[1:-1:2], strict=True):
        container = frame.containers[workflow.by_alias[alias]]
        frame = container.frames[container.number_of(name)]
    return frame


def locate(workflow: CompiledWorkflow, frame: Frame, index: int) -> Frame | None:
    """Return the frame whose outcome of a node is visible from another frame: the same, around, or inside.

    Of a loop it is the last pass.  None where the node's region has not been entered.
    """
    chain = workflow.regions[workflow.nodes[index].region].chain
    outer = next(each for each in frame.upwards() if each.region.index in chain)
    for number in chain[chain.index(outer.region.index) + 1 :]:
        region = workflow.regions[number]
        container = outer.containers.get(region.owner if region.owner is not None else -1)
        inside = () if container is None else container.frames.values()
        inner = (
            next((each for each in reversed(inside) if each.region.index == number), None) if inside else None
        )
        if inner is None:
            return None
        outer = inner
    return outer
