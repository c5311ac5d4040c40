"""What Prefect has to be told of: each execution once, within bounds, and never more than once at a time."""

import asyncio

import pytest
from workflow_place import document, node, place

from flowledger.services.workflows import reporting
from flowledger.services.workflows.reporting import ReportQueue
from flowledger.workflow_ports import LEASE

CHAIN = document([node("start", "START"), node("end", "END")], [("start", "end")])


def taken(queue: ReportQueue) -> list[int]:
    """Take all that is queued."""
    found: list[int] = []
    while True:
        with queue.taken() as number:
            if number is None:
                return found
            found.append(number)


def test_an_execution_is_queued_once() -> None:
    """However often it changes before its turn."""
    queue = ReportQueue()
    for number in (1, 2, 1, 3, 2):
        queue.add(number)
    assert taken(queue) == [1, 2, 3]
    assert queue.is_empty


def test_one_in_hand_is_nobody_elses() -> None:
    """What changes meanwhile is told afterwards."""
    queue = ReportQueue()
    queue.add(1)
    with queue.taken() as number:
        assert number == 1
        queue.add(1)
        assert taken(queue) == []
        assert not queue.is_empty
    assert taken(queue) == [1]


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot hold the ledger knows as not reported."""
    monkeypatch.setattr(reporting, "LONGEST_QUEUE", 2)
    queue = ReportQueue()
    for number in (1, 2, 3):
        queue.add(number)
    assert taken(queue) == [1, 2]


def test_an_execution_waits_for_its_registration() -> None:
    """With ``first`` it starts once Prefect knows it, and others at once."""
    queue = ReportQueue(registers_first=True)
    there = place(queue)
    first = there.order(there.publish(CHAIN))
    claim = there.store.take_one(first.id, "w1", there.now, LEASE)
    assert claim is not None

    async def begin() -> bool:
        beginning = asyncio.create_task(queue.began(claim))
        await asyncio.sleep(0)
        is_waiting = not beginning.done()
        queue.registered(first.id)
        await beginning
        return is_waiting

    assert asyncio.run(begin())


@pytest.mark.parametrize("is_closed", [True, False])
def test_an_execution_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch, *, is_closed: bool) -> None:
    """Where Prefect is away it starts without, at once where nobody will tell."""
    monkeypatch.setattr(reporting, "REGISTERS_WITHIN_S", 0.01)
    queue = ReportQueue(registers_first=True)
    if is_closed:
        queue.close()
    there = place(queue)
    assert there.run(there.order(there.publish(CHAIN))).status == "success"
    assert taken(queue) == [1]
