"""Letters in every ledger: posting, claiming, settling, listing."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import APP, AT, SECOND

from flowledger.domain.messages import Attachment, Message, OutboxMessage
from flowledger.errors import LedgerError
from flowledger.ports import Ledger

LEASE = timedelta(minutes=5)
ON_ONE_LEDGER = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def message(**changes: Any) -> Message:
    values: dict[str, Any] = {
        "message_id": "message-1",
        "subject": "日报 \0\ud800",
        "body": "**3** runs\n\0",
        "html": "<b>3</b>",
        "urgent": True,
        "attachments": (Attachment("日报.csv", "a/b/日报.csv", 2**40, "team"), Attachment("x", "y", 0)),
        "data": {"runs": 3, "nested": [1, None, {"é\0": 1.5}], "huge": 10**30, "\ud83d": "\udfff"},
    }
    return Message(**{**values, **changes})


def letter(number: int = 0, *, at_s: int | None = None, **changes: Any) -> OutboxMessage:
    """Make a letter posted, and due, ``number`` (or ``at_s``) seconds after AT."""
    posted_at = AT + (number if at_s is None else at_s) * SECOND
    values: dict[str, Any] = {
        "letter_id": f"notice-{number}/mail",
        "channel": "mail",
        "message": message(),
        "posted_at": posted_at,
        "not_before": posted_at,
        "app": APP,
    }
    return OutboxMessage(**{**values, **changes})


def ids(letters: Sequence[OutboxMessage]) -> list[str]:
    return [each.letter_id for each in letters]


def claim(ledger: Ledger, at: datetime = AT + 60 * SECOND, limit: int = 100) -> Sequence[OutboxMessage]:
    return ledger.claim(at, LEASE, limit=limit)


@pytest.mark.parametrize(
    "posted",
    [
        letter(),
        letter(app=None, message=Message(message_id="m", subject="", body="")),
        letter(message=Message(message_id="m", subject="", body="", recipients=("a@example.com", "b"))),
        letter(tries=3, problem="busy", not_before=AT + LEASE),
        letter(tries=1, sent_at=AT),
        letter(tries=9, problem="refused", given_up=True),
    ],
)
def test_a_letter_comes_back_as_it_was_posted(ledger: Ledger, posted: OutboxMessage) -> None:
    """Everything survives: the message exactly, its files, values of any kind, and times in UTC."""
    assert ledger.enqueue([posted]) == 1
    assert list(ledger.outbox_messages()) == [posted]


def test_the_same_letter_twice_is_once(ledger: Ledger) -> None:
    """In one posting or two, the first of an id stays; only new ones are counted."""
    assert ledger.enqueue([letter(1), letter(1, channel="other"), letter(2)]) == 2
    assert ledger.enqueue([letter(2, tries=5), letter(3)]) == 1
    assert ledger.enqueue([]) == 0
    assert list(ledger.outbox_messages()) == [letter(3), letter(2), letter(1)]


def test_letters_due_are_claimed_oldest_first(ledger: Ledger) -> None:
    """Those that may not be tried yet are left; of the same instant the one posted first comes first."""
    later = letter(4, not_before=AT + 61 * SECOND)
    ledger.enqueue([letter(3), letter(1, at_s=2), letter(2), later])
    assert ids(claim(ledger)) == ["notice-1/mail", "notice-2/mail", "notice-3/mail"]
    assert ids(claim(ledger, AT + 61 * SECOND)) == [later.letter_id]


def test_a_limit_leaves_the_newer_ones(ledger: Ledger) -> None:
    """Nothing beyond the limit is taken."""
    ledger.enqueue([letter(number) for number in range(5)])
    assert ids(claim(ledger, limit=0)) == []
    assert ids(claim(ledger, limit=2)) == ["notice-0/mail", "notice-1/mail"]
    assert ids(claim(ledger)) == ["notice-2/mail", "notice-3/mail", "notice-4/mail"]


def test_a_claimed_letter_is_nobody_elses_until_the_lease_ends(ledger: Ledger) -> None:
    """What a sender that died had taken is given out again, and not a moment earlier."""
    ledger.enqueue([letter()])
    assert list(claim(ledger, AT)) == [letter(not_before=AT + LEASE)]
    assert list(claim(ledger, AT + LEASE - SECOND)) == []
    assert list(claim(ledger, AT + LEASE)) == [letter(not_before=AT + 2 * LEASE)]
    assert list(ledger.outbox_messages(waiting=True)) == [letter(not_before=AT + 2 * LEASE)]


def test_what_came_of_a_letter_is_kept(ledger: Ledger) -> None:
    """Tries, problem and next try change; who it is for and what it says do not."""
    ledger.enqueue([letter(1), letter(2)])
    again = letter(1, tries=1, problem="端口 \ud800", not_before=AT + 90 * SECOND)
    ledger.complete(replace(again, channel="other", app=None, message=message(subject="other")))
    assert list(ledger.outbox_messages()) == [letter(2), replace(again, problem="端口 \ufffd")]
    assert ids(claim(ledger)) == ["notice-2/mail"]
    assert ids(claim(ledger, AT + 90 * SECOND)) == ["notice-1/mail"]


@pytest.mark.parametrize("end", [{"sent_at": AT + SECOND}, {"given_up": True, "problem": "refused"}])
def test_an_ended_letter_is_never_claimed(ledger: Ledger, end: dict[str, Any]) -> None:
    """Sent or given up, it stays as proof; a late answer does not make it wait again."""
    ended = letter(tries=2, **end)
    ledger.enqueue([letter()])
    ledger.complete(ended)
    ledger.complete(letter(tries=7, problem="timed out", not_before=AT))
    assert claim(ledger, AT + timedelta(days=9)) == []
    assert list(ledger.outbox_messages(waiting=False)) == [ended]


def test_a_letter_given_up_can_turn_out_sent(ledger: Ledger) -> None:
    """The proof that it was sent outweighs that it was given up, and not the other way round."""
    ledger.enqueue([letter()])
    ledger.complete(letter(tries=2, given_up=True))
    ledger.complete(letter(tries=1, sent_at=AT + SECOND))
    ledger.complete(letter(tries=5, given_up=True))
    assert list(ledger.outbox_messages()) == [letter(tries=2, sent_at=AT + SECOND)]


def test_a_letter_nobody_posted_is_named(ledger: Ledger) -> None:
    """Settling what is not there is no silent success."""
    with pytest.raises(LedgerError, match="message 'notice-1/mail' was never enqueued"):
        ledger.complete(letter(1))


def test_letters_are_listed_newest_first(ledger: Ledger) -> None:
    """All, those that wait, or the others; of the same instant the one posted last is first."""
    sent, lost = letter(1, sent_at=AT), letter(3, at_s=2, given_up=True)
    ledger.enqueue([sent, letter(2), lost, letter(4, at_s=0)])
    assert ids(ledger.outbox_messages()) == ids([lost, letter(2), sent, letter(4)])
    assert ids(ledger.outbox_messages(waiting=True)) == ids([letter(2), letter(4)])
    assert ids(ledger.outbox_messages(waiting=False)) == ids([lost, sent])
    assert ids(ledger.outbox_messages(limit=1)) == [lost.letter_id]
    assert ids(ledger.outbox_messages(waiting=True, limit=1)) == ["notice-2/mail"]


def test_hostile_ids_are_cleaned_everywhere(ledger: Ledger) -> None:
    """An id that databases refuse is the same letter at every step."""
    assert ledger.enqueue([letter(letter_id="a\0\ud800", channel="b\0"), letter(letter_id="a\0\udfff")]) == 1
    assert ledger.enqueue([letter(letter_id="a\0\ud801")]) == 0
    ledger.complete(letter(letter_id="a\0\ud802", sent_at=AT))
    (kept,) = ledger.outbox_messages()
    assert (kept.letter_id, kept.channel, kept.sent_at) == ("a\ufffd\ufffd", "b\ufffd", AT)


def test_claimers_never_get_the_same_letter(ledger: Ledger) -> None:
    """However many threads claim at once, each letter goes to one of them."""
    ledger.enqueue([letter(number) for number in range(40)])
    taken: list[str] = []

    def take() -> None:
        while found := claim(ledger, limit=3):
            taken.extend(ids(found))

    claimers = [threading.Thread(target=take) for _ in range(4)]
    for claimer in claimers:
        claimer.start()
    for claimer in claimers:
        claimer.join(timeout=30)
    assert sorted(taken) == sorted(f"notice-{number}/mail" for number in range(40))


def test_posting_from_threads_counts_each_letter_once(ledger: Ledger) -> None:
    """Of all that post the same letters at once, together they post them once."""
    fresh: list[int] = []
    letters = [letter(number) for number in range(20)]
    posters = [threading.Thread(target=lambda: fresh.append(ledger.enqueue(letters))) for _ in range(4)]
    for poster in posters:
        poster.start()
    for poster in posters:
        poster.join(timeout=30)
    assert (sum(fresh), len(ledger.outbox_messages())) == (20, 20)


texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
messages = st.builds(
    Message,
    message_id=texts,
    subject=texts,
    body=texts,
    html=texts,
    urgent=st.booleans(),
    attachments=st.lists(
        st.builds(Attachment, texts, texts, st.integers(min_value=0), texts), max_size=3
    ).map(tuple),
    data=st.dictionaries(texts, json_values, max_size=3),
)


@given(told=messages)
@ON_ONE_LEDGER
def test_any_message_comes_back_equal(ledger: Ledger, told: Message) -> None:
    """A message is kept exactly, whatever its texts and values are."""
    letter_id = str(uuid4())
    ledger.enqueue([letter(letter_id=letter_id, message=told)])
    assert {each.letter_id: each.message for each in ledger.outbox_messages(limit=1000)}[letter_id] == told


steps = st.lists(
    st.tuples(st.sampled_from(["post", "claim", "fail", "send", "give up"]), st.integers(0, 4)), max_size=25
)


@given(plan=steps)
@ON_ONE_LEDGER
def test_whatever_happens_a_letter_is_held_by_one_and_ends_once(
    ledger: Ledger, plan: Sequence[tuple[str, int]]
) -> None:
    """In any order of steps: no letter is claimed within another's lease, nor after it has ended."""
    world, now = str(uuid4()), AT
    leased: dict[str, datetime] = {}
    ended: set[str] = set()
    mine = {number: letter(number, letter_id=f"{world}/{number}", not_before=AT) for number in range(5)}
    for step, number in plan:
        now += LEASE / 3
        this = mine[number]
        if step == "claim":
            got = [each for each in claim(ledger, now) if each.letter_id.startswith(world)]
            assert not ended & set(ids(got))
            assert all(leased.get(each.letter_id, AT) <= now for each in got)
            leased.update((each.letter_id, now + LEASE) for each in got)
        elif step == "post":
            ledger.enqueue([this])
        elif this.letter_id in ids(ledger.outbox_messages(limit=1000)):
            changes = {"send": {"sent_at": now}, "give up": {"given_up": True}, "fail": {}}[step]
            ledger.complete(replace(this, not_before=now + LEASE, **changes))  # type: ignore[arg-type]
            if step != "fail":
                ended.add(this.letter_id)
            leased[this.letter_id] = now + LEASE
    assert ended <= set(ids(ledger.outbox_messages(waiting=False, limit=1000)))


def test_old_letters_that_wait_no_more_are_forgotten(ledger: Ledger) -> None:
    """What still waits stays however old it is, and so does what is young."""
    ledger.enqueue([letter(number) for number in range(4)])
    ledger.complete(letter(0, sent_at=AT))
    ledger.complete(letter(1, given_up=True))
    ledger.complete(letter(3, sent_at=AT + 3 * SECOND))
    assert ledger.forget_messages(AT + 3 * SECOND) == 2
    assert ids(ledger.outbox_messages()) == ids([letter(3), letter(2)])
    assert ledger.forget_messages(AT + 3 * SECOND) == 0
