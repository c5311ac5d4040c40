"""What was proved about a window, and what tells one set of its runs from another."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from flowledger.domain.runs import AppKey
from flowledger.domain.windows import Window


@dataclass(frozen=True, slots=True)
class Scope:
    """What a collection or a report is about: an app, a window, and what the source was asked to filter by.

    ``query`` is the source-side filter in canonical text (``domain.filters``), empty for everything.
    A ledger selects an unfiltered scope by time, a filtered one by the rows saved under it.
    """

    app: AppKey
    window: Window
    query: str = ""

    def __str__(self) -> str:
        return f"{self.app} {self.window}" + (f" [{self.query}]" if self.query else "")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was proved about a scope, and when.

    ``expected`` is the source's own total (None where it gives none), ``distinct`` the different log rows
    seen, ``retained`` the runs that the ledger keeps although the source no longer lists them.
    ``reason`` says how it was proved, or why it could not be.  ``read_at`` is when the oldest part of the
    window was last read in full, which proves more than the comparison made at ``at``; ``runs`` tells the
    runs that the ledger has seen listed since.  Both are None where that was never noted.
    """

    scope: Scope
    certified: bool
    reason: str
    expected: int | None
    distinct: int
    at: datetime
    retained: int = 0
    read_at: datetime | None = None
    runs: "RunSet | None" = None


DIGEST_BYTES = 16
_HOSTILE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class RunSet:
    """How many runs a set has, and a digest of their ids that does not depend on their order."""

    count: int
    digest: int


def digest_of(run_ids: Iterable[str]) -> RunSet:
    """Return what tells a set of runs from another; each id comes once.

    Digests of disjoint sets add up to that of their union (modulo 2 to the power of 128).
    """
    count = digest = 0
    for run_id in run_ids:
        count += 1
        digest += int.from_bytes(blake2b(_storable(run_id), digest_size=DIGEST_BYTES).digest(), "big")
    return RunSet(count, digest % (1 << 8 * DIGEST_BYTES))


def together(one: RunSet, other: RunSet) -> RunSet:
    """Return what tells the union of two disjoint sets of runs."""
    return RunSet(one.count + other.count, (one.digest + other.digest) % (1 << 8 * DIGEST_BYTES))


def _storable(run_id: str) -> bytes:
    # A ledger stores these characters as this one, so that both sides have the same text.
    return _HOSTILE.sub("\N{REPLACEMENT CHARACTER}", run_id).encode()
