"""Which reports may go."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.retention import ReportSubject, Retention, StoredReport, expired, protected

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
limits = st.none() | st.integers(1, 30)
retentions = st.builds(Retention, days=limits, count=limits, megabytes=limits)


@st.composite
def shelves(draw: st.DrawFn) -> list[StoredReport]:
    """Draw the reports of an app, in any order."""
    number = draw(st.integers(0, 12))
    return [
        report(
            stem=f"r{each}",
            report_type=draw(st.sampled_from(["csv", "json"])),
            days=draw(st.integers(0, 60)),
            certified=draw(st.booleans()),
            megabytes=draw(st.integers(0, 10)),
            pointed=draw(st.integers(0, 5)) == 0,
            until_days=draw(st.none() | st.integers(0, 60)),
        )
        for each in draw(st.permutations(range(number)))
    ]


def report(
    stem: str,
    days: int = 0,
    *,
    report_type: str = "csv",
    certified: bool = False,
    megabytes: int = 1,
    pointed: bool = False,
    until_days: int | None = None,
) -> StoredReport:
    """Make a report that was kept so many days before NOW, of a window that ended before NOW, too."""
    return StoredReport(
        report_type=report_type,
        app="shop",
        stem=stem,
        stored_at=NOW - timedelta(days=days),
        certified=certified,
        size_bytes=megabytes * 1_000_000,
        names=(f"reports/{report_type}/{stem}.{report_type}",),
        pointed=pointed,
        until=None if until_days is None else NOW - timedelta(days=until_days),
    )


def gone(reports: list[StoredReport], retention: Retention) -> list[str]:
    """Name what goes."""
    return [each.report.stem for each in expired(reports, retention, NOW)]


@given(shelves(), retentions)
def test_the_newest_certified_and_the_pointed_stay(reports: list[StoredReport], retention: Retention) -> None:
    """Whatever the limits, each type keeps its newest certified report and all that a pointer names."""
    left = set(reports) - {each.report for each in expired(reports, retention, NOW)}
    assert {each for each in reports if each.pointed} <= left
    for kind in ("csv", "json"):
        certified = [each for each in reports if each.report_type == kind and each.certified]
        if certified:
            assert max(certified, key=lambda each: each.period_order) in left


@given(shelves(), retentions)
def test_decisions_are_stable(reports: list[StoredReport], retention: Retention) -> None:
    """The order of a list does not matter, and a second cleaning finds nothing more."""
    first = expired(reports, retention, NOW)
    assert first == expired(sorted(reports, key=lambda each: each.stem), retention, NOW)
    left = [each for each in reports if each not in {one.report for one in first}]
    assert expired(left, retention, NOW) == []


@given(shelves(), retentions)
def test_limits_are_kept(reports: list[StoredReport], retention: Retention) -> None:
    """What is left, but for what has to stay, keeps every limit."""
    held = set(reports) - {each.report for each in expired(reports, retention, NOW)}
    free = held - protected(reports)
    if retention.days is not None:
        assert all(each.stored_at >= NOW - timedelta(days=retention.days) for each in free)
    if retention.megabytes is not None and free:
        assert sum(each.size_bytes for each in held) <= retention.megabytes * 1_000_000
    if retention.count is not None:
        for kind in ("csv", "json"):
            newest = sorted(
                (each for each in reports if each.report_type == kind), key=lambda each: each.period_order
            )[-retention.count :]
            assert {each for each in free if each.report_type == kind} <= set(newest)


@given(shelves(), st.none() | st.integers(1, 5), st.none() | st.integers(1, 30))
def test_an_older_period_never_outlives_a_newer_one(
    reports: list[StoredReport], count: int | None, megabytes: int | None
) -> None:
    """By number and size, nothing goes while a report of an older period that may go stays, whenever kept."""
    chosen = {each.report for each in expired(reports, Retention(count=count, megabytes=megabytes), NOW)}
    free = set(reports) - chosen - protected(reports)
    for one in chosen:
        rivals = [each for each in free if each.series == one.series]
        assert all((each.until or each.stored_at) >= (one.until or one.stored_at) for each in rivals)


@given(shelves(), retentions)
def test_the_certified_report_of_the_newest_window_stays(
    reports: list[StoredReport], retention: Retention
) -> None:
    """However late older days were written, each type keeps a certified report of its newest window."""
    left = set(reports) - {each.report for each in expired(reports, retention, NOW)}
    for kind in ("csv", "json"):
        ends = {
            held: max(
                (
                    each.until or each.stored_at
                    for each in held
                    if each.certified and each.report_type == kind
                ),
                default=None,
            )
            for held in (frozenset(reports), frozenset(left))
        }
        assert len(set(ends.values())) == 1


def test_a_backfill_does_not_push_out_the_newest_day() -> None:
    """The report of yesterday stays, though those of earlier days were written after it."""
    reports = [
        report("yesterday", 3, until_days=3, certified=True),
        report("filled-1", 1, until_days=30, certified=True),
        report("filled-2", 0, until_days=29, certified=True, pointed=True),
    ]
    assert gone(reports, Retention(count=2)) == ["filled-1"]
    assert gone(reports, Retention(megabytes=2)) == ["filled-1"]


@pytest.mark.parametrize(
    ("window", "until"),
    [
        ("2026-11-20T16:00:00Z/2026-11-21T15:59:59Z", datetime(2026, 11, 21, 15, 59, 59, tzinfo=UTC)),
        (
            "2026-11-21T00:00:00+08:00/2026-11-21T23:59:59+08:00",
            datetime(2026, 11, 21, 15, 59, 59, tzinfo=UTC),
        ),
        ("", None),
        ("w", None),
        ("2026-11-21/2026-11-21", None),
    ],
)
def test_the_end_of_a_window_is_read(window: str, until: datetime | None) -> None:
    """In UTC; a window that is none, or names no zone, has no end to go by."""
    assert ReportSubject(window=window).until == until


def test_no_limits_keep_everything() -> None:
    """Without limits nothing goes, however old."""
    assert gone([report("a", 10_000)], Retention()) == []


def test_age() -> None:
    """A report goes when it is older than the days, not when it is just as old."""
    reports = [report("a", 31), report("b", 30), report("c", 1)]
    assert gone(reports, Retention(days=30)) == ["a"]
    assert [each.reason for each in expired(reports, Retention(days=30), NOW)] == ["older than 30 days"]


def test_number_counts_each_type() -> None:
    """The oldest beyond the number go, in each type."""
    reports = [report("a", 3), report("b", 2), report("c", 1), report("d", 9, report_type="json")]
    assert gone(reports, Retention(count=2)) == ["a"]


def test_size_counts_all_types() -> None:
    """The oldest go until all types together fit; what must stay takes its room first."""
    reports = [
        report("a", 4, megabytes=4, certified=True),
        report("b", 3, megabytes=4, report_type="json"),
        report("c", 2, megabytes=4),
        report("d", 1, megabytes=1),
    ]
    assert gone(reports, Retention(megabytes=9)) == ["b"]
    assert gone(reports, Retention(megabytes=1)) == ["b", "c", "d"]
