"""Where an execution can begin anew: which of its steps a restart from one of them replaces."""

from collections.abc import Iterable

from flowledger.domain.workflows.definition import NodeType
from flowledger.domain.workflows.frames import gated_key
from flowledger.domain.workflows.graph import CompiledWorkflow


def replaced(workflow: CompiledWorkflow, key: str, recorded: Iterable[str]) -> set[str]:
    """Return the recorded keys that a restart from a step replaces.

    These are the step with all inside it, what follows it, later passes of the loops it is in, and the
    containers around it with what follows them.  Other branches and earlier passes keep what they gave.

    :raises KeyError: when the workflow has no such step.
    """
    parts = gated_key(key).split("/")
    own = [*recorded]
    whole: set[str] = set()
    around: set[str] = set()
    for end in range(len(parts) - 1, -1, -2):
        index = workflow.by_alias[parts[end]]
        prefix = "/".join(parts[:end])
        prefix = f"{prefix}/" if prefix else ""
        if end == len(parts) - 1:
            whole.add(prefix + parts[end])
        else:
            around.add(prefix + parts[end])
            if workflow.nodes[index].node.node_type == NodeType.LOOP:
                own_pass, loop = int(parts[end + 1]), prefix + parts[end]
                whole |= {each for each in _passes(loop, own) if int(each.rpartition("/")[2]) > own_pass}
        whole |= {prefix + alias for alias in _following(workflow, index)}
    return {each for each in own if each in around or gated_key(each) in around or _is_within(each, whole)}


def _is_within(key: str, places: set[str]) -> bool:
    end = len(key)
    while end > 0:
        if key[:end] in places:
            return True
        end = key.rfind("/", 0, end)
    return False


def _passes(loop: str, recorded: Iterable[str]) -> set[str]:
    start = len(loop) + 1
    inside = (key for key in recorded if key.startswith(f"{loop}/"))
    numbers = {key[start:].partition("/")[0] for key in inside}
    return {f"{loop}/{number}" for number in numbers if number.isdecimal()}


def _following(workflow: CompiledWorkflow, index: int) -> set[str]:
    """Return the aliases of what a node leads to in its region."""
    reached: set[int] = set()
    pending = [index]
    while pending:
        node = workflow.nodes[pending.pop()]
        for edge in (*node.outgoing, *node.exits):
            target = workflow.nodes[edge.target]
            if target.region == workflow.nodes[index].region and edge.target not in reached:
                reached.add(edge.target)
                pending.append(edge.target)
    return {workflow.nodes[each].alias for each in reached}
