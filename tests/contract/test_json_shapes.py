"""The comparison of shapes notices what it is there to notice."""

import pytest
from json_shapes import Shape, compare

SEEN = (
    {"id": "a", "steps": 3, "error": None, "rows": [{"x": 1.5}]},
    {"id": "b", "steps": 4, "error": None, "rows": []},
)


def differ(value: object, opaque: frozenset[str] = frozenset()) -> list[str]:
    """Compare a value with what one release showed; another one showed an error text."""
    own, wider = Shape(), Shape()
    for seen in SEEN:
        own.learn(seen)
        wider.learn(seen)
        wider.learn({**seen, "error": "text"})
    return compare(value, own, wider, opaque)


@pytest.mark.parametrize("error", [None, "text"])
def test_equal_shapes(error: str | None) -> None:
    """Values do not count, whole and broken numbers are one type, always-null fields borrow a type."""
    assert differ({"id": "z", "steps": 9, "error": error, "rows": [{"x": 2}, {"x": 0.5}]}) == []


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"id": "a", "steps": 3, "error": None}, ".rows: missing"),
        ({**SEEN[0], "more": 1}, ".more: not recorded"),
        ({**SEEN[0], "steps": "3"}, ".steps: string, not ['number']"),
        ({**SEEN[0], "id": None}, ".id: null, not ['string']"),
        ({**SEEN[0], "error": 5}, ".error: number, not ['null', 'string']"),
        ({**SEEN[0], "rows": [{"x": 1}, {"y": 1}]}, ".rows[].x: missing"),
        ([], ": list, not ['object']"),
    ],
)
def test_differences(value: object, line: str) -> None:
    """Missing and additional fields, other types and unrecorded nulls are each told with their place."""
    assert differ(value)[0] == line


def test_opaque_places() -> None:
    """Nothing below them counts, their own type does."""
    opaque = frozenset({".rows"})
    assert differ({**SEEN[0], "rows": [{"y": 1}]}, opaque) == []
    assert differ({**SEEN[0], "rows": {}}, opaque) != []
