"""Finds the runs of an app that no list shows by its conversations, with a proof that none was missed."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flowledger.domain import conversation_scan as scan
from flowledger.domain.certificates import RunSet, digest_of, together
from flowledger.domain.conversation_scan import Conversation, ConversationWalk, MessageWalk
from flowledger.domain.runs import Run
from flowledger.domain.window_scan import Verdict
from flowledger.domain.windows import Window
from flowledger.ports import Clock, RunSource

MAX_READINGS = 8
"""How often the list is read where it changed meanwhile, and with it the conversations that did."""
AHEAD = 4
"""How many conversations are handed out for each that is being read: what they hold waits in memory."""


@dataclass(frozen=True, slots=True)
class ReadConversation:
    """What reading a conversation came to: its runs of the window, and what casts doubt on them."""

    conversation: Conversation
    runs: RunSet
    doubt: str


@dataclass(frozen=True, slots=True)
class ConversationReader:
    """Reads the conversations around a window, many at once, for ``longest`` at most.

    ``add`` takes their runs as they come, ``advance`` how many there were.
    """

    source: RunSource
    window: Window
    add: Callable[[Sequence[Run]], None]
    advance: Callable[[int], None]
    clock: Clock
    began: datetime
    longest: timedelta
    at_once: int
    found: dict[str, ReadConversation] = field(default_factory=dict)

    def read(self) -> tuple[Verdict, RunSet]:
        """Return whether all runs of the window were found, and which.

        :raises FlowledgerError: when the source cannot be read; what was read by then was added.
        """
        doubt, known = "", None
        for _ in range(MAX_READINGS):
            known = scan.together(known, self._list())
            self._read_all([each for each in known.around if self._is_due(each)])
            doubt = self._late() or known.doubt or self._doubt(known.around)
            if not doubt or self._late():
                break
        runs = RunSet(0, 0)
        for each in self.found.values():
            runs = together(runs, each.runs)
        proof = f"complete by the messages of {len(self.found)} conversations"
        return Verdict(not doubt, doubt or proof, None, runs.count), runs

    def _list(self) -> ConversationWalk:
        walk = ConversationWalk(self.window)
        while not walk.finished and not self._late():
            walk = scan.observe(walk, self.source.conversations(walk.page))
        return walk

    def _is_due(self, conversation: Conversation) -> bool:
        read = self.found.get(conversation.conversation_id)
        return read is None or read.conversation != conversation or bool(read.doubt)

    def _read_all(self, conversations: Sequence[Conversation]) -> None:
        size = self.at_once * AHEAD
        with ThreadPoolExecutor(self.at_once, thread_name_prefix="collect") as pool:
            for start in range(0, len(conversations), size):
                if self._late():
                    return
                some = conversations[start : start + size]
                reading = [pool.submit(copy_context().run, self._read, each) for each in some]
                for future in reading:
                    self._take(*future.result())

    def _read(self, conversation: Conversation) -> tuple[MessageWalk, str]:
        # A message that is older than that by the source's clock had time to get its run.
        now = int(self.source.now().timestamp())
        walk = MessageWalk(self.window, conversation)
        while not walk.finished and not self._late():
            walk = scan.observe_messages(walk, self.source.messages(conversation, walk.before))
        doubt = walk.doubt
        if scan.lacks_run(walk, now):
            doubt = doubt or "a message of the last minute has no run yet"
        return walk, doubt

    def _take(self, walk: MessageWalk, doubt: str) -> None:
        runs = list(_runs_of(walk))
        self.add(runs)
        self.advance(len(runs))
        conversation = walk.conversation
        self.found[conversation.conversation_id] = ReadConversation(
            conversation, digest_of({run.run_id for run in runs}), doubt
        )

    def _doubt(self, conversations: Sequence[Conversation]) -> str:
        read = [self.found.get(each.conversation_id) for each in conversations]
        return next((each.doubt for each in read if each and each.doubt), "")

    def _late(self) -> str:
        is_late = self.clock() - self.began > self.longest
        return f"reading did not end within {self.longest}" if is_late else ""


def _runs_of(walk: MessageWalk) -> Iterator[Run]:
    return (message.run for message in walk.messages if message.run is not None)
