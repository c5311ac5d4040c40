"""Metrics for Prometheus: of the ledger, counted once and then only what is new, and of request times."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

from loguru import logger
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowledger.api.backend import Backend
from flowledger.api.body_limit import OPEN_PAGES
from flowledger.domain.history import AppSummary, RunFacts, RunQuery
from flowledger.domain.runs import AppKey, RunStatus
from flowledger.domain.statistics import RunTotals
from flowledger.domain.texts import clip, one_line
from flowledger.domain.windows import Window

FRESH_FOR = timedelta(seconds=15)
RECENT = timedelta(days=2)
"""Runs change and arrive late for so long; older ones are counted once."""
RECOUNT = timedelta(minutes=10)
"""Where old days were filled or runs deleted, all is counted anew, but not more often than this."""
CERTIFICATE_AGE = timedelta(days=40)
"""Certificates are read so far back; no period of a calendar is longer than 31 days."""
MAX_MESSAGES = 1000
BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
OPEN = tuple(status for status in RunStatus if status.is_open)
LABELS = ("source", "app_id")


@dataclass(slots=True)
class Durations:
    """Durations by bucket, in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        index = next((index for index, bound in enumerate(BOUNDS_S) if seconds <= bound), len(BOUNDS_S))
        self.counts[index] += 1
        self.total_s += seconds

    def merge(self, other: "Durations") -> None:
        """Add the counts of another one."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total_s += other.total_s

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts, which is how Prometheus wants them."""
        names = [*map(str, BOUNDS_S), "+Inf"]
        return [(name, float(sum(self.counts[: index + 1]))) for index, name in enumerate(names)]


@dataclass(slots=True)
class AppTotals:
    """Counts of one app's runs."""

    totals: RunTotals = field(default_factory=RunTotals)
    durations: Durations = field(default_factory=Durations)

    def merge(self, other: "AppTotals") -> None:
        """Add the counts of another one."""
        self.totals.merge(other.totals)
        self.durations.merge(other.durations)


Totals = dict[AppKey, AppTotals]


def totals_of(facts: Iterable[RunFacts]) -> Totals:
    """Count runs by app."""
    totals: Totals = {}
    for each in facts:
        # Not setdefault: it would make an object for every run, of which there are millions.
        app_totals = totals.get(each.app)
        if app_totals is None:
            app_totals = totals[each.app] = AppTotals()
        app_totals.totals.add(each)
        if each.elapsed_s is not None and each.elapsed_s.is_finite():
            app_totals.durations.add(float(each.elapsed_s))
    return totals


def sum_of(*parts: Totals) -> Totals:
    """Return the sum of totals; the parts stay as they are."""
    totals: Totals = {}
    for part in parts:
        for app, each in part.items():
            totals.setdefault(app, AppTotals()).merge(each)
    return totals


@dataclass(eq=False)
class LedgerMetrics(Collector):
    """Collector of ``prometheus_client``; each process has its own, and each is of the whole ledger.

    ``old`` has the runs before ``edge``, which are not read again until the ledger's own counts disagree.
    """

    backend: Backend
    old: Totals = field(default_factory=dict, repr=False)
    edge: datetime | None = None
    counted_at: datetime | None = None
    collected_at: datetime | None = None
    collected: list[Metric] = field(default_factory=list, repr=False)
    lock: Lock = field(default_factory=Lock, repr=False)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: a registry would else collect all metrics only to learn their names."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics, at most ``FRESH_FOR`` old."""
        # While one scrape counts, others get the last result; only the very first ones wait.
        if not self.lock.acquire(blocking=self.collected_at is None):
            return self.collected
        try:
            now = self.backend.clock()
            if self.collected_at is None or not timedelta() <= now - self.collected_at < FRESH_FOR:
                self.collected = list(self._metrics(now))
                self.collected_at = now
            return self.collected
        finally:
            self.lock.release()

    def _metrics(self, now: datetime) -> Iterator[Metric]:
        apps = self.backend.ledger.apps()
        yield _runs(apps)
        yield from _metrics_of(self._totals(now, apps))
        yield self._stuck(now)
        yield from self._certificates(now, apps)
        yield self._messages()

    def _totals(self, now: datetime, apps: Iterable[AppSummary]) -> Totals:
        """Count what is new, and everything where the sum is not what the ledger has."""
        edge = (now - RECENT).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.edge is None or self.edge > edge or self.counted_at is None:
            self._recount(edge, now)
        elif self.edge < edge:
            self.old = sum_of(self.old, self._count(self.edge, edge))
            self.edge = edge
        totals = sum_of(self.old, self._count(edge, None))
        if not _agree(totals, apps) and self.counted_at is not None and now - self.counted_at >= RECOUNT:
            self._recount(edge, now)
            totals = sum_of(self.old, self._count(edge, None))
        return totals

    def _recount(self, edge: datetime, now: datetime) -> None:
        self.old, self.edge, self.counted_at = self._count(None, edge), edge, now

    def _count(self, first: datetime | None, before: datetime | None) -> Totals:
        return totals_of(self.backend.ledger.facts(RunQuery(listed_from=first, listed_before=before)))

    def _stuck(self, now: datetime) -> Metric:
        family = GaugeMetricFamily(
            "flowledger_stuck_runs", "Runs that have been open for longer than they may.", labels=LABELS
        )
        query = RunQuery(statuses=OPEN, listed_before=now - self.backend.open_for)
        for app, each in totals_of(self.backend.ledger.facts(query)).items():
            family.add_metric(_labels(app), each.totals.runs)
        return family

    def _certificates(self, now: datetime, apps: Iterable[AppSummary]) -> Iterator[Metric]:
        lag = GaugeMetricFamily(
            "flowledger_collection_lag_seconds",
            "Since the end of the newest collected window.",
            labels=LABELS,
        )
        age = GaugeMetricFamily(
            "flowledger_certificate_age_seconds", "Since the newest certified proof was made.", labels=LABELS
        )
        within = Window(int((now - CERTIFICATE_AGE).timestamp()), int(now.timestamp()) + 1)
        for app in {*self.backend.names, *(each.app for each in apps)}:
            certificates = self.backend.ledger.certificates(app, within)
            certified = [each for each in certificates if each.certified]
            if certificates:
                newest = max(each.scope.window.before_at for each in certificates)
                lag.add_metric(_labels(app), (now - newest).total_seconds())
            if certified:
                newest = max(each.at for each in certified)
                age.add_metric(_labels(app), (now - newest).total_seconds())
        yield lag
        yield age

    def _messages(self) -> Metric:
        family = GaugeMetricFamily(
            "flowledger_letters",
            f"Messages to people, of the newest {MAX_MESSAGES}, by state.",
            labels=["state"],
        )
        messages = self.backend.ledger.outbox_messages(limit=MAX_MESSAGES)
        states = [
            "failed" if each.given_up else "sent" if each.sent_at else "retrying" if each.tries else "waiting"
            for each in messages
        ]
        for state in ("waiting", "retrying", "sent", "failed"):
            family.add_metric([state], states.count(state))
        return family


def _labels(app: AppKey) -> list[str]:
    return [app.source, app.app_id]


def _agree(totals: Totals, apps: Iterable[AppSummary]) -> bool:
    expected = {
        each.app: {status: count for status, count in each.by_status.items() if count} for each in apps
    }
    return expected == {app: dict(each.totals.by_status) for app, each in totals.items()}


def _runs(apps: Iterable[AppSummary]) -> Metric:
    family = GaugeMetricFamily("flowledger_runs", "Runs in the ledger.", labels=[*LABELS, "status"])
    for each in apps:
        for status, count in each.by_status.items():
            family.add_metric([*_labels(each.app), status.value], count)
    return family


def _metrics_of(totals: Totals) -> Iterator[Metric]:
    durations = HistogramMetricFamily(
        "flowledger_run_duration_seconds", "How long the runs in the ledger took.", labels=LABELS
    )
    tokens = GaugeMetricFamily("flowledger_tokens", "Tokens of the runs in the ledger.", labels=LABELS)
    cost = GaugeMetricFamily(
        "flowledger_cost",
        "Known cost of the runs in the ledger.",
        labels=[*LABELS, "currency"],
    )
    costed = GaugeMetricFamily(
        "flowledger_cost_known_runs",
        "Runs in the ledger whose cost is known.",
        labels=LABELS,
    )
    for app, each in totals.items():
        costed.add_metric(_labels(app), each.totals.costed)
        durations.add_metric(_labels(app), each.durations.buckets(), each.durations.total_s)
        tokens.add_metric(_labels(app), each.totals.total_tokens)
        for currency, price in each.totals.cost.items():
            cost.add_metric([*_labels(app), currency], float(price))
    yield from (durations, tokens, cost, costed)


BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10)
QUIET = frozenset({"/health", "/ready", "/metrics"})
"""Requested every few seconds by machines: their log lines would hide all others."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def request_histogram(registry: CollectorRegistry) -> Histogram:
    """Return the histogram of the time to answer requests."""
    return Histogram(
        "flowledger_api_request_duration_seconds",
        "Time to answer a request in this process, by route.",
        ("method", "route", "status"),
        buckets=BUCKETS_S,
        registry=registry,
    )


class MetricsMiddleware:
    """ASGI middleware, the outermost: counts and logs each answer, and removes a path's trailing slash."""

    def __init__(self, app: ASGIApp, *, latency: Histogram) -> None:
        self.app, self.latency = app, latency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Measure a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["path"] = scope["path"].rstrip("/") or "/"
        started, status = time.perf_counter(), 500

        async def observing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, observing)
        finally:
            self._observe(scope, status, time.perf_counter() - started)

    def _observe(self, scope: Scope, status: int, elapsed_s: float) -> None:
        # Labels from a fixed set only: a client that invents methods or paths must not fill the memory.
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.latency.labels(method, _route_of(scope), str(status)).observe(elapsed_s)
        caller = scope.get("caller")
        logger.log(
            "DEBUG" if scope["path"] in QUIET else "INFO",
            "{} {} {} in {:.1f} ms, {} from {}",
            method,
            _shown_path(scope["path"]),
            status,
            elapsed_s * 1000,
            caller.name if caller else "no caller",
            scope["client"][0] if scope.get("client") else "here",
        )


def _shown_path(path: str) -> str:
    """Return a path for the log: not a signed one, which would open its page to whoever reads the log."""
    return f"{OPEN_PAGES}…" if path.startswith(OPEN_PAGES) else clip(one_line(path), 300)


def _route_of(scope: Mapping[str, object]) -> str:
    """Return a route as it is declared, with its parameters' names."""
    return str(getattr(scope.get("route"), "path", "none"))
