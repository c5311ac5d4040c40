"""Date texts of the log list's bounds."""

from datetime import UTC, datetime

import pytest

from flowledger_simulator.log_list import parse_instant

MOMENT = datetime(2026, 11, 21, 10, 54, 19, tzinfo=UTC).timestamp()
DAY = datetime(2026, 11, 21, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-21T10:54:19Z", MOMENT),
        ("2026-11-21T10:54:19", MOMENT),
        ("2026-11-21 10:54:19", MOMENT),
        ("20261121T105419Z", MOMENT),
        ("2026-11-21T18:54:19+08:00", MOMENT),
        ("2026-11-21T05:24:19-0530", MOMENT),
        ("2026-11-21T10:54:19.500Z", MOMENT + 0.5),
        ("2026-11-21T10:54", MOMENT - 19),
        ("2026-11-21", DAY),
        ("2026-11-20T24:00:00", DAY),
        ("2026-W47-6", DAY),
        ("2026-11", datetime(2026, 11, 1, tzinfo=UTC).timestamp()),
        ("2026", datetime(2026, 1, 1, tzinfo=UTC).timestamp()),
    ],
)
def test_accepted_texts(text: str, seconds: float) -> None:
    """ISO 8601 in its many forms is read; without an offset it is UTC."""
    assert parse_instant(text) == seconds


@pytest.mark.parametrize("text", ["1795229659", "yesterday", "2026-11-31", "2026-11-21T10:54:19 08:00", " "])
def test_refused_texts(text: str) -> None:
    """Epoch seconds, words, impossible dates and unescaped offsets are refused."""
    with pytest.raises(ValueError, match=r"ISO|invalid literal"):
        parse_instant(text)
