"""Where an app's history is cut, and what a manifest says."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.archives import Manifest, Part, archive_name, cut_of, manifest_of
from flowledger.domain.history import RunSize
from flowledger.domain.operations import differences, fingerprints
from flowledger.domain.retention import Retention
from flowledger.domain.runs import AppKey, Run, RunStatus
from flowledger.errors import StorageError

NOW = datetime(2026, 11, 22, tzinfo=UTC)
APP = AppKey("dify", "a/b")
LIMIT = st.none() | st.integers(1, 8)


def run(size: RunSize) -> Run:
    """Make the run of a size."""
    return Run(APP, size.run_id, size.listed_at, RunStatus.SUCCESS, "succeeded")


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3_000_000)), max_size=12),
    st.builds(Retention, LIMIT, LIMIT, LIMIT),
)
def test_exactly_what_fits_stays(runs: list[tuple[int, int]], retention: Retention) -> None:
    """The newest stay as long as age, number and size together allow; all behind them go."""
    sizes = [
        RunSize(f"run-{place}", NOW - timedelta(days=days), size)
        for place, (days, size) in enumerate(sorted(runs, key=lambda each: each[0]))
    ]
    cut = cut_of(iter(sizes), retention, NOW)
    kept, total = 0, 0
    for each in sizes:
        total += each.size_bytes
        is_old = retention.days is not None and each.listed_at < NOW - timedelta(days=retention.days)
        is_many = retention.count is not None and kept >= retention.count
        is_large = retention.megabytes is not None and total > retention.megabytes * 1_000_000
        if is_old or is_many or is_large:
            break
        kept += 1
    taken = [cut is not None and cut.covers(run(each)) for each in sizes]
    assert taken == [place >= kept for place in range(len(sizes))]


def test_no_limit_reads_nothing() -> None:
    """Without limits, and by age alone, the sizes are not asked for; absurd ages do not overflow."""

    def never() -> list[RunSize]:
        raise AssertionError("asked")

    asked = (each for _ in (0,) for each in never())
    assert cut_of(asked, Retention(), NOW) is None
    cut = cut_of(asked, Retention(days=10**12), NOW)
    assert cut is not None
    assert cut.until.year < 1930


def manifest() -> Manifest:
    """Make a manifest."""
    name = archive_name(APP, NOW - timedelta(days=1), NOW, NOW, "abcd")
    part = Part("part-00001.parquet", 2, 10, "00")
    return Manifest(name, APP, "shop", "more than 1 runs", NOW, "me", NOW, NOW, 2, {"success": 2}, (part,))


def test_a_manifest_comes_back() -> None:
    """What is written is read; a name has no part that leads elsewhere."""
    assert manifest_of(manifest().document(), "there") == manifest()
    assert manifest().archive.count("/") == 2
    assert manifest().archive.endswith("/20261121T000000Z-20261122T000000Z_20261122T000000Z-abcd")


@pytest.mark.parametrize(
    "change", [{"format": "x"}, {"version": 2}, {"app": "x"}, {"runs": "x"}, {"parts": 3}, {"newest": 1}]
)
def test_what_is_no_manifest_is_refused(change: dict[str, object]) -> None:
    """Another format, a newer version or a wrong field is refused with its place."""
    with pytest.raises(StorageError, match="there"):
        manifest_of(manifest().document() | change, "there")
    with pytest.raises(StorageError, match="there"):
        manifest_of([], "there")


def test_changes_are_named() -> None:
    """Settings are compared by hash; nothing is told of equal ones."""
    before, now = fingerprints({"a": 1, "b": [2], "c": None}), fingerprints({"a": 1, "b": [3], "d": "x"})
    assert differences(before, now) == {"added": ["d"], "changed": ["b"], "removed": ["c"]}
    assert differences(now, now) == {}
