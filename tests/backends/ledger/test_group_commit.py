"""Group commit: one transaction for what waits at the same moment, and each caller gets its own result."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from flowledger.ledger.sql.group_commit import GroupCommit


def test_what_waits_is_written_together() -> None:
    """While the first is being written, the others gather; each gets its own result or error."""
    batches: list[list[int]] = []
    began, may_end = Event(), Event()

    def write(items: Sequence[int]) -> Sequence[int | Exception]:
        batches.append(list(items))
        began.set()
        assert may_end.wait(30)
        return [ValueError(item) if item == 3 else item * 10 for item in items]

    group: GroupCommit[int, int] = GroupCommit(write)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(group.submit, 0)
        assert began.wait(30)
        others = [pool.submit(group.submit, number) for number in range(1, 5)]
        while len(group._waiting) < 4:
            pass
        may_end.set()
        assert first.result(30) == 0
        assert [others[place].result(30) for place in (0, 1, 3)] == [10, 20, 40]
        with pytest.raises(ValueError, match="3"):
            others[2].result(30)
    assert [len(batch) for batch in batches] == [1, 4]


def test_a_failed_transaction_is_everybodys_error() -> None:
    """Nothing was written, and the next one is tried anew."""
    fails = True

    def write(items: Sequence[int]) -> Sequence[int]:
        if fails:
            raise OSError("the disk is full")
        return items

    group: GroupCommit[int, int] = GroupCommit(write)
    with pytest.raises(OSError, match="full"):
        group.submit(1)
    fails = False
    assert group.submit(2) == 2


def test_a_batch_is_bounded() -> None:
    """More than the limit are several transactions."""
    sizes: list[int] = []

    def write(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        return items

    group: GroupCommit[int, int] = GroupCommit(write, most=2)
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(group.submit, range(20))) == list(range(20))
    assert max(sizes) <= 2
    assert sum(sizes) == 20
