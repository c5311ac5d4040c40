"""What becomes of a letter after a try: sent, tried again later, or given up; pure decisions."""

from dataclasses import replace
from datetime import datetime, timedelta

from flowledger.domain.messages import Letter
from flowledger.domain.texts import clip, one_line

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)
MOST_TRIES = 20
LONGEST_LIFE = timedelta(days=7)
"""News a week old helps nobody; what is given up stays visible in the ledger."""

_LONGEST_PROBLEM = 500
_LONGEST_ASKED_WAIT_S = 24 * 3600


def sent(letter: Letter, at: datetime) -> Letter:
    """Give the letter as it is after it was accepted."""
    return replace(letter, tries=letter.tries + 1, problem="", sent_at=at)


def refused(letter: Letter, problem: str) -> Letter:
    """Give the letter as it is after a channel said that it will never take it."""
    return replace(letter, tries=letter.tries + 1, problem=_told(problem), given_up=True)


def failed(letter: Letter, problem: str, at: datetime, retry_after_s: float | None = None) -> Letter:
    """Give the letter as it is after a try that may succeed later; the wait doubles with each.

    ``retry_after_s`` is the least wait the channel asked for, in seconds.
    """
    tries = letter.tries + 1
    if tries >= MOST_TRIES or at - letter.posted_at >= LONGEST_LIFE:
        days = (at - letter.posted_at).days
        reason = f"given up after {tries} tries in {days} days: {problem}"
        return replace(letter, tries=tries, problem=_told(reason), given_up=True)
    return replace(letter, tries=tries, problem=_told(problem), not_before=at + _wait(tries, retry_after_s))


def put_off(letter: Letter, problem: str, until: datetime) -> Letter:
    """Give a letter that was not tried, because its channel had just failed with another one."""
    return replace(letter, problem=_told(letter.problem or problem), not_before=until)


def _wait(tries: int, retry_after_s: float | None) -> timedelta:
    grown: timedelta = min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT)
    return max(grown, timedelta(seconds=min(max(retry_after_s or 0, 0), _LONGEST_ASKED_WAIT_S)))


def _told(problem: str) -> str:
    return clip(one_line(problem), _LONGEST_PROBLEM)
