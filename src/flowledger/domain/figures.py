"""The figures of a report, counted in one pass."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal

from flowledger.domain.costs import CostRule, output_tokens, run_cost
from flowledger.domain.report_heading import conversation_of, user_of
from flowledger.domain.runs import (
    OPEN_FOR,
    STATUS_ORDER,
    Detail,
    Entry,
    Level,
    Missing,
    NodeExecution,
    Run,
    RunStatus,
    missing_reason,
)
from flowledger.domain.statistics import Histogram
from flowledger.domain.texts import clip
from flowledger.domain.windows import Window

MOST_DAYS = 3660
"""Of a longer window only so many days are in the daily list without runs, its last ones."""
LISTED_PROBLEMS = 50
"""How many failed, and how many stuck, runs the figures name."""

QUESTION_KEYS = ("query", "sys.query", "question", "input", "prompt", "text", "message", "content")
"""Inputs that hold what a person asked, the likeliest first."""
_QUESTION_LENGTH = 120
_ERROR_LENGTH = 500
_FAILED_STATUSES = frozenset({RunStatus.FAILED, RunStatus.PARTIAL, RunStatus.INTERRUPTED})
_FAILED_NODE_STATUSES = frozenset({"failed", "exception"})


@dataclass(frozen=True, slots=True)
class UserFigures:
    """One user's share; days are calendar days in the report's zone."""

    user: str
    runs: int
    days: int
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class ProblemRun:
    """A run somebody should look at; ``node`` is the title of the node the error comes from, if known.

    ``user`` and ``question`` are what people know a run by; empty where there is none.
    """

    run_id: str
    log_id: str | None
    at: datetime
    source_status: str
    error: str
    node: str | None = None
    user: str = ""
    question: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a report says in numbers.

    ``first_day`` and ``last_day`` are those of the window where one is given, and ``daily`` has each day of
    it, in calendar order.  Statuses are in ``STATUS_ORDER``, the source's own by name.  ``users``
    are by runs (most first, then first met), ``elapsed_s`` and the quantiles are in seconds, ``cost`` is by
    currency: what is known, which is all where ``costed``, the number of runs with a known cost, is ``runs``.
    ``output_tokens`` is the sum over the runs that say it, None where none does, and ``output_s`` their time.
    ``detailed`` and ``missing`` make up ``runs`` where details were wanted.
    ``failures`` and ``stuck_runs`` hold the newest ``LISTED_PROBLEMS`` only; ``failed``, ``stuck`` are all.
    """

    runs: int = 0
    first_day: date | None = None
    last_day: date | None = None
    by_status: Mapping[RunStatus, int] = field(default_factory=dict)
    by_source_status: Mapping[str, int] = field(default_factory=dict)
    daily: Mapping[date, int] = field(default_factory=dict)
    users: tuple[UserFigures, ...] = ()
    conversations: int = 0
    total_tokens: int = 0
    output_tokens: int | None = None
    output_s: Decimal = Decimal(0)
    elapsed_s: Decimal = Decimal(0)
    cost: Mapping[str, Decimal] = field(default_factory=dict)
    costed: int = 0
    duration_p50_s: float | None = None
    duration_p95_s: float | None = None
    detailed: int = 0
    missing: int = 0
    missing_reasons: Mapping[str, int] = field(default_factory=dict)
    open: int = 0
    stuck: int = 0
    gone: int = 0
    failures: tuple[ProblemRun, ...] = ()
    stuck_runs: tuple[ProblemRun, ...] = ()

    @property
    def failed(self) -> int:
        """How many runs did not end as they should: as many as ``failures`` would list without a limit."""
        return sum(self.by_status.get(status, 0) for status in _FAILED_STATUSES)

    @property
    def tokens_per_second(self) -> Decimal | None:
        """Output tokens a second of the runs that say how many they put out; None where none does."""
        if self.output_tokens is None or self.output_s <= 0:
            return None
        return self.output_tokens / self.output_s

    @property
    def total_tokens_per_second(self) -> Decimal:
        """All tokens a second, those of the input too, as the old script counts; 0 where none was spent."""
        return self.total_tokens / self.elapsed_s if self.elapsed_s > 0 else Decimal(0)

    @property
    def runs_per_conversation(self) -> Decimal:
        """Mean number of turns; 0 where there is no conversation."""
        return Decimal(self.runs) / self.conversations if self.conversations else Decimal(0)


@dataclass(slots=True)
class _User:
    runs: int = 0
    days: set[date] = field(default_factory=set)


class FiguresCounter:
    """Counts entries, newest first, in memory that grows with users, days and conversations only.

    ``tz`` cuts the days (None for the machine's zone).  A run open for ``open_for`` at ``now`` (aware) is
    stuck.  ``level`` is how much detail was wanted: what was not wanted is not missing.  ``cost_rule``
    stands in for ``nodes_cost`` where older reports count otherwise.  Of a ``window`` all days
    are counted, also those without runs.
    """

    def __init__(
        self,
        tz: tzinfo | None,
        *,
        now: datetime,
        open_for: timedelta = OPEN_FOR,
        level: Level = Level.NODES,
        cost_rule: CostRule | None = None,
        window: Window | None = None,
    ) -> None:
        self._window = window
        self._output_tokens: int | None = None
        self._output_s = Decimal(0)
        self._tz, self._now, self._open_for, self._level = tz, now, open_for, level
        self._cost_rule, self._costed = cost_rule, 0
        self._runs = self._alone = self._tokens = self._detailed = self._gone = self._open = self._stuck = 0
        self._elapsed_s = Decimal(0)
        self._by_status: Counter[RunStatus] = Counter()
        self._by_source_status: Counter[str] = Counter()
        self._daily: Counter[date] = Counter()
        self._users: dict[str, _User] = {}
        self._conversations: set[str] = set()
        self._cost: dict[str, Decimal] = {}
        self._durations = Histogram()
        self._reasons: Counter[str] = Counter()
        self._failures: list[ProblemRun] = []
        self._stuck_runs: list[ProblemRun] = []

    def add(self, entry: Entry) -> None:
        """Count one run; where something of it cannot be counted, nothing of it is.

        :raises Exception: whatever its data makes the rules raise.
        """
        day = entry.run.listed_at.astimezone(self._tz).date()
        for rule in (user_of, conversation_of, _problem_of):
            rule(entry)
        run_cost(entry.run, entry.detail, self._cost_rule)
        output_tokens(_nodes(entry.detail))
        self._runs += 1
        self._daily[day] += 1
        self._count_run(entry.run)
        self._count_people(entry, day)
        self._count_detail(entry)
        self._count_problem(entry)

    def _count_run(self, run: Run) -> None:
        self._by_status[run.status] += 1
        self._by_source_status[run.source_status] += 1
        self._gone += run.gone
        self._tokens += run.total_tokens or 0
        if run.elapsed_s is not None and run.elapsed_s.is_finite():
            self._elapsed_s += run.elapsed_s
            if not run.status.is_open:
                self._durations.add(float(run.elapsed_s))

    def _count_people(self, entry: Entry, day: date) -> None:
        if user := user_of(entry):
            counted = self._users.setdefault(user, _User())
            counted.runs += 1
            counted.days.add(day)
        if conversation := conversation_of(entry):
            self._conversations.add(conversation)
        else:
            self._alone += 1

    def _count_detail(self, entry: Entry) -> None:
        detail = entry.detail
        reason = _missing_at(self._level, detail)
        if reason is not None:
            # A reason that names its run would stand for that run alone.
            self._reasons[reason.replace(entry.run.run_id, "…")] += 1
        elif self._level > Level.NONE:
            self._detailed += 1
        self._count_output(entry.run, output_tokens(_nodes(detail)))
        cost = run_cost(entry.run, detail, self._cost_rule)
        self._costed += cost.whole
        for currency, price in cost.amounts.items():
            self._cost[currency] = self._cost.get(currency, Decimal(0)) + price

    def _count_output(self, run: Run, tokens: int | None) -> None:
        if tokens is None or run.elapsed_s is None or not run.elapsed_s.is_finite():
            return
        self._output_tokens = (self._output_tokens or 0) + tokens
        self._output_s += run.elapsed_s

    def _days(self) -> Mapping[date, int]:
        """Return the runs of each day, of the window where there is one."""
        days = dict(self._daily)
        if self._window is not None:
            first, last = (
                each.astimezone(self._tz).date() for each in (self._window.after_at, self._window.before_at)
            )
            within = min((last - first).days + 1, MOST_DAYS)
            empty = dict.fromkeys((last - timedelta(days=back) for back in range(within)), 0)
            days = {first: 0, **empty, **days}
        return dict(sorted(days.items()))

    def _count_problem(self, entry: Entry) -> None:
        run = entry.run
        self._open += run.status.is_open
        if run.is_stuck(self._now, self._open_for):
            self._stuck += 1
            _add_if_room(self._stuck_runs, entry)
        elif run.status in _FAILED_STATUSES:
            _add_if_room(self._failures, entry)

    def figures(self) -> Figures:
        """Return the figures of what was counted so far."""
        daily = self._days()
        return Figures(
            runs=self._runs,
            first_day=min(daily, default=None),
            last_day=max(daily, default=None),
            by_status={status: self._by_status[status] for status in STATUS_ORDER if self._by_status[status]},
            by_source_status=dict(sorted(self._by_source_status.items())),
            daily=daily,
            users=self._user_figures(),
            conversations=len(self._conversations) + self._alone,
            total_tokens=self._tokens,
            output_tokens=self._output_tokens,
            output_s=self._output_s,
            elapsed_s=self._elapsed_s,
            cost=dict(self._cost),
            costed=self._costed,
            duration_p50_s=self._durations.quantile(0.5),
            duration_p95_s=self._durations.quantile(0.95),
            detailed=self._detailed,
            missing=self._reasons.total(),
            missing_reasons=dict(self._reasons.most_common()),
            open=self._open,
            stuck=self._stuck,
            gone=self._gone,
            failures=tuple(self._failures),
            stuck_runs=tuple(self._stuck_runs),
        )

    def _user_figures(self) -> tuple[UserFigures, ...]:
        met = (
            UserFigures(user, counted.runs, len(counted.days), min(counted.days), max(counted.days))
            for user, counted in self._users.items()
        )
        return tuple(sorted(met, key=lambda user: -user.runs))


def _missing_at(level: Level, detail: Detail) -> str | None:
    if level is Level.NODES:
        return missing_reason(detail)
    if level is Level.RUN and isinstance(detail, Missing):
        return detail.reason
    return None


def _nodes(detail: Detail) -> tuple[NodeExecution, ...]:
    if isinstance(detail, Missing) or isinstance(detail.nodes, Missing):
        return ()
    return tuple(detail.nodes)


def _add_if_room(problems: list[ProblemRun], entry: Entry) -> None:
    if len(problems) < LISTED_PROBLEMS:
        problems.append(_problem_of(entry))


def _problem_of(entry: Entry) -> ProblemRun:
    run = entry.run
    node = next(
        (node for node in _nodes(entry.detail) if node.status in _FAILED_NODE_STATUSES and node.error), None
    )
    error = run.error or (node.error if node else None) or ""
    return ProblemRun(
        run_id=run.run_id,
        log_id=run.log_id,
        at=run.listed_at,
        source_status=run.source_status,
        error=clip(error, _ERROR_LENGTH),
        node=node.title if node else None,
        user=run.creator.name or "" if run.creator else "",
        question=clip(_question_of(entry.detail), _QUESTION_LENGTH),
    )


def _question_of(detail: Detail) -> str:
    """Return what a person asked: a well-known input, else the first text that a run was begun with."""
    inputs = None if isinstance(detail, Missing) else detail.inputs
    if not isinstance(inputs, Mapping):
        return ""
    own = (value for name, value in inputs.items() if not name.startswith("sys."))
    texts = (*map(inputs.get, QUESTION_KEYS), *own)
    return next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")
