"""A second, simple idea of how workflows run, to hold the planner against.

Workflows are nested blocks here, and run by recursion over time; nothing of the planner is used.
"""

import heapq
import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from workflow_driver import definition, ok

from flowledger.domain.workflows.definition import Definition
from flowledger.domain.workflows.steps import Outcome, StepStatus


@dataclass(frozen=True)
class Call:
    """One call."""


@dataclass(frozen=True)
class Sequence_:
    """One block after another."""

    blocks: "tuple[Block, ...]"


@dataclass(frozen=True)
class Fork:
    """Blocks beside one another."""

    policy: str
    limit: int
    blocks: "tuple[Block, ...]"


@dataclass(frozen=True)
class Loop:
    """A block for each of so many items."""

    passes: int
    breaks: bool
    limit: int
    block: "Block"


@dataclass(frozen=True)
class Choice:
    """One of two blocks."""

    truth: bool
    yes: "Block"
    no: "Block"


Block = Call | Sequence_ | Fork | Loop | Choice


class Fate(NamedTuple):
    """When a call began, when it ended or would have, and how."""

    begin: float
    end: float
    status: str


class Course(NamedTuple):
    """When a block ended, whether it succeeded, and its calls."""

    end: float
    succeeded: bool
    calls: dict[str, Fate]


def number_of(key: str, seed: int) -> int:
    """Return a number that a key always has."""
    return zlib.crc32(f"{seed} {key}".encode())


def seconds_of(key: str, seed: int) -> float:
    """Return how long a call takes; no two take the same time."""
    return 1 + number_of(key, seed) % 1_000_003 / 1_000_003


def fails(key: str, seed: int) -> bool:
    """Return whether a call fails."""
    return number_of(key, seed + 1) % 4 == 0


@dataclass
class Built:
    """A definition of blocks, with the name of each block's first and last node."""

    links: list[str] = field(default_factory=list)
    nodes: dict[str, Any] = field(default_factory=dict)
    names: dict[int, tuple[str, str]] = field(default_factory=dict)
    number: int = 0

    def name(self, letter: str) -> str:
        """Return a new name."""
        self.number += 1
        return f"{letter}{self.number}"

    def add(self, block: Block) -> tuple[str, str]:
        """Add a block; return its first and its last node."""
        ends = self._add(block)
        self.names[id(block)] = ends
        return ends

    def _add(self, block: Block) -> tuple[str, str]:
        match block:
            case Call():
                name = self.name("c")
                self.nodes[name] = ("API_CALL", {})
                return name, name
            case Sequence_(blocks):
                ends = [self.add(each) for each in blocks]
                self.links += [f"{one[1]} > {other[0]}" for one, other in itertools.pairwise(ends)]
                return ends[0][0], ends[-1][1]
            case Fork(policy, limit, blocks):
                fork, join = self.name("f"), self.name("j")
                self.nodes[fork] = ("PARALLEL", {"sync_policy": policy, "max_concurrent": limit})
                self.nodes[join] = ("MERGE", {})
                for each in blocks:
                    first, last = self.add(each)
                    self.links += [f"{fork} >p {first}", f"{last} > {join}"]
                return fork, join
            case Loop(passes, breaks, limit, inner):
                loop = self.name("l")
                config = {"items": list(range(passes)), "break_on_error": breaks, "max_concurrent": limit}
                self.nodes[loop] = ("LOOP", config)
                first, last = self.add(inner)
                self.links += [f"{loop} >l {first}", f"{last} > {loop}"]
                return loop, loop
            case Choice(truth, yes, no):
                choice, join = self.name("q"), self.name("j")
                self.nodes[choice] = ("CONDITION", {"condition": str(truth).lower()})
                self.nodes[join] = ("MERGE", {})
                for sign, each in ((">t", yes), (">f", no)):
                    first, last = self.add(each)
                    self.links += [f"{choice} {sign} {first}", f"{last} > {join}"]
                return choice, join

    def definition(self, block: Block) -> Definition:
        """Return the workflow of a block."""
        first, last = self.add(block)
        return definition([f"start > {first}", f"{last} > end", *self.links], self.nodes)


@dataclass
class Reference:
    """Runs blocks whose names are those of a built definition."""

    names: dict[int, tuple[str, str]]
    seed: int

    def run(self, block: Block, prefix: str, at: float) -> Course:
        """Run a block from a time on."""
        match block:
            case Call():
                key = prefix + self.names[id(block)][0]
                end, failed = at + seconds_of(key, self.seed), fails(key, self.seed)
                return Course(end, not failed, {key: Fate(at, end, "failed" if failed else "success")})
            case Sequence_(blocks):
                calls: dict[str, Fate] = {}
                for each in blocks:
                    at, succeeded, inner = self.run(each, prefix, at)
                    calls |= inner
                    if not succeeded:
                        return Course(at, False, calls)
                return Course(at, True, calls)
            case Fork(policy, limit, blocks):
                fork = prefix + self.names[id(block)][0]
                starts = [(each, f"{fork}/{self.names[id(each)][0]}/") for each in blocks]
                return self._forked(policy, self._beside(starts, limit, at), at)
            case Loop(passes, breaks, limit, inner):
                loop = prefix + self.names[id(block)][0]
                starts = [(inner, f"{loop}/{number}/") for number in range(passes)]
                return self._looped(self._beside(starts, limit, at), at, breaks=breaks)
            case Choice(truth, yes, no):
                return self.run(yes if truth else no, prefix, at)

    def _beside(
        self, blocks: Sequence[tuple[Block, str]], limit: int, at: float
    ) -> list[tuple[float, Course]]:
        """Run blocks, at most so many at once; return when each began."""
        slots = [at] * (limit or len(blocks))
        courses = []
        for each, prefix in blocks:
            begin = heapq.heappop(slots)
            courses.append((begin, self.run(each, prefix, begin)))
            heapq.heappush(slots, courses[-1][1].end)
        return courses

    def _forked(self, policy: str, courses: list[tuple[float, Course]], at: float) -> Course:
        wanted = {"wait_any": True, "fail_fast": False}.get(policy)
        ends = [course.end for _, course in courses if course.succeeded is wanted]
        if ends:
            return Course(min(ends), bool(wanted), _until(min(ends), courses))
        end = max((course.end for _, course in courses), default=at)
        succeeded = policy != "wait_any" and all(course.succeeded for _, course in courses)
        return Course(end, succeeded, _until(end, courses))

    def _looped(self, courses: list[tuple[float, Course]], at: float, *, breaks: bool) -> Course:
        first = min((course.end for _, course in courses if breaks and not course.succeeded), default=None)
        if first is not None:
            courses = [(begin, course) for begin, course in courses if begin < first]
        end = max((course.end for _, course in courses), default=at)
        return Course(end, first is None, _until(end, courses))


def _until(end: float, courses: list[tuple[float, Course]]) -> dict[str, Fate]:
    """Return the calls that began before a time; those that had not ended are cancelled."""
    calls = {key: fate for begin, course in courses if begin < end for key, fate in course.calls.items()}
    begun = {key: fate for key, fate in calls.items() if fate.begin < end}
    return {
        key: fate._replace(end=end, status="cancelled") if fate.end > end else fate
        for key, fate in begun.items()
    }


def answer(seed: int) -> Any:
    """Return the stub's answer to every call."""

    def given(key: str, _tries: int, _drive: object) -> tuple[float, Outcome]:
        outcome = ok(key)
        if fails(key, seed):
            outcome = replace(outcome, status=StepStatus.FAILED, output=None, error=f"{key} failed")
        return seconds_of(key, seed), outcome

    return given
