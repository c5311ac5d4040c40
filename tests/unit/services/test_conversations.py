"""Runs found by conversations: what is certified is complete, whatever moves or lies meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from fake_source import APP, FakeSource, decode
from hypothesis import given, settings
from hypothesis import strategies as st

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.conversation_scan import LAG, Conversation, ConversationPage, Message, MessagePage
from flowledger.domain.run_filters import FilterSplit
from flowledger.domain.runs import Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import SilentProgress
from flowledger.services import collect
from flowledger.services.collect import Collector

START = 1_795_219_200
WINDOW = Window(START, START + 599)
NOW = datetime.fromtimestamp(START + 100_000, UTC)
PAGE = 100
QUIET_S = LAG + 1

Talk = dict[str, list[int]]
"""The seconds of each conversation's messages, oldest first, counted from START."""


@dataclass
class TalkingSource(FakeSource):
    """Lists conversations as Dify does: by pages, the last changed first, those of one second in any order.

    ``events`` are done before the pages of their numbers: a conversation is talked in, goes, or begins.
    """

    talk: Talk = field(default_factory=dict)
    events: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    log_list: bool = False
    pages: int = 0

    def lists_runs(self) -> bool:
        return False

    def conversations(self, page: int) -> ConversationPage:
        self.pages += 1
        for what, pick in self.events.get(self.pages, ()):
            self._do(what, pick)
        rows = [
            Conversation(name, START + seconds[0], START + seconds[-1], len(seconds))
            for name, seconds in self.talk.items()
        ]
        self.random.shuffle(rows)
        rows.sort(key=lambda row: -row.changed)
        shown = rows[(page - 1) * PAGE : page * PAGE]
        return ConversationPage(shown, len(rows), len(rows) > page * PAGE)

    def _do(self, what: str, pick: int) -> None:
        names = sorted(self.talk)
        if what == "begin" or not names:
            self.talk[f"new-{self.pages}-{pick}"] = [90_000 + self.pages]
        elif what == "go":
            del self.talk[names[pick % len(names)]]
        else:
            self.talk[names[pick % len(names)]].append(90_000 + self.pages)

    def messages(self, conversation: Conversation, before: str | None) -> MessagePage:
        name = conversation.conversation_id
        if name not in self.talk:
            return MessagePage((), False, "listed a conversation and then did not know it")
        rows = [message(name, number, second) for number, second in enumerate(self.talk[name])]
        if before is not None:
            first = next(row for row in rows if row.message_id == before)
            rows = [row for row in rows if row.second < first.second]
        self.random.shuffle(rows)
        rows.sort(key=lambda row: -row.second)
        shown = rows[:PAGE]
        more = len(shown) == PAGE and any(row.second < shown[-1].second for row in rows)
        return MessagePage(shown, more)


def message(name: str, number: int, second: int) -> Message:
    """A message with its run, whose state it does not tell."""
    at = datetime.fromtimestamp(START + second, UTC)
    run_id = f"{name}/{number}"
    run = Run(APP, run_id, at, RunStatus.RUNNING, "", log_id=run_id, raw=b"{}")
    return Message(run_id, START + second, run)


def collected(source: FakeSource) -> tuple[Certificate, set[str]]:
    """Collect the window; give the certificate and the ids that are stored."""
    ledger = SqlLedger.open("memory://", {"dify": decode})
    certificate = Collector(source, ledger, lambda: NOW, SilentProgress(), at_once=2).collect(
        WINDOW, FilterSplit()
    )
    return certificate, {each.run.run_id for each in ledger.entries(Scope(APP, WINDOW), with_details=False)}


def inside(talk: Talk) -> set[str]:
    """The ids of the runs of the window."""
    return {
        f"{name}/{number}"
        for name, seconds in talk.items()
        for number, second in enumerate(seconds)
        if 0 <= second <= 599
    }


def talk_of(ends: Sequence[int], before: Sequence[int] = ()) -> Talk:
    """One conversation for each second of its last message, some with earlier messages."""
    talk: Talk = {f"c{number:03}": [end] for number, end in enumerate(ends)}
    for number, second in enumerate(before):
        name = f"c{number % len(talk):03}" if talk else ""
        if talk and second <= talk[name][-1]:
            talk[name] = sorted([second, *talk[name]])
    return talk


seconds_of = st.lists(st.integers(-3 * LAG, 3000), max_size=20)
crowds = st.tuples(st.integers(-2 * LAG, 1500), st.integers(90, 130)).map(lambda crowd: [crowd[0]] * crowd[1])
ends = st.lists(seconds_of | crowds, max_size=4).map(
    lambda groups: [each for group in groups for each in group]
)
events = st.dictionaries(
    st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from(["talk", "go", "begin"]), st.integers(0, 999)), max_size=3),
    max_size=6,
)


@pytest.mark.fault(9, 10, 12)
@settings(max_examples=40)
@given(ends, st.lists(st.integers(-3000, 3000), max_size=60), events, st.integers(0, 99))
def test_what_is_certified_holds_every_run_that_was_there_all_the_time(
    ends: list[int], before: list[int], events: dict[int, list[tuple[str, int]]], seed: int
) -> None:
    """Conversations are talked in, go and begin between the pages; those of one second change places."""
    source = TalkingSource(talk=talk_of(ends, before), events=events, random=Random(seed))
    at_first = inside(source.talk)
    certificate, stored = collected(source)
    throughout = at_first & inside(source.talk)
    assert not certificate.certified or throughout <= stored
    assert stored <= at_first
    if not events and len(ends) <= PAGE:
        assert certificate.certified, certificate.reason


def test_a_crowded_second_at_the_border_of_a_page_is_read_until_all_were_seen() -> None:
    """Readings add up where nothing changed between them."""
    source = TalkingSource(talk=talk_of([*range(200, 290), *([100] * 30), *range(20)]))
    certificate, stored = collected(source)
    assert (certificate.certified, stored) == (True, inside(source.talk))
    assert certificate.reason == "complete by the messages of 140 conversations"


@pytest.mark.parametrize("length", [99, 100, 101, 350])
@pytest.mark.parametrize("same", [1, 7])
def test_a_long_conversation_is_read_whole(length: int, same: int) -> None:
    """Messages of one second are not lost between its pages."""
    source = TalkingSource(talk={"c": [number // same for number in range(length)]})
    certificate, stored = collected(source)
    assert (certificate.certified, stored) == (True, inside(source.talk))


def test_a_long_conversation_is_read_no_further_than_the_window() -> None:
    """What was said before it costs nothing."""

    asked: list[str | None] = []

    class Counting(TalkingSource):
        def messages(self, conversation: Conversation, before: str | None) -> MessagePage:
            asked.append(before)
            return super().messages(conversation, before)

    certificate, stored = collected(Counting(talk={"c": [*range(-5000, 0), 5]}))
    assert (certificate.certified, stored, asked) == (True, {"c/5000"}, [None])


def test_more_messages_in_a_second_than_a_page_holds_are_told() -> None:
    """The cursor cannot pass them, so nothing is proved."""
    certificate, stored = collected(TalkingSource(talk={"c": [*range(50), *([50] * 120)]}))
    assert not certificate.certified
    assert certificate.reason == "a second of a conversation holds more messages than a page shows at once"
    assert len(stored) >= 150


def test_a_message_that_has_no_run_yet_is_waited_for() -> None:
    """One of the last minute may get a run; an older one was answered without any."""

    class Answering(TalkingSource):
        def messages(self, conversation: Conversation, before: str | None) -> MessagePage:
            page = super().messages(conversation, before)
            return replace(page, messages=[replace(each, run=None) for each in page.messages])

        def now(self) -> datetime:
            return NOW - timedelta(seconds=self.age)

        age = 0

    source = Answering(talk={"c": [590]})
    assert collected(source)[0].certified
    source.age = 100_000 - 600
    certificate, _ = collected(source)
    assert (certificate.certified, certificate.reason) == (
        False,
        "a message of the last minute has no run yet",
    )


class Lying(TalkingSource):
    """Answers one page wrongly, each time."""

    lie: str = ""

    def conversations(self, page: int) -> ConversationPage:
        answer = super().conversations(page)
        rows = list(answer.conversations)
        lies = {
            "hide": replace(answer, conversations=rows[1:]),
            "repeat": replace(answer, conversations=[rows[0], *rows[:-1]]),
            "more": replace(answer, has_more=True),
            "no more": replace(answer, has_more=False),
            "total above": replace(answer, total=answer.total + 1),
            "total below": replace(answer, total=answer.total - 1),
            "empty": replace(answer, conversations=[]),
            "order": replace(answer, conversations=rows[::-1]),
            "error": replace(answer, problem="answered with an error beside the rows (500)"),
        }
        return lies.get(self.lie, answer)

    def messages(self, conversation: Conversation, before: str | None) -> MessagePage:
        answer = super().messages(conversation, before)
        rows = list(answer.messages)
        lies = {
            "hidden message": replace(answer, messages=rows[1:]),
            "repeated page": replace(super().messages(conversation, None), has_more=True),
            "more messages": replace(answer, has_more=True),
            "no more messages": replace(answer, has_more=False),
            "no messages": replace(answer, messages=[]),
            "messages in disorder": replace(answer, messages=rows[::-1]),
            "error in messages": replace(answer, problem="answered with an error beside the rows (500)"),
        }
        return lies.get(self.lie, answer)


@pytest.mark.fault(9, 10, 12)
@pytest.mark.parametrize(
    "lie",
    [
        *("hide", "repeat", "more", "no more", "total above", "total below", "empty", "order", "error"),
        *("hidden message", "repeated page", "more messages", "no more messages", "no messages"),
        *("messages in disorder", "error in messages"),
    ],
)
def test_an_answer_that_contradicts_itself_is_no_proof(lie: str) -> None:
    """Reading ends all the same, and what was seen is stored."""
    source = Lying(talk={**talk_of(range(150)), "long": list(range(250))})
    source.lie = lie
    certificate, stored = collected(source)
    # A full page is gone on from, whatever it says of others.
    assert certificate.certified == (lie == "no more messages")
    assert stored == inside(source.talk) if certificate.certified else stored <= inside(source.talk)
    assert source.pages <= 40


def test_conversations_whose_time_does_not_follow_their_messages_prove_nothing() -> None:
    """A release that never changes it lists them in another order than is relied on."""

    class Still(TalkingSource):
        def conversations(self, page: int) -> ConversationPage:
            answer = super().conversations(page)
            return replace(
                answer, conversations=[replace(row, changed=row.began) for row in answer.conversations]
            )

    certificate, _ = collected(Still(talk={"c": [0, QUIET_S]}))
    assert (certificate.certified, certificate.reason) == (
        False,
        "a conversation has messages newer than its last change",
    )


def test_two_messages_of_one_run_are_told() -> None:
    """As many runs are stored as there are, and the window is not certified."""

    class Doubled(TalkingSource):
        def messages(self, conversation: Conversation, before: str | None) -> MessagePage:
            answer = super().messages(conversation, before)
            rows = [replace(each, run=each.run and replace(each.run, run_id="r")) for each in answer.messages]
            return replace(answer, messages=rows)

    certificate, stored = collected(Doubled(talk=talk_of([5, 6])))
    assert (certificate.certified, stored) == (False, {"r"})
    assert certificate.reason == "the list showed 2 rows of the window, which are 1 runs"


def test_reading_conversations_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that answers for ever is given up, with what was read stored."""
    monkeypatch.setattr(collect, "MAX_TIME", timedelta(seconds=10))
    ticks = iter(range(10_000))
    ledger = SqlLedger.open("memory://", {"dify": decode})
    certificate = Collector(
        TalkingSource(talk=talk_of(range(300))),
        ledger,
        lambda: NOW + timedelta(seconds=next(ticks)),
        SilentProgress(),
    ).collect(WINDOW, FilterSplit())
    assert not certificate.certified
    assert certificate.reason == "reading did not end within 0:00:10"


def test_a_sighting_without_state_takes_none_away() -> None:
    """A message tells nothing of how its run stands; what was read of it stays."""
    from flowledger.domain.merging import merge

    sighting = message("c", 0, 5).run
    assert sighting
    paused = replace(sighting, status=RunStatus.PAUSED, source_status="paused", error="x")
    assert merge(paused, sighting) == paused
    assert merge(sighting, paused) == paused
