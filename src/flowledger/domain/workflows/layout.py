"""Where nodes are drawn that nobody has placed: in columns, each right of what leads to it.  Pure."""

from collections.abc import Mapping

from flowledger.domain.workflows.definition import Definition

COLUMN, ROW = 200.0, 100.0
"""Distance of columns and of rows."""


def positions(definition: Definition) -> Mapping[int, tuple[float, float]]:
    """Return where each node is drawn, by its number: where people placed it, else a place of its own."""
    depth = _depths(definition)
    rows: dict[int, int] = {}
    places: dict[int, tuple[float, float]] = {}
    for node in sorted(definition.nodes, key=lambda node: (depth[node.id], node.id)):
        column = depth[node.id]
        x = column * COLUMN if node.position_x is None else node.position_x
        y = rows.get(column, 0) * ROW if node.position_y is None else node.position_y
        rows[column] = rows.get(column, 0) + 1
        places[node.id] = (x, y)
    return places


def _depths(definition: Definition) -> dict[int, int]:
    """Return how many connections lead to each node on the shortest way from a node that none leads to."""
    depth = {node.id: -1 for node in definition.nodes}
    onward: dict[int, list[int]] = {number: [] for number in depth}
    targets = set()
    for each in definition.connections:
        if each.from_id in depth and each.to_id in depth:
            onward[each.from_id].append(each.to_id)
            targets.add(each.to_id)
    # What is on a cycle without an entrance begins one itself.
    for start in [*(number for number in depth if number not in targets), *depth]:
        if depth[start] >= 0:
            continue
        depth[start] = 0
        layer = [start]
        while layer:
            following = []
            for source in layer:
                for target in onward[source]:
                    if depth[target] < 0:
                        depth[target] = depth[source] + 1
                        following.append(target)
            layer = following
    return depth
