"""A server's strength as a model: what a limiter makes of it, in simulated time."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from flowledger.dify.concurrency import AdaptiveLimiter, Admission, Outcome

QUICKLY_S = 0.002
PAUSE_S = 0.5
Capacity = Callable[[int], float]
"""How much work a server does per second with so many requests in service; a request is about 1 of work."""


@dataclass(frozen=True)
class Server:
    """What a server can do.

    ``refuses_above`` so many at once it answers 429, ``breaks_above`` 500; ``fails`` is a share of 503s.
    Requests take up to ``wanders_s`` to arrive, so not in the order in which they were let through.
    """

    capacity: Capacity
    latency_s: float = 0.0
    refuses_above: int = 1000
    fails: float = 0.0
    breaks_above: int = 1000
    wanders_s: float = 0.0

    def best(self, cap: int = 32) -> float:
        """Give the throughput of the best fixed number of requests in flight."""
        return max(
            self.throughput(limit) for limit in range(1, min(cap, self.refuses_above, self.breaks_above) + 1)
        )

    def throughput(self, in_flight: int) -> float:
        """Give the steady throughput: those not on the way are in service."""
        served = [self.capacity(n) for n in range(1, in_flight + 1)]
        return max(min(rate, in_flight / (self.latency_s + n / rate)) for n, rate in enumerate(served, 1))


@dataclass
class Load:
    """Callers that always have work, one limiter, one server sharing its strength among all requests."""

    server: Server
    scatter: float = 0.2
    callers: int = 32
    seed: int = 1
    now: float = 0.0
    done: int = 0
    refused: int = 0
    limiter: AdaptiveLimiter = field(init=False)
    service: dict[int, tuple[Admission, float]] = field(default_factory=dict)
    worked: float = 0.0
    waiting: list[tuple[float, int, str, Admission | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.numbers: Iterator[int] = iter(range(10**9))
        self.limiter = AdaptiveLimiter(clock=lambda: self.now)

    def run(self, requests: int) -> float:
        """Answer so many requests and give the throughput per second."""
        while self.done < requests:
            self.admit()
            self.step()
        return self.done / self.now

    def admit(self) -> None:
        """Let every free caller in that the limiter lets in."""
        while self.callers and (admission := self.limiter.try_acquire()):
            self.callers -= 1
            if self.server.wanders_s:
                arrival = self.now + self.chance.uniform(0.0, self.server.wanders_s)
                heappush(self.waiting, (arrival, next(self.numbers), "wander", admission))
            else:
                self.meet(admission)

    def meet(self, admission: Admission) -> None:
        """Let the server decide what becomes of a request."""
        in_flight = len(self.service) + sum(kind == "serve" for _, _, kind, _ in self.waiting) + 1
        kind, delay = "serve", self.server.latency_s
        if in_flight > self.server.refuses_above:
            kind, delay = "refuse", delay + QUICKLY_S
        elif in_flight > self.server.breaks_above or self.chance.random() < self.server.fails:
            kind, delay = "fail", delay + QUICKLY_S
        heappush(self.waiting, (self.now + delay, next(self.numbers), kind, admission))

    def step(self) -> None:
        """Go to the next event."""
        share = self.server.capacity(len(self.service)) / len(self.service) if self.service else 0.0
        first = min(self.service, key=lambda number: self.service[number][1], default=None)
        ends = (
            self.now + (self.service[first][1] - self.worked) / share if first is not None else float("inf")
        )
        arrives = self.waiting[0][0] if self.waiting else float("inf")
        moment = min(ends, arrives)
        self.worked += (moment - self.now) * share
        self.now = moment
        if arrives <= ends:
            self.arrive()
        elif first is not None:
            self.done += 1
            self.callers += 1
            self.limiter.release(self.service.pop(first)[0])

    def arrive(self) -> None:
        """Bring a request to the server, an error to its caller, or a caller back from its pause."""
        _, number, kind, admission = heappop(self.waiting)
        if admission is None:
            self.callers += 1
        elif kind == "wander":
            self.meet(admission)
        elif kind == "serve":
            self.service[number] = (admission, self.worked + self.work())
        else:
            self.refused += 1
            self.limiter.release(admission, Outcome.REFUSED if kind == "refuse" else Outcome.FAILED)
            heappush(self.waiting, (self.now + PAUSE_S, number, "free", None))

    def work(self) -> float:
        """Draw the work of one request."""
        return self.chance.uniform(1 - self.scatter, 1 + self.scatter)


def peaking(cores: int, top: float, decline: float) -> Capacity:
    """Make a server that is fastest with so many at once and declines beyond."""
    return lambda n: top * min(n, cores) / cores * (1 - decline * max(0, n - cores) / cores)


def smooth(peak: int, top: float) -> Capacity:
    """Make a server whose throughput bends slowly (universal scalability law)."""
    return lambda n: top * 2 * n * peak / (peak**2 + n**2)
