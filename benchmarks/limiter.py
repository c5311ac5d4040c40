"""The adaptive limiter against every fixed number of requests at once, on servers of known strength.

Each server is a process of its own on loopback; callers are the session and the threads of a real run.  The
figures are requests a second over the whole time, the search included, against the best fixed number, and the
share that was refused with 429; a refused caller rests a moment, as a real one does.  The same servers are
also modelled in simulated time, which is the same on any machine.
"""

import argparse
import asyncio
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from results import add_json, at_least_one, report_figures

from flowledger.dify.concurrency import AdaptiveLimiter, SearchState
from flowledger.dify.session import DifySession, RetryPolicy, SessionOptions
from flowledger.errors import RetriableError

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit" / "dify"))
import simulated_load

FIXED = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64)
MOST = 64
TICK_S = 0.001
GOOD, BEARABLE, REFUSED_AT_MOST = 0.9, 0.8, 0.02
HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
SERVED, REFUSED = HEAD % b"200 OK", HEAD % b"429 Too Many Requests"
BROKEN = HEAD % b"500 Internal Server Error"


@dataclass(frozen=True)
class Strength:
    """How many requests a second a server answers with so many in service, and what else it does.

    ``latency_s`` passes before service; more than ``most`` at once are answered with ``beyond``.
    """

    name: str
    capacity: Callable[[int], float]
    latency_s: float = 0.0
    most: int = 1000
    beyond: bytes = REFUSED


def peaking(peak: int, top: float) -> Callable[[int], float]:
    """Make a capacity that rises to a peak and bends down slowly (universal scalability law)."""
    return lambda n: top * 2 * n * peak / (peak**2 + n**2)


STRENGTHS = (
    Strength("peaks at 4", peaking(4, 250.0)),
    Strength("peaks at 16", peaking(16, 350.0)),
    Strength("429 above 10", lambda n: 35.0 * n, most=10),
    *(Strength(f"500 above {most}", lambda n: 35.0 * n, most=most, beyond=BROKEN) for most in (2, 4, 8, 16)),
    Strength("latency 200 ms", lambda n: 100.0 * n, latency_s=0.2),
)


class Server:
    """Shares its strength among all requests in service, tick by tick."""

    def __init__(self, strength: Strength) -> None:
        self.strength = strength
        self.in_flight = 0
        self.service: dict[asyncio.Future[None], float] = {}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        while True:
            try:
                await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                return
            self.in_flight += 1
            try:
                if self.in_flight > self.strength.most:
                    writer.write(self.strength.beyond)
                else:
                    await self.serve()
                    writer.write(SERVED)
            finally:
                self.in_flight -= 1

    async def serve(self) -> None:
        """Wait as long as a request takes."""
        await asyncio.sleep(self.strength.latency_s)
        done = asyncio.get_running_loop().create_future()
        self.service[done] = 1.0
        await done

    async def work(self) -> None:
        """Work on all that is in service, for ever."""
        before = time.perf_counter()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.perf_counter()
            if self.service:
                share = self.strength.capacity(len(self.service)) * (now - before) / len(self.service)
                for request, left in list(self.service.items()):
                    self.service[request] = left - share
                    if left <= share:
                        del self.service[request]
                        request.set_result(None)
            before = now


def serve(strength: Strength, port_pipe: Connection) -> None:
    """Serve in this process; say the port."""

    async def run() -> None:
        model = Server(strength)
        listener = await asyncio.start_server(model.answer, "127.0.0.1", 0)
        port_pipe.send(listener.sockets[0].getsockname()[1])
        await model.work()

    asyncio.run(run())


@contextmanager
def serving(strength: Strength) -> Iterator[str]:
    """Run a server; give its address."""
    port_of, port_pipe = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=serve, args=(strength, port_pipe), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{port_of.recv()}"
    finally:
        process.terminate()
        process.join()


@dataclass(frozen=True)
class Outcome:
    """What one limiter got out of a server."""

    server: str
    limiter: str
    per_second: float
    refused: float


Load = Callable[[AdaptiveLimiter, float], tuple[float, float]]
"""Load a server for some seconds; give answers a second and the share of requests refused."""


def real_load(address: str, limiter: AdaptiveLimiter, seconds: float) -> tuple[float, float]:
    """Ask as fast as the limiter lets; what is answered too late does not count."""
    options = SessionOptions(retry=RetryPolicy(tries=1))
    ends = time.monotonic() + seconds

    def ask(session: DifySession) -> Counter[bool]:
        counts: Counter[bool] = Counter()
        while time.monotonic() < ends:
            try:
                session.get("/")
            except RetriableError:
                counts[False] += 1
                time.sleep(simulated_load.PAUSE_S)
            else:
                counts[True] += time.monotonic() < ends
        return counts

    with DifySession(address, limiter=limiter, options=options) as session, ThreadPoolExecutor(MOST) as pool:
        jobs = [pool.submit(ask, session) for _ in range(MOST)]
        counts = sum((job.result() for job in jobs), Counter())
    return counts[True] / seconds, counts[False] / max(1, counts.total())


def model_load(strength: Strength, limiting: "Limiting", seconds: float) -> tuple[float, float]:
    """Do the same in simulated time."""
    word = "refuses_above" if strength.beyond == REFUSED else "breaks_above"
    server = simulated_load.Server(strength.capacity, strength.latency_s, **{word: strength.most})
    load = simulated_load.Load(server, callers=MOST)
    load.limiter = limiting(lambda: load.now)
    while load.now < seconds:
        load.admit()
        load.step()
    return load.done / load.now, load.refused / max(1, load.done + load.refused)


Limiting = Callable[[Callable[[], float]], AdaptiveLimiter]
"""Make a limiter that goes by a clock."""


def limiters(fixed: Sequence[int]) -> Iterator[tuple[str, Limiting]]:
    """Yield the limiters; the adaptive one is first."""
    yield "adaptive", lambda clock: AdaptiveLimiter(SearchState(cap=MOST), clock=clock)
    for limit in fixed:
        state = SearchState(limit=limit, cap=limit)
        yield (
            str(limit),
            lambda clock, state=state: AdaptiveLimiter(state, clock=clock, adapts=False),  # type: ignore[misc]
        )


def measure(strength: Strength, fixed: Sequence[int], seconds: float) -> Iterator[Outcome]:
    """Let each limiter load one server."""
    with serving(strength) as address:
        for name, limiting in limiters(fixed):
            rate, refused = real_load(address, limiting(time.monotonic), seconds)
            yield Outcome(strength.name, name, rate, refused)


def foresee(strength: Strength, fixed: Sequence[int], seconds: float) -> Iterator[Outcome]:
    """Let each limiter load the model of one server."""
    for name, limiting in limiters(fixed):
        rate, refused = model_load(strength, limiting, seconds)
        yield Outcome(f"{strength.name} (model)", name, rate, refused)


def main() -> None:
    """Measure on each server, and print."""
    options = parse()
    races = []
    for way in (foresee,) if options.model_only else (foresee, measure):
        for strength in STRENGTHS:
            races.append(list(way(strength, options.fixed, options.seconds)))
            print(f"{races[-1][0].server}: measured", file=sys.stderr, flush=True)
    figures = {
        "outcomes": [asdict(each) for outcomes in races for each in outcomes],
        "misses": [miss for outcomes in races for miss in misses(outcomes)],
    }
    report_figures("limiter", figures, "\n\n".join(map(table, races)), options.json)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fixed", type=at_least_one, nargs="+", default=FIXED)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each limiter (default: 10)")
    parser.add_argument("--model-only", action="store_true", help="only in simulated time")
    add_json(parser)
    return parser.parse_args()


def best_of(outcomes: Sequence[Outcome]) -> float:
    """Return the responses per second of the best fixed one that is refused next to nothing."""
    fixed = outcomes[1:]
    calm = [each for each in fixed if each.refused <= REFUSED_AT_MOST]
    return max(each.per_second for each in calm or fixed)


def misses(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Return where the adaptive limiter misses its target."""
    ours, share = outcomes[0], outcomes[0].per_second / best_of(outcomes)
    if share < GOOD:
        how = "" if share >= BEARABLE else ", less than is bearable"
        yield f"{ours.server}: {share:.0%} of the best fixed number{how}"
    if ours.refused > REFUSED_AT_MOST:
        yield f"{ours.server}: {ours.refused:.1%} refused"


def table(outcomes: Sequence[Outcome]) -> str:
    """Write a line for each limiter, and what misses."""
    best = best_of(outcomes)
    lines = [f"{outcomes[0].server:<24}{'a second':>10}{'of best':>9}{'refused':>9}"]
    lines += [
        f"{each.limiter:<24}{each.per_second:>10.1f}{each.per_second / best:>9.2f}{each.refused:>9.1%}"
        for each in outcomes
    ]
    return "\n".join([*lines, *(f"misses: {miss}" for miss in misses(outcomes))])


if __name__ == "__main__":
    main()
