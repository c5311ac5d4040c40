"""Analysis of a workflow from the durations that were measured: critical path, slack, bottlenecks, advice.

Durations are seconds of wall time.  A node's is the median of its last successes; one that never ran counts
by an estimate for its type, and is marked so.  The time that people take is apart.  Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from flowledger.domain.workflows import regions, templates
from flowledger.domain.workflows.definition import ConnectionType, Definition, Node, NodeType
from flowledger.errors import UsageError

LAST_SUCCESSES = 50
ESTIMATES_S: Mapping[str, float] = {NodeType.API_CALL: 1.0, NodeType.REPORT: 60.0, NodeType.DIFY_RUN: 10.0}
"""What a node takes that was never measured; others take no time worth speaking of."""
MEAN_PASSES = 1.0
LARGE_SHARE, WIDE_SPREAD, MANY_FAILURES = 0.25, 3.0, 0.1
_AFTER_ALL = frozenset(("previous_step", "response", "nodes"))


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """What is known of one node: durations of its last successes, and how its executions went.

    ``passes`` are those of a loop, one number for each time it ran.
    """

    durations_s: Sequence[float] = ()
    executions: int = 0
    failures: int = 0
    retries: int = 0
    passes: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class NodeTime:
    """A node's duration, whether it is an estimate, and how much later it could end without harm."""

    alias: str
    name: str
    duration_s: float
    is_estimate: bool
    slack_s: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Two steps that follow each other and need nothing of each other."""

    steps: tuple[str, str]
    saved_s: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is to be said of a workflow; nodes by name on the critical path, in order."""

    dependencies: Sequence[tuple[str, str, str]] = ()
    cycles: Sequence[Sequence[str]] = ()
    critical_path: Sequence[str] = ()
    duration_s: float = 0.0
    people_s: float = 0.0
    times: Sequence[NodeTime] = ()
    bottlenecks: Sequence[tuple[str, str]] = ()
    suggestions: Sequence[Suggestion] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    complexity_score: float = 0.0


def analyse(definition: Definition, history: Mapping[str, NodeHistory]) -> Analysis:
    """Return the analysis of a workflow; ``history`` is by alias."""
    shape = regions.shape_of(definition, lambda *_: None)
    counts = _counts(definition)
    by_id = {node.id: node for node in definition.nodes}
    dependencies = [
        (by_id[each.from_id].name, by_id[each.to_id].name, each.connection_type.value)
        for each in definition.connections
        if each.from_id in by_id and each.to_id in by_id
    ]
    score = (
        counts["total"] + 0.5 * counts["parallel"] + 1.5 * counts["conditional"] + 2.0 * counts["approval"]
    )
    if shape.has_cycle or not shape.regions or shape.regions[0].first is None:
        return Analysis(
            dependencies=dependencies, cycles=_cycles(shape), counts=counts, complexity_score=score
        )
    timing = _Timing(shape, history)
    path = timing.critical_path()
    people = sum(
        _duration(shape.nodes[place], history)[0] for place in path if _is_people(shape.nodes[place])
    )
    return Analysis(
        dependencies=dependencies,
        critical_path=[shape.nodes[place].name for place in path],
        duration_s=timing.total_s,
        people_s=people,
        times=timing.times(),
        bottlenecks=_bottlenecks(shape, path, timing, history),
        suggestions=_suggestions(shape, path, timing),
        counts=counts,
        complexity_score=score,
    )


class _Timing:
    """Earliest and latest ends of the nodes of each region, containers with what is inside them."""

    def __init__(self, shape: regions.Shape, history: Mapping[str, NodeHistory]) -> None:
        self._shape = shape
        self._history = history
        self._outgoing = shape.outgoing()
        self._rank = {place: at for at, place in enumerate(shape.order)}
        self._inner: dict[int, list[int]] = {}
        for number, region in enumerate(shape.regions):
            if region.owner is not None:
                self._inner.setdefault(region.owner, []).append(number)
        self.weight = [0.0] * len(shape.nodes)
        self._length: dict[int, float] = {}
        self._end = [0.0] * len(shape.nodes)
        self._before: dict[int, int | None] = {}
        for number in self._deepest_first():
            self._measure(number)
        self.total_s = self._length[0]

    def critical_path(self) -> list[int]:
        """Return the places of the nodes that decide when the workflow ends, inner ones after their own."""
        return self._path_inside(0)

    def times(self) -> list[NodeTime]:
        """Return duration and slack of every node; inside a container slack counts to the container's end."""
        latest: dict[int, float] = {}
        for number, region in enumerate(self._shape.regions):
            # A branch may take as long as the slowest one beside it.
            owner = region.owner
            is_branch = owner is not None and self._shape.nodes[owner].node_type == NodeType.PARALLEL
            length = self._length[number]
            end = max(length, self.weight[owner]) if is_branch and owner is not None else length
            for place in sorted(region.nodes, key=self._rank.__getitem__, reverse=True):
                followers = [
                    link.target
                    for link in self._outgoing[place]
                    if self._shape.region_of[link.target] == number
                ]
                latest[place] = min((latest[each] - self.weight[each] for each in followers), default=end)
        return [
            NodeTime(
                node.alias,
                node.name,
                self.weight[place],
                _duration(node, self._history)[1],
                max(latest.get(place, 0.0) - self._end[place], 0.0),
            )
            for place, node in enumerate(self._shape.nodes)
        ]

    def _deepest_first(self) -> list[int]:
        depths = {0: 0}
        order = [0]
        for number in order:
            for place in self._shape.regions[number].nodes:
                for inner in self._inner.get(place, ()):
                    depths[inner] = depths[number] + 1
                    order.append(inner)
        return sorted(order, key=lambda each: -depths[each])

    def _measure(self, number: int) -> None:
        region = self._shape.regions[number]
        best: dict[int, float] = {}
        for place in sorted(region.nodes, key=self._rank.__getitem__):
            self.weight[place] = self._weight(place)
            self._end[place] = best.get(place, 0.0) + self.weight[place]
            self._before.setdefault(place, None)
            for link in self._outgoing[place]:
                target = link.target
                if self._shape.region_of[target] == number and self._end[place] >= best.get(target, -1.0):
                    best[target] = self._end[place]
                    self._before[target] = place
        self._length[number] = max((self._end[place] for place in region.nodes), default=0.0)

    def _weight(self, place: int) -> float:
        node = self._shape.nodes[place]
        inner = [(self._length[each], each) for each in self._inner.get(place, ())]
        if not inner:
            return _duration(node, self._history)[0]
        if node.node_type == NodeType.LOOP:
            passes = self._history.get(node.alias, NodeHistory()).passes
            mean = sum(passes) / len(passes) if passes else MEAN_PASSES
            return mean * sum(length for length, _ in inner)
        return self._length[self._deciding(place, inner)]

    def _deciding(self, place: int, inner: Sequence[tuple[float, int]]) -> int:
        """Return the branch that decides when a container ends."""
        is_race = self._shape.nodes[place].config.get("sync_policy") == "wait_any"
        return (min(inner) if is_race else max(inner))[1]

    def _path_of(self, number: int) -> list[int]:
        region = self._shape.regions[number]
        place: int | None = max(
            region.nodes, key=lambda each: (self._end[each], self._rank[each]), default=None
        )
        path: list[int] = []
        while place is not None:
            path.append(place)
            place = self._before.get(place)
        return path[::-1]

    def _path_inside(self, number: int) -> list[int]:
        path: list[int] = []
        waiting: list[tuple[int, int]] = [(number, 0)]
        while waiting:
            region, at = waiting.pop()
            inside = self._path_of(region)
            path[at:at] = inside
            for place in inside:
                inner = self._inner.get(place, ())
                if inner:
                    deciding = self._deciding(place, [(self._length[each], each) for each in inner])
                    waiting.append((deciding, path.index(place) + 1))
        return path


def _duration(node: Node, history: Mapping[str, NodeHistory]) -> tuple[float, bool]:
    """Return how long a node takes, and whether that is an estimate."""
    known = history.get(node.alias)
    if known is not None and known.durations_s:
        return median(known.durations_s[-LAST_SUCCESSES:]), False
    return ESTIMATES_S.get(node.node_type, 0.0), True


def _is_people(node: Node) -> bool:
    return node.node_type == NodeType.APPROVAL


def _counts(definition: Definition) -> dict[str, int]:
    nodes = definition.nodes
    grouped = {each for group in definition.groups for each in group.node_ids}
    branches = {
        each.to_id for each in definition.connections if each.connection_type is ConnectionType.PARALLEL
    }
    return {
        "total": len(nodes),
        "parallel": len(grouped | branches),
        "conditional": sum(
            node.node_type == NodeType.CONDITION or bool(node.options.get("conditions")) for node in nodes
        ),
        "approval": sum(
            node.node_type == NodeType.APPROVAL or node.options.get("approval_required") is True
            for node in nodes
        ),
    }


def _bottlenecks(
    shape: regions.Shape, path: Sequence[int], timing: _Timing, history: Mapping[str, NodeHistory]
) -> list[tuple[str, str]]:
    """Return the nodes that hold the workflow up, each with its reason: share, spread or failures."""
    found: list[tuple[str, str]] = []
    on_path = set(path)
    for place, node in enumerate(shape.nodes):
        known = history.get(node.alias, NodeHistory())
        durations = sorted(known.durations_s[-LAST_SUCCESSES:])
        is_container = node.node_type in (NodeType.PARALLEL, NodeType.LOOP)
        share = timing.weight[place] / timing.total_s if timing.total_s else 0.0
        if place in on_path and not is_container and share > LARGE_SHARE:
            found.append((node.name, "share"))
        if durations and _percentile(durations, 0.95) > WIDE_SPREAD * max(_percentile(durations, 0.5), 1e-9):
            found.append((node.name, "spread"))
        if known.executions and known.failures / known.executions > MANY_FAILURES:
            found.append((node.name, "failures"))
    return found


def _percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of sorted values."""
    return values[min(int(share * len(values)), len(values) - 1)]


def _suggestions(shape: regions.Shape, path: Sequence[int], timing: _Timing) -> list[Suggestion]:
    """Return neighbours on the path without a data reference between them."""
    found = []
    for first, second in pairwise(path):
        one, other = shape.nodes[first], shape.nodes[second]
        are_work = all(_is_work(node) for node in (one, other))
        if are_work and shape.region_of[first] == shape.region_of[second] and not _refers(other, one):
            saved = min(timing.weight[first], timing.weight[second])
            if saved > 0:
                found.append(Suggestion((one.name, other.name), saved))
    return found


def _is_work(node: Node) -> bool:
    decides = (NodeType.START, NodeType.END, NodeType.CONDITION, NodeType.APPROVAL, NodeType.PARALLEL)
    return node.node_type not in (*decides, NodeType.LOOP, NodeType.MERGE)


def _refers(node: Node, other: Node) -> bool:
    """Return whether a node may need what another gives; in doubt it does."""
    try:
        template = templates.compile_template({**node.config, "options": dict(node.options)})
    except UsageError:
        return True
    return bool(template.roots & {other.alias, other.name, *_AFTER_ALL}) or _mentions(node, other)


def _mentions(node: Node, other: Node) -> bool:
    condition = str(node.config.get("condition", "")) + str(node.config.get("output_mapping", ""))
    return other.alias in condition


def _cycles(shape: regions.Shape) -> list[list[str]]:
    """Return the cycles by the names of their nodes, each once."""
    outgoing = shape.outgoing()
    found: list[list[str]] = []
    seen: set[int] = set()
    for start in range(len(shape.nodes)):
        if start in seen:
            continue
        trail: list[int] = []
        waiting: list[tuple[int, bool]] = [(start, False)]
        while waiting:
            place, is_left = waiting.pop()
            if is_left:
                trail.pop()
                continue
            if place in trail:
                found.append([shape.nodes[each].name for each in trail[trail.index(place) :]])
                continue
            if place in seen:
                continue
            seen.add(place)
            trail.append(place)
            waiting.append((place, True))
            waiting += [(link.target, False) for link in outgoing[place]]
    return found
