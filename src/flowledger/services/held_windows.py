"""What a ledger holds of certified windows, as a source's answers are compared with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import takewhile

from flowledger.domain.certificates import Certificate, RunSet, digest_of, together
from flowledger.domain.history import RunKey
from flowledger.domain.runs import Run
from flowledger.domain.windows import Window
from flowledger.ports import Ledger

NO_RUNS = RunSet(0, 0)


@dataclass(frozen=True, slots=True)
class HeldWindows:
    """Certificates of one app whose windows follow each other without a gap, oldest first.

    Runs that were no longer listed when their window was last read are none of these.
    """

    ledger: Ledger
    certificates: Sequence[Certificate]

    @property
    def window(self) -> Window:
        """All of their windows as one."""
        return Window(self.certificates[0].scope.window.after, self.certificates[-1].scope.window.before)

    @property
    def rows(self) -> int:
        """How many rows the source lists in them."""
        return sum(certificate.distinct for certificate in self.certificates)

    def are_intact(self) -> bool:
        """Return whether the ledger holds the very runs that were certified."""
        return all(is_intact(self.ledger, certificate) for certificate in self.certificates)

    def in_status(self, word: str) -> int:
        """Count the runs in a status, by the source's word."""
        return sum(
            self.ledger.count(each.scope, collected_since=each.read_at, source_status=word)
            for each in self.certificates
        )

    def fit_count(self, word: str, counted: int, beside: Sequence[Run] = ()) -> bool:
        """Return whether the source counts as many runs in a status, but for open ones that have ended since.

        ``beside`` are further runs that it counts.
        """
        held = self.in_status(word) + sum(run.source_status == word for run in beside)
        if counted == held:
            return True
        still_open = sum(1 for each in self.certificates for _ in self.ledger.open_runs(each.scope))
        return held < counted <= held + still_open + sum(run.status.is_open for run in beside)

    def begin_with(self, rows: Sequence[Run]) -> bool:
        """Return whether these, newest first, are the newest runs, in the statuses they had or may have now.

        Of the oldest second among them there may be others.
        """
        oldest = _second(rows[-1])
        listed = digest_of({run.identity for run in rows if _second(run) > oldest})
        return listed == self._newer_than(oldest) and _is_like(rows, self._since(oldest))

    def have(self, rows: Sequence[Run]) -> bool:
        """Return whether the ledger holds these runs, in the statuses they had or may have now."""
        entries = (self.ledger.entry(RunKey(run.app, run.run_id)) for run in rows)
        return _is_like(rows, {entry.run.identity: entry.run for entry in entries if entry is not None})

    def _newer_than(self, second: int) -> RunSet:
        parts = [
            self.ledger.run_set(
                each.scope,
                within=Window(max(each.scope.window.after, second + 1), each.scope.window.before),
                collected_since=each.read_at,
            )
            for each in self.certificates
            if each.scope.window.before > second
        ]
        return reduce(together, parts, NO_RUNS)

    def _since(self, second: int) -> Mapping[str, Run]:
        scope = replace(self.certificates[-1].scope, window=self.window)
        newest = takewhile(
            lambda entry: _second(entry.run) >= second, self.ledger.entries(scope, with_details=False)
        )
        return {entry.run.identity: entry.run for entry in newest}


def is_intact(ledger: Ledger, certificate: Certificate) -> bool:
    """Return whether the ledger holds the very runs still: some may be archived, deleted, or have come."""
    return ledger.run_set(certificate.scope, collected_since=certificate.read_at) == certificate.runs


def _second(run: Run) -> int:
    return int(run.listed_at.timestamp())


def _is_like(rows: Sequence[Run], held: Mapping[str, Run]) -> bool:
    known = [(run, held.get(run.identity)) for run in rows]
    return all(
        before is not None and (before.status.is_open or before.source_status == run.source_status)
        for run, before in known
    )
