"""Merging the sightings of one run: nothing that one carried is lost by another, in any order."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowledger.domain.merging import merge
from flowledger.domain.runs import AppKey, Creator, Run, RunStatus

START = datetime(2026, 11, 1, tzinfo=UTC)
USER = Creator("end_user", "user-1", "小王", None, "小王")
LOG_ROW = Run(
    app=AppKey("dify", "app-1"),
    run_id="run-1",
    listed_at=START,
    status=RunStatus.FAILED,
    source_status="failed",
    log_id="log-1",
    workflow_version="2026-11-22 00:41:00.163542",
    created_from="service-api",
    creator=USER,
    error="out of credit",
    elapsed_s=Decimal("1.230"),
    total_tokens=333,
    total_steps=6,
    exceptions_count=1,
    started_at=START,
    finished_at=START + timedelta(seconds=2),
    raw=b'{"id": "log-1"}',
)
CURSOR_ROW = replace(
    LOG_ROW, log_id="run-1", created_from=None, creator=None, error=None, raw=b'{"id": "run-1"}'
)
DETAIL = replace(
    LOG_ROW,
    log_id=None,
    workflow_version=None,
    created_from=None,
    creator=Creator("end_user"),
    exceptions_count=None,
    raw=b"",
)
GONE_ROW = Run(
    app=LOG_ROW.app,
    run_id="log:log-1",
    listed_at=START,
    status=RunStatus.INTERRUPTED,
    source_status="",
    log_id="log-1",
    gone=True,
    created_from="service-api",
    creator=USER,
    raw=b'{"id": "log-1", "workflow_run": null}',
)


def begun(row: Run) -> Run:
    """Return a row as it was while the run went on."""
    open_row = replace(row, status=RunStatus.RUNNING, source_status="running", error=None)
    return replace(open_row, finished_at=None, total_steps=None, exceptions_count=None)


EVERY_KIND = (*(LOG_ROW, CURSOR_ROW, DETAIL, GONE_ROW), *map(begun, (LOG_ROW, CURSOR_ROW, DETAIL)))
NAMES = [each.name for each in fields(Run)]
PERSON = [each.name for each in fields(Creator)]


def merged(sightings: Sequence[Run]) -> Run:
    stored = sightings[0]
    for sighting in sightings[1:]:
        stored = merge(stored, sighting)
    return stored


@settings(max_examples=300, derandomize=True, deadline=None)
@given(seen=st.lists(st.sampled_from(EVERY_KIND), min_size=1, max_size=10))
def test_no_sighting_takes_away_what_another_carried(seen: Sequence[Run]) -> None:
    """Whatever any row carried is there in the end, however the kinds of rows follow one another."""
    result = merged([*seen, *seen])
    for name in NAMES:
        if any(getattr(each, name) is not None for each in seen):
            assert getattr(result, name) is not None, name
    for name in PERSON:
        if any(getattr(each.creator, name, None) is not None for each in seen):
            assert getattr(result.creator, name) == getattr(USER, name)
    ends = [not each.status.is_open for each in seen if not each.gone]
    assert result.status.is_open == (bool(ends) and not any(ends))


@pytest.mark.parametrize("listed", [LOG_ROW, CURSOR_ROW])
def test_the_order_of_sightings_does_not_matter(listed: Run) -> None:
    """A list's row, its beginning and the run's detail make the same run, whichever is read first."""
    found = {merged(order) for order in permutations((listed, begun(listed), DETAIL))}
    assert {replace(each, raw=b"", log_id=None) for each in found} == {
        replace(listed, raw=b"", log_id=None, creator=merged((listed, DETAIL)).creator, error="out of credit")
    }


def test_a_deleted_run_stays_as_it_was() -> None:
    """The row of a deleted run marks it and nothing else."""
    assert merge(LOG_ROW, GONE_ROW) == replace(LOG_ROW, gone=True)
    assert merge(GONE_ROW, LOG_ROW) == LOG_ROW


def test_a_run_that_went_well_after_all_has_no_error() -> None:
    """What held for the run before is not taken over where the new status contradicts it."""
    assert merge(begun(LOG_ROW), replace(CURSOR_ROW, status=RunStatus.SUCCESS)).error is None
    ended = replace(LOG_ROW, status=RunStatus.SUCCESS, error=None)
    assert merge(LOG_ROW, ended).error is None


def test_another_persons_row_is_not_mixed_with_the_first() -> None:
    """Fields of two people never make one person."""
    other = Creator("account", "account-1", "小李", "li@example.com")
    assert merge(LOG_ROW, replace(LOG_ROW, creator=other)).creator == other
