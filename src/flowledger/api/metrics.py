"""Figures for Prometheus: those of the ledger, counted once and then only what is new, and request times."""

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
from flowledger.domain.history import AppSummary, RunFacts, RunQuery
from flowledger.domain.runs import AppKey, RunStatus
from flowledger.domain.statistics import RunTotals
from flowledger.domain.texts import clip, one_line
from flowledger.domain.windows import Window

FRESH_FOR = timedelta(seconds=15)
RECENT = timedelta(days=2)
"""Runs change and arrive late for so long; what is older is counted once."""
RECOUNT = timedelta(minutes=10)
"""Where old days were filled or runs deleted, all is counted anew, but not more often than this."""
PROVED = timedelta(days=40)
"""Certificates are looked for so far back; no period of a calendar is longer than 31 days."""
MOST_LETTERS = 1000
BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
OPEN = tuple(status for status in RunStatus if status.is_open)


@dataclass(slots=True)
class Durations:
    """Durations by bucket, in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        place = next((place for place, bound in enumerate(BOUNDS_S) if seconds <= bound), len(BOUNDS_S))
        self.counts[place] += 1
        self.total_s += seconds

    def merge(self, other: "Durations") -> None:
        """Count what another one has counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total_s += other.total_s

    def buckets(self) -> list[tuple[str, float]]:
        """Give the cumulative counts as Prometheus has them."""
        names = [*map(str, BOUNDS_S), "+Inf"]
        return [(name, float(sum(self.counts[: place + 1]))) for place, name in enumerate(names)]


@dataclass(slots=True)
class AppTally:
    """What was counted of one app."""

    totals: RunTotals = field(default_factory=RunTotals)
    durations: Durations = field(default_factory=Durations)

    def merge(self, other: "AppTally") -> None:
        """Count what another one has counted."""
        self.totals.merge(other.totals)
        self.durations.merge(other.durations)


Tallies = dict[AppKey, AppTally]


def tallied(facts: Iterable[RunFacts]) -> Tallies:
    """Count runs by app."""
    found: Tallies = {}
    for each in facts:
        known = found.get(each.app)
        if known is None:
            known = found[each.app] = AppTally()
        known.totals.add(each)
        if each.elapsed_s is not None and each.elapsed_s.is_finite():
            known.durations.add(float(each.elapsed_s))
    return found


def joined(*parts: Tallies) -> Tallies:
    """Add tallies up; those given stay as they are."""
    found: Tallies = {}
    for part in parts:
        for app, each in part.items():
            found.setdefault(app, AppTally()).merge(each)
    return found


@dataclass(eq=False)
class LedgerFigures(Collector):
    """Collector of ``prometheus_client``; each process has its own, and tells of the whole ledger."""

    backend: Backend
    old: Tallies = field(default_factory=dict, repr=False)
    edge: datetime | None = None
    counted_at: datetime | None = None
    shown_at: datetime | None = None
    shown: list[Metric] = field(default_factory=list, repr=False)
    lock: Lock = field(default_factory=Lock, repr=False)

    def describe(self) -> Iterable[Metric]:
        """Ask nothing of the ledger only to learn names."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Give the figures, at most ``FRESH_FOR`` old."""
        # While one scrape counts, others are told what was known before; only the very first ones wait.
        if not self.lock.acquire(blocking=self.shown_at is None):
            return self.shown
        try:
            now = self.backend.clock()
            if self.shown_at is None or not timedelta() <= now - self.shown_at < FRESH_FOR:
                self.shown = list(self._figures(now))
                self.shown_at = now
            return self.shown
        finally:
            self.lock.release()

    def _figures(self, now: datetime) -> Iterator[Metric]:
        apps = self.backend.ledger.apps()
        yield _runs(apps)
        yield from _of_tallies(self._tallies(now, apps))
        yield self._stuck(now)
        yield from self._proofs(now, apps)
        yield self._letters()

    def _tallies(self, now: datetime, apps: Iterable[AppSummary]) -> Tallies:
        """Count what is new, and all where the sum is not what the ledger says."""
        edge = (now - RECENT).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.edge is None or self.edge > edge or self.counted_at is None:
            self._recount(edge, now)
        elif self.edge < edge:
            self.old = joined(self.old, self._counted(self.edge, edge))
            self.edge = edge
        found = joined(self.old, self._counted(edge, None))
        if not _agree(found, apps) and self.counted_at is not None and now - self.counted_at >= RECOUNT:
            self._recount(edge, now)
            found = joined(self.old, self._counted(edge, None))
        return found

    def _recount(self, edge: datetime, now: datetime) -> None:
        self.old, self.edge, self.counted_at = self._counted(None, edge), edge, now

    def _counted(self, first: datetime | None, before: datetime | None) -> Tallies:
        return tallied(self.backend.ledger.facts(RunQuery(listed_from=first, listed_before=before)))

    def _stuck(self, now: datetime) -> Metric:
        family = GaugeMetricFamily(
            "flowledger_stuck_runs", "Runs that have been open for longer than they may.", labels=LABELS
        )
        query = RunQuery(statuses=OPEN, listed_before=now - self.backend.open_for)
        for app, each in tallied(self.backend.ledger.facts(query)).items():
            family.add_metric(_names(app), each.totals.runs)
        return family

    def _proofs(self, now: datetime, apps: Iterable[AppSummary]) -> Iterator[Metric]:
        lag = GaugeMetricFamily(
            "flowledger_collection_lag_seconds",
            "Since the end of the newest collected window.",
            labels=LABELS,
        )
        age = GaugeMetricFamily(
            "flowledger_certificate_age_seconds", "Since the newest certified proof was made.", labels=LABELS
        )
        within = Window(int((now - PROVED).timestamp()), int(now.timestamp()) + 1)
        for app in {*self.backend.names, *(each.app for each in apps)}:
            found = self.backend.ledger.certificates(app, within)
            certified = [each for each in found if each.certified]
            if found:
                lag.add_metric(_names(app), _since(max(each.scope.window.before_at for each in found), now))
            if certified:
                age.add_metric(_names(app), _since(max(each.at for each in certified), now))
        yield lag
        yield age

    def _letters(self) -> Metric:
        family = GaugeMetricFamily(
            "flowledger_letters",
            f"Messages to people, of the newest {MOST_LETTERS}, by state.",
            labels=["state"],
        )
        letters = self.backend.ledger.outbox_messages(limit=MOST_LETTERS)
        states = [
            "failed" if each.given_up else "sent" if each.sent_at else "retrying" if each.tries else "waiting"
            for each in letters
        ]
        for state in ("waiting", "retrying", "sent", "failed"):
            family.add_metric([state], states.count(state))
        return family


LABELS = ("source", "app_id")


def _names(app: AppKey) -> list[str]:
    return [app.source, app.app_id]


def _since(instant: datetime, now: datetime) -> float:
    return (now - instant).total_seconds()


def _agree(found: Tallies, apps: Iterable[AppSummary]) -> bool:
    told = {each.app: {status: count for status, count in each.by_status.items() if count} for each in apps}
    return told == {app: dict(each.totals.by_status) for app, each in found.items()}


def _runs(apps: Iterable[AppSummary]) -> Metric:
    family = GaugeMetricFamily("flowledger_runs", "Runs in the ledger.", labels=[*LABELS, "status"])
    for each in apps:
        for status, count in each.by_status.items():
            family.add_metric([*_names(each.app), status.value], count)
    return family


def _of_tallies(found: Tallies) -> Iterator[Metric]:
    durations = HistogramMetricFamily(
        "flowledger_run_duration_seconds", "How long the runs in the ledger took.", labels=LABELS
    )
    tokens = GaugeMetricFamily("flowledger_tokens", "Tokens of the runs in the ledger.", labels=LABELS)
    cost = GaugeMetricFamily(
        "flowledger_cost", "Cost of the runs in the ledger.", labels=[*LABELS, "currency"]
    )
    for app, each in found.items():
        durations.add_metric(_names(app), each.durations.buckets(), each.durations.total_s)
        tokens.add_metric(_names(app), each.totals.total_tokens)
        for currency, price in each.totals.cost.items():
            cost.add_metric([*_names(app), currency], float(price))
    yield from (durations, tokens, cost)


BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10)
QUIET = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by machines: their lines would hide all others."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def latency_in(registry: CollectorRegistry) -> Histogram:
    """Make the histogram of answer times."""
    return Histogram(
        "flowledger_api_request_duration_seconds",
        "Time to answer a request in this process, by route.",
        ("method", "route", "status"),
        buckets=BUCKETS_S,
        registry=registry,
    )


class Observed:
    """ASGI middleware, the outermost: both forms of a path are one, and each answer is counted and logged."""

    def __init__(self, app: ASGIApp, *, latency: Histogram) -> None:
        self.app, self.latency = app, latency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note what comes of a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["path"] = scope["path"].rstrip("/") or "/"
        begun, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self._note(scope, status, time.perf_counter() - begun)

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.latency.labels(method, _route_of(scope), str(status)).observe(took_s)
        caller = scope.get("caller")
        logger.log(
            "DEBUG" if scope["path"] in QUIET else "INFO",
            "{} {} {} in {:.1f} ms, {} from {}",
            method,
            clip(one_line(scope["path"]), 300),
            status,
            took_s * 1000,
            caller.name if caller else "nobody known",
            scope["client"][0] if scope.get("client") else "here",
        )


def _route_of(scope: Mapping[str, object]) -> str:
    """Name the route as it is written, so that there are only so many names."""
    return str(getattr(scope.get("route"), "path", "none"))
