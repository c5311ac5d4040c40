"""A source of runs in memory, for the services: the port and nothing of Dify."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random

from flowledger.domain.conversation_scan import Conversation, ConversationPage, MessagePage
from flowledger.domain.cursor_scan import RunCounts
from flowledger.domain.run_filters import FilterSplit, RunFilter
from flowledger.domain.runs import AppKey, Detail, Detailed, Level, Missing, NodeExecution, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.errors import FlowledgerError
from flowledger.ports import CursorPage, LogPage

APP = AppKey("dify", "fake")
START = 1_795_219_200
NOW = datetime.fromtimestamp(START + 100_000, UTC)
NODE = b'{"data": [{"node_id": "start", "node_type": "start", "inputs": {"query": "hi"}}]}'


def make_run(number: int, second: int | None = None, status: RunStatus = RunStatus.SUCCESS) -> Run:
    """Make a run listed at START plus its number of seconds, or at a second after START."""
    at = datetime.fromtimestamp(START + (number if second is None else second), UTC)
    return Run(APP, f"run-{number:05}", at, status, "succeeded", log_id=f"log-{number:05}", raw=b"{}")


@dataclass
class FakeSource:
    """Lists its runs newest first, ties in any order; details fail where ``trouble`` says so."""

    runs: list[Run]
    trouble: Mapping[str, FlowledgerError] = field(default_factory=dict)
    reach: Level = Level.NODES
    log_list: bool = True
    tells_open: bool = False
    app: AppKey = APP
    requests: int = 0
    detailed: list[str] = field(default_factory=list)
    random: Random = field(default_factory=lambda: Random(3))

    def identity(self) -> str:
        """Return what opens it: nothing does."""
        return "fake"

    def check_app(self) -> bool:
        """Return that the app is the right one."""
        return True

    def now(self) -> datetime:
        """Give a fixed present."""
        return NOW

    def split(self, wanted: RunFilter) -> FilterSplit:
        """Leave a status to the source, and decide everything else on our side."""
        remote = {"status": wanted.status} if wanted.status else {}
        return FilterSplit(remote, replace(wanted, status=None))

    def page(self, window: Window, remote: Mapping[str, str], *, page: int = 1, limit: int = 100) -> LogPage:
        """Give one page."""
        self.requests += 1
        inside = [run for run in self.runs if self.log_list and run.listed_at in window]
        inside = [run for run in inside if remote.get("status", run.source_status) == run.source_status]
        self.random.shuffle(inside)
        inside.sort(key=lambda run: run.listed_at, reverse=True)
        start = (page - 1) * limit
        return LogPage(inside[start : start + limit], len(inside), len(inside) > start + limit)

    def lists_logs(self) -> bool:
        """Tell what the test chose."""
        return self.log_list

    def lists_runs(self) -> bool:
        """Tell that the list without total has them."""
        return True

    def conversations(self, page: int) -> ConversationPage:
        """Give none."""
        return ConversationPage((), 0, has_more=False)

    def messages(self, conversation: Conversation, before: str | None) -> MessagePage:
        """Give none."""
        return MessagePage((), has_more=False)

    def cursor_page(self, cursor: str | None) -> CursorPage:
        """Give four runs from the cursor on."""
        self.requests += 1
        ordered = sorted(self.runs, key=lambda run: run.listed_at, reverse=True)
        start = int(cursor or 0)
        more = start + 4 < len(ordered)
        rows = [replace(run, log_id=run.run_id) for run in ordered[start : start + 4]]
        return CursorPage(rows, str(start + 4) if more else None)

    def count_since(self, second: int) -> RunCounts | None:
        """Count by the run's time."""
        self.requests += 1
        return counts_of(self.runs, second)

    def unmoved(self, window: Window, runs: Sequence[Run]) -> frozenset[str] | None:
        """Tell where the test chose that the source can."""
        if not self.tells_open:
            return None
        self.requests += 1
        return frozenset(run.run_id for run in self.runs if run.status.is_open)

    def deepest(self) -> Level:
        """Tell what the test chose."""
        return self.reach

    def why_not_deeper(self) -> str:
        """Say why."""
        return "" if self.reach is Level.NODES else "no console access"

    def detail(self, run: Run, level: Level) -> tuple[Run, Detail]:
        """Give the run as it is now, with one node."""
        self.requests += 1
        self.detailed.append(run.run_id)
        if run.run_id in self.trouble:
            raise self.trouble[run.run_id]
        known = next(known for known in self.runs if known.run_id == run.run_id)
        now = replace(run, status=known.status, source_status=known.source_status)
        return now, decode(
            now, {"nodes": NODE} if min(level, self.reach) == Level.NODES else {}, "no console access"
        )


def counts_of(runs: Sequence[Run], second: int) -> RunCounts:
    """Count runs since a second: all, and those of each status."""
    statuses = Counter(run.source_status for run in runs if run.listed_at.timestamp() >= second)
    return RunCounts(statuses.total(), statuses)


def decode(run: Run, raw: Mapping[str, bytes], why_no_nodes: str) -> Detailed:
    """Decode what the fake source answers."""
    if "nodes" not in raw:
        return Detailed({"query": "hi"}, None, Missing(why_no_nodes), raw)
    node = NodeExecution(0, "n", "start", "start", "Start", "succeeded")
    return Detailed({"query": "hi"}, None, (node,), raw)
