"""The conversation walk: runs that no list shows, found by the messages of the conversations they answered.

Up to 1.9.1 nothing lists a chatflow's runs, but each message names its own
(docs/dify-api.md "Conversations").  Conversations come by page numbers, the last changed first, down to those
that were quiet before the window began.  Those of one second change places between pages, and whatever is
talked in moves to the first.  So the list is proved by this: as many different conversations were seen as
rows were shown, while the total stayed the same from page to page.  For what is talked in pushes others onto
the next page, where they are shown a second time; what is deleted pulls others off it, and lowers the total
unless as many begin, which push them back.  Where rows are missing the list is read again, and what was seen
before counts as long as neither the total nor the newest conversations are others.

Messages of a conversation come by a cursor that goes on strictly below the time, in whole seconds, of the
message it names.  So it is set above the oldest second of a page, and that second is read again whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from flowledger.domain.runs import Creator, Run
from flowledger.domain.windows import Window

PAGE_ROWS = 100
"""The most a source gives at once (docs/dify-api.md "Conversations")."""
LAG = 600
"""Seconds by which a conversation's time may be off that of its last message: two clocks write them."""
RUN_FOLLOWS = 60
"""Seconds after which a message without a run will not have one any more."""
MAX_PAGES = 10_000
"""How many pages of one list are read at most: a million conversations, or messages of one."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row of the list: when it began and was last changed (unix times), and how many messages it counts."""

    conversation_id: str
    began: int
    changed: int
    messages: int | None = None
    creator: Creator | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message at a second (unix time); its run, as far as the message tells, None where it has none."""

    message_id: str
    second: int
    run: Run | None


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """One answer of the list: the last changed first, the source's total, whether others follow.

    ``problem`` says why the answer cannot be right.
    """

    conversations: Sequence[Conversation]
    total: int
    has_more: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class MessagePage:
    """One answer of a conversation's list: messages newest first, and whether older ones follow.

    ``problem`` says why the answer cannot be right.
    """

    messages: Sequence[Message]
    has_more: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ConversationWalk:
    """One reading of the list: ``rows`` are all that were shown, in the list's order, repeated ones too.

    ``page`` is the one to ask for next, ``doubt`` the first sign that the reading proves nothing.
    """

    window: Window
    page: int = 1
    total: int | None = None
    rows: tuple[Conversation, ...] = ()
    finished: bool = False
    is_whole: bool = False
    doubt: str = ""

    @property
    def newest(self) -> tuple[int | None, frozenset[Conversation]]:
        """The total and the last changed conversations, by which a list that has not changed is known."""
        return self.total, frozenset(each for each in self.rows if each.changed == self.rows[0].changed)

    @property
    def border(self) -> int:
        """The second above which the rows shown are all there are: the last one may go on."""
        return -1 if self.is_whole or not self.rows else self.rows[-1].changed


def observe(walk: ConversationWalk, page: ConversationPage) -> ConversationWalk:
    """Take in the page that was asked for."""
    rows = (*walk.rows, *page.conversations)
    is_past = bool(rows) and rows[-1].changed < walk.window.after - LAG
    is_last = page.total <= walk.page * PAGE_ROWS or not page.conversations
    doubt = walk.doubt or _doubt(walk, page)
    if walk.page >= MAX_PAGES and not (is_past or is_last):
        doubt, is_last = doubt or f"the list does not end: {walk.page} pages were read", True
    return ConversationWalk(
        walk.window,
        walk.page + 1,
        page.total,
        rows,
        finished=is_past or is_last,
        is_whole=is_last,
        doubt=doubt,
    )


def _doubt(walk: ConversationWalk, page: ConversationPage) -> str:
    times = [each.changed for each in (*walk.rows[-1:], *page.conversations)]
    rest = max(0, page.total - (walk.page - 1) * PAGE_ROWS)
    shown = len(page.conversations)
    problems = {
        f"the source {page.problem}": bool(page.problem),
        "conversations came or went while they were listed": walk.total not in (None, page.total),
        "the source answered with rows that are not in the order of their times": any(
            newer < older for newer, older in pairwise(times)
        ),
        f"the source counts {page.total} conversations and showed {shown} on page {walk.page}": (
            shown != min(PAGE_ROWS, rest)
        ),
        f"the source counts {page.total} conversations and contradicts it after page {walk.page}": (
            page.has_more != (rest > PAGE_ROWS)
        ),
    }
    return next((text for text, is_so in problems.items() if is_so), "")


@dataclass(frozen=True, slots=True)
class KnownConversations:
    """What readings of a list that did not change between them showed together; ``doubt`` is empty if all."""

    walk: ConversationWalk
    rows: Mapping[str, Conversation]
    doubt: str

    @property
    def around(self) -> Sequence[Conversation]:
        """The conversations that may have messages of the window."""
        window = self.walk.window
        return [
            each
            for each in self.rows.values()
            if each.changed >= window.after - LAG and each.began <= window.before + LAG
        ]


def together(known: KnownConversations | None, walk: ConversationWalk) -> KnownConversations:
    """Return what is known after one more reading; earlier ones count where nothing has changed since."""
    rows = {each.conversation_id: each for each in walk.rows}
    if known and not known.walk.doubt and known.walk.newest == walk.newest:
        is_same = all(known.rows.get(name, each) == each for name, each in rows.items())
        rows = {**known.rows, **rows} if is_same else rows
    shown = sum(each.changed > walk.border for each in walk.rows)
    seen = sum(each.changed > walk.border for each in rows.values())
    moved = "" if shown == seen else "conversations moved while they were listed"
    return KnownConversations(walk, rows, walk.doubt or moved)


@dataclass(frozen=True, slots=True)
class MessageWalk:
    """What was read of one conversation: ``messages`` are those of the window, newest first.

    ``before`` names the message to go on from, ``ids`` are those of all messages read, ``doubt`` is the first
    sign that some may be missing.
    """

    window: Window
    conversation: Conversation
    before: str | None = None
    messages: tuple[Message, ...] = ()
    ids: frozenset[str] = frozenset()
    pages: int = 0
    oldest: int | None = None
    finished: bool = False
    doubt: str = ""


def observe_messages(walk: MessageWalk, page: MessagePage) -> MessageWalk:
    """Take in the next page of a conversation's messages."""
    new = [each for each in page.messages if each.message_id not in walk.ids]
    oldest = min((each.second for each in page.messages), default=walk.oldest)
    is_past = oldest is not None and oldest < walk.window.after
    # A full page says that none follow where only messages of its oldest second do.
    is_last = not new or not (page.has_more or len(page.messages) == PAGE_ROWS)
    doubt = walk.doubt or _doubt_of_messages(walk, page, new)
    after = replace(
        walk,
        before=_next_cursor(page.messages),
        messages=(*walk.messages, *(each for each in new if _is_inside(each, walk.window))),
        ids=walk.ids | {each.message_id for each in new},
        pages=walk.pages + 1,
        oldest=oldest,
    )
    if is_last:
        doubt = doubt or _doubt_of_count(after)
    return replace(after, finished=is_past or is_last or after.pages >= MAX_PAGES, doubt=doubt)


def _doubt_of_messages(walk: MessageWalk, page: MessagePage, new: Sequence[Message]) -> str:
    seconds = [each.second for each in page.messages]
    shown = len(seconds)
    is_crowded = page.has_more and bool(seconds) and seconds[0] == seconds[-1]
    changed = walk.conversation.changed
    problems = {
        f"the source {page.problem}": bool(page.problem),
        "the source answered with rows that are not in the order of their times": any(
            newer < older for newer, older in pairwise(seconds)
        )
        or any(walk.oldest is not None and each.second > walk.oldest for each in new),
        "the list repeats a page instead of going on": page.has_more and not new,
        f"the list does not end: {walk.pages} pages were read": page.has_more and walk.pages + 1 >= MAX_PAGES,
        f"the source said that more follow a page of {shown} rows where {PAGE_ROWS} were asked": (
            page.has_more and shown < PAGE_ROWS
        ),
        "a second of a conversation holds more messages than a page shows at once": is_crowded,
        "a conversation has messages newer than its last change": bool(seconds)
        and seconds[0] > changed + LAG,
    }
    return next((text for text, is_so in problems.items() if is_so), "")


def _doubt_of_count(walk: MessageWalk) -> str:
    counted, read = walk.conversation.messages, len(walk.ids)
    return "" if counted in (None, read) else f"a conversation counts {counted} messages and {read} were read"


def _next_cursor(messages: Sequence[Message]) -> str | None:
    """Return the oldest message that is newer than the oldest second, below which the next page begins."""
    if not messages:
        return None
    oldest = min(each.second for each in messages)
    above = [each for each in messages if each.second > oldest]
    return min(above or messages, key=lambda each: each.second).message_id


def _is_inside(message: Message, window: Window) -> bool:
    return window.after <= message.second <= window.before


def lacks_run(walk: MessageWalk, now: int) -> bool:
    """Return whether a message of the window may get its run only after it was read, at a unix time."""
    return any(each.run is None and each.second > now - RUN_FOLLOWS for each in walk.messages)
