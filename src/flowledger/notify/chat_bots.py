"""What the bots of group chats have in common: JSON, errors inside of HTTP 200, signatures, rate limits."""

import hmac
import json
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from typing import Any
from urllib.parse import quote

from flowledger.domain.redaction import redactor
from flowledger.domain.texts import clip, mend, one_line
from flowledger.errors import ChannelBusyError, FlowledgerError, MessageRefusedError
from flowledger.notify.posting import JSON_TYPE, Reply, check_status, json_object, post, retry_after_s


@dataclass(frozen=True, slots=True)
class Budget:
    """So many requests within so many seconds."""

    requests: int
    seconds: float


@dataclass(slots=True)
class _Record:
    """When a robot was asked, oldest first, and until when it is muted (monotonic seconds)."""

    asked: deque[float] = field(default_factory=deque)
    muted_until: float = float("-inf")


class Pacer:
    """Counts the requests to each robot of one maker; threads share it."""

    def __init__(self, budgets: Sequence[Budget], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing asked; ``clock`` gives monotonic seconds."""
        self._budgets = tuple(budgets)
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._lock = Lock()

    def take(self, robot: str, requests: int = 1) -> None:
        """Count requests that are about to be sent together.

        :raises ChannelBusyError: with the wait in seconds, when they are too many now; none is counted then.
        """
        with self._lock:
            record = self._records.setdefault(robot, _Record())
            now = self._clock()
            self._forget(record, now)
            wait = max(self._wait(record, requests, now), record.muted_until - now)
            if wait > 0:
                raise ChannelBusyError(
                    f"the robot has had as many messages as it takes; the next may go in {wait:.0f} s",
                    retry_after_s=wait,
                )
            record.asked.extend([now] * requests)

    def mute(self, robot: str, seconds: float) -> None:
        """Send nothing through a robot for so many seconds: its maker punishes those who go on."""
        with self._lock:
            self._records.setdefault(robot, _Record()).muted_until = self._clock() + seconds

    def _forget(self, record: _Record, now: float) -> None:
        longest = max(budget.seconds for budget in self._budgets)
        while record.asked and record.asked[0] <= now - longest:
            record.asked.popleft()

    def _wait(self, record: _Record, requests: int, now: float) -> float:
        return max(_wait_for(budget, record.asked, requests, now) for budget in self._budgets)


def _wait_for(budget: Budget, asked: Sequence[float], requests: int, now: float) -> float:
    """Give how long until so many requests fit into a budget; more than all of it count as all of it."""
    too_many = len(asked) + min(requests, budget.requests) - budget.requests
    if too_many <= 0:
        return 0.0
    return asked[too_many - 1] + budget.seconds - now


_LONGEST_WORDS = 200


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the robots of one maker tell what became of a message.

    ``busy`` are the codes that pass, with the seconds to wait; those of ``muting`` hold for all messages
    meanwhile.  ``hints`` say what to do about the others.
    """

    maker: str
    code: str
    words: str
    busy: Mapping[int, float] = field(default_factory=dict)
    muting: frozenset[int] = frozenset()
    hints: Mapping[int, str] = field(default_factory=dict)
    final_words: frozenset[tuple[int, str]] = frozenset()
    """Codes that pass unless they come with these words, in small letters."""

    def wait_s(self, code: int, words: str) -> float | None:
        """Give how long a code holds; None where it does not pass."""
        return None if (code, words.strip().lower()) in self.final_words else self.busy.get(code)


@dataclass(frozen=True, slots=True)
class Robot:
    """One robot for one message: how it speaks, what it may be asked, what nobody may see."""

    dialect: Dialect
    pacer: Pacer
    webhook: str = field(repr=False)
    secret: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """What the robot is counted by, which does not tell its address."""
        return sha256(self.webhook.encode("utf-8", "surrogatepass")).hexdigest()

    def reserve(self, requests: int) -> None:
        """Count the requests of one message before its first.

        :raises ChannelBusyError: when the robot has no room for all of them now.
        """
        self.pacer.take(self.key, requests)

    def tell(self, url: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send values and give the answer of a robot that accepted them.

        :raises ChannelBusyError, MessageRefusedError: when it did not.
        """
        return self.settle(post(url, compose(payload), {"Content-Type": JSON_TYPE}))

    def settle(self, reply: Reply) -> Mapping[str, Any]:
        """Give an accepted answer: HTTP 200, and zero for a code.

        :raises ChannelBusyError, MessageRefusedError: for any other.
        """
        answer = json_object(reply)
        code = answer.get(self.dialect.code)
        if isinstance(code, int) and code != 0:
            raise self._failure(reply, code, str(answer.get(self.dialect.words) or ""))
        check_status(reply)
        if code is None or reply.status != 200:
            raise ChannelBusyError(
                f"{reply.place}: what answered is no {self.dialect.maker} robot (HTTP {reply.status} without"
                " its code); check the channel's address, and what stands between"
            )
        return answer

    def _failure(self, reply: Reply, code: int, words: str) -> FlowledgerError:
        dialect = self.dialect
        shown = clip(one_line(redactor((self.webhook, self.secret))(words)), _LONGEST_WORDS)
        told = f"{reply.place}: {dialect.maker} answers {code} ({shown or 'no reason'})"
        wait_s = dialect.wait_s(code, words)
        if wait_s is not None and code in dialect.muting:
            self.pacer.mute(self.key, wait_s)
        if wait_s is not None or reply.status == 429 or reply.status >= 500:
            return ChannelBusyError(told, retry_after_s=retry_after_s(reply) if wait_s is None else wait_s)
        return MessageRefusedError(f"{told}; {dialect.hints.get(code, 'check the robot and the message')}")


def compose(payload: Mapping[str, Any]) -> bytes:
    """Write values as JSON in UTF-8."""
    return mend(json.dumps(payload, ensure_ascii=False)).encode()


def dingtalk_address(webhook: str, secret: str, at_ms: int) -> str:
    """Give DingTalk's address with ``timestamp`` (milliseconds) and ``sign``, percent-encoded once.

    The secret is the key, and a part of what is signed as well.
    """
    sign = b64encode(_digest(secret, f"{at_ms}\n{secret}"))
    joint = "&" if "?" in webhook else "?"
    return f"{webhook}{joint}timestamp={at_ms}&sign={quote(sign, safe='')}"


def feishu_sign(secret: str, at_s: int) -> str:
    """Give Feishu's ``sign`` of a time in seconds: time and secret are the key, what is signed is empty."""
    return b64encode(_digest(f"{at_s}\n{secret}", "")).decode()


def webhook_headers(body: bytes, secret: str | None, at_s: int) -> dict[str, str]:
    """Give the headers by which a receiver proves body and time (seconds); without a secret only the time."""
    headers = {"X-Flowledger-Timestamp": str(at_s)}
    if secret:
        digest = hmac.new(secret.encode(), str(at_s).encode() + b"." + body, "sha256").hexdigest()
        headers["X-Flowledger-Signature"] = f"sha256={digest}"
    return headers


def _digest(key: str, text: str) -> bytes:
    return hmac.digest(key.encode(), text.encode(), "sha256")
