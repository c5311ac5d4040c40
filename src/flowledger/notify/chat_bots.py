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
class RateLimit:
    """At most so many requests within so many seconds."""

    requests: int
    seconds: float


@dataclass(slots=True)
class _Record:
    """When requests were sent to a bot, oldest first, and until when it is muted (monotonic seconds)."""

    sent: deque[float] = field(default_factory=deque)
    muted_until: float = float("-inf")


class RateLimiter:
    """Counts the requests to each bot of one maker; nobody sleeps: what exceeds the limit is sent later.

    Threads share it.  Other processes are not counted: if they share the bot, its own refusal limits us.
    """

    def __init__(self, limits: Sequence[RateLimit], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no request; ``clock`` returns monotonic seconds."""
        self._limits = tuple(limits)
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._lock = Lock()

    def take(self, bot: str, requests: int = 1) -> None:
        """Count requests that are about to be sent together.

        :raises ChannelBusyError: with the wait in seconds, when they are too many now; none is counted then.
        """
        with self._lock:
            record = self._records.setdefault(bot, _Record())
            now = self._clock()
            self._forget(record, now)
            wait = max(self._wait(record, requests, now), record.muted_until - now)
            if wait > 0:
                raise ChannelBusyError(
                    f"the robot has had as many messages as it takes; the next may go in {wait:.0f} s",
                    retry_after_s=wait,
                )
            record.sent.extend([now] * requests)

    def mute(self, bot: str, seconds: float) -> None:
        """Send nothing through a bot for so many seconds: makers mute a bot for longer if it goes on."""
        with self._lock:
            self._records.setdefault(bot, _Record()).muted_until = self._clock() + seconds

    def _forget(self, record: _Record, now: float) -> None:
        longest = max(limit.seconds for limit in self._limits)
        while record.sent and record.sent[0] <= now - longest:
            record.sent.popleft()

    def _wait(self, record: _Record, requests: int, now: float) -> float:
        return max(_wait_for(limit, record.sent, requests, now) for limit in self._limits)


def _wait_for(limit: RateLimit, sent: Sequence[float], requests: int, now: float) -> float:
    """Return the seconds until so many requests are within a limit; they count as at most all of it."""
    too_many = len(sent) + min(requests, limit.requests) - limit.requests
    if too_many <= 0:
        return 0.0
    return sent[too_many - 1] + limit.seconds - now


_LONGEST_WORDS = 200


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the bots of one maker answer: the JSON field of the code, that of the text, and what codes mean.

    ``busy`` are the codes of temporary refusals, with the seconds to wait; those of ``muting`` concern all
    messages of the bot.  ``hints`` say what to do about the other codes.
    """

    maker: str
    code: str
    words: str
    busy: Mapping[int, float] = field(default_factory=dict)
    muting: frozenset[int] = frozenset()
    hints: Mapping[int, str] = field(default_factory=dict)
    final_words: frozenset[tuple[int, str]] = frozenset()
    """Codes with the texts (lower case) with which they are final, though the code is one of ``busy``."""

    def wait_s(self, code: int, words: str) -> float | None:
        """Return the seconds to wait after a code; None where the refusal is final."""
        return None if (code, words.strip().lower()) in self.final_words else self.busy.get(code)


@dataclass(frozen=True, slots=True)
class ChatBot:
    """One bot for one message: its dialect, its rate limit, and its secrets."""

    dialect: Dialect
    limiter: RateLimiter
    webhook: str = field(repr=False)
    secret: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """The bot's key in the rate limiter, which does not reveal its address."""
        return sha256(self.webhook.encode("utf-8", "surrogatepass")).hexdigest()

    def reserve(self, requests: int) -> None:
        """Count the requests of one message before its first.

        :raises ChannelBusyError: when they are more than the rate limit allows now.
        """
        self.limiter.take(self.key, requests)

    def send(self, url: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a payload and return the answer that accepted it.

        :raises ChannelBusyError, MessageRefusedError: when the bot did not accept it.
        """
        return self.accepted(post(url, compose(payload), {"Content-Type": JSON_TYPE}))

    def accepted(self, reply: Reply) -> Mapping[str, Any]:
        """Return the answer if it accepts the message: HTTP 200 with code 0.

        :raises ChannelBusyError, MessageRefusedError: for any other answer.
        """
        answer = json_object(reply)
        code = answer.get(self.dialect.code)
        if isinstance(code, int) and code != 0:
            raise self._failure(reply, code, str(answer.get(self.dialect.words) or ""))
        check_status(reply)
        # Proxies and log-in pages answer 200 as well, but without the bot's code.
        if code is None or reply.status != 200:
            raise ChannelBusyError(
                f"{reply.place}: what answered is no {self.dialect.maker} robot (HTTP {reply.status} without"
                " its code); check the channel's address, and what stands between"
            )
        return answer

    def _failure(self, reply: Reply, code: int, words: str) -> FlowledgerError:
        dialect = self.dialect
        reason = clip(one_line(redactor((self.webhook, self.secret))(words)), _LONGEST_WORDS)
        text = f"{reply.place}: {dialect.maker} answers {code} ({reason or 'no reason'})"
        wait_s = dialect.wait_s(code, words)
        if wait_s is not None and code in dialect.muting:
            self.limiter.mute(self.key, wait_s)
        if wait_s is not None or reply.status == 429 or reply.status >= 500:
            return ChannelBusyError(text, retry_after_s=retry_after_s(reply) if wait_s is None else wait_s)
        return MessageRefusedError(f"{text}; {dialect.hints.get(code, 'check the robot and the message')}")


def compose(payload: Mapping[str, Any]) -> bytes:
    """Write values as JSON in UTF-8."""
    return mend(json.dumps(payload, ensure_ascii=False)).encode()


def dingtalk_address(webhook: str, secret: str, at_ms: int) -> str:
    """Return DingTalk's address with ``timestamp`` (milliseconds) and ``sign``, percent-encoded once.

    The secret is the key, and also a part of the signed text.
    """
    sign = b64encode(_digest(secret, f"{at_ms}\n{secret}"))
    joint = "&" if "?" in webhook else "?"
    return f"{webhook}{joint}timestamp={at_ms}&sign={quote(sign, safe='')}"


def feishu_sign(secret: str, at_s: int) -> str:
    """Return Feishu's ``sign`` of a time in seconds: the key is time and secret, the signed text is empty."""
    return b64encode(_digest(f"{at_s}\n{secret}", "")).decode()


def webhook_headers(body: bytes, secret: str | None, at_s: int) -> dict[str, str]:
    """Return the headers that prove body and time (seconds) to a receiver; without a secret only the time."""
    headers = {"X-Flowledger-Timestamp": str(at_s)}
    if secret:
        digest = hmac.new(secret.encode(), str(at_s).encode() + b"." + body, "sha256").hexdigest()
        headers["X-Flowledger-Signature"] = f"sha256={digest}"
    return headers


def _digest(key: str, text: str) -> bytes:
    return hmac.digest(key.encode(), text.encode(), "sha256")
