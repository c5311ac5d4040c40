"""Where nodes are drawn."""

from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.workflows import layout
from flowledger.domain.workflows.definition import Connection, Definition, Node


def drawn(
    nodes: int, ways: list[tuple[int, int]], **placed: tuple[float, float]
) -> list[tuple[float, float]]:
    """The places of nodes 1 to n."""
    made = [
        Node(number, f"n{number}", f"n{number}", "MERGE", {}, "", *placed.get(f"n{number}", (None, None)))
        for number in range(1, nodes + 1)
    ]
    links = [Connection(number, *way) for number, way in enumerate(ways, 1)]
    places = layout.positions(Definition("w", nodes=tuple(made), connections=tuple(links)))
    return [places[number] for number in range(1, nodes + 1)]


def test_columns_follow_connections() -> None:
    """What is placed stays."""
    assert drawn(4, [(1, 2), (1, 3), (2, 4), (3, 4)], n3=(7.0, 8.0)) == [
        (0.0, 0.0),
        (200.0, 0.0),
        (7.0, 8.0),
        (400.0, 0.0),
    ]


@given(st.integers(1, 8), st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=20))
def test_every_node_has_a_place_of_its_own(nodes: int, ways: list[tuple[int, int]]) -> None:
    """Cycles and connections to nowhere too."""
    places = drawn(nodes, ways)
    assert len(set(places)) == nodes
