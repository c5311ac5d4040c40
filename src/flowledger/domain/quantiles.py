"""Quantiles of a stream in bounded memory."""

from collections import Counter
from math import ceil, floor, log

ACCURACY = 0.005
"""Largest relative error of a quantile; below ``SMALLEST`` seconds the answer is 0."""

SMALLEST = 1e-6
LARGEST = 1e9
_GROWTH = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GROWTH = log(_GROWTH)


class Histogram:
    """Counts durations (seconds) in logarithmic buckets: at most about 3,500, however many values come.

    A bucket reaches from ``g**(i-1)`` to ``g**i`` and is told by ``2 * g**i / (g + 1)``, which lies within
    ``ACCURACY`` of every value in it.  Values above ``LARGEST`` count as ``LARGEST``.
    """

    def __init__(self) -> None:
        self._buckets: Counter[int | None] = Counter()

    def add(self, seconds: float) -> None:
        """Count one duration; negative ones count as 0."""
        self._buckets[_bucket(seconds)] += 1

    def quantile(self, share: float) -> float | None:
        """Give the nearest-rank quantile (0 < share <= 1) in seconds; None where nothing was counted."""
        total = self._buckets.total()
        rank = max(1, ceil(share * total))
        seen = 0
        for bucket in sorted(self._buckets, key=_order):
            seen += self._buckets[bucket]
            if seen >= rank:
                return 0.0 if bucket is None else 2 * _GROWTH**bucket / (_GROWTH + 1)
        return None


def _bucket(seconds: float) -> int | None:
    if seconds < SMALLEST:
        return None
    return ceil(log(min(seconds, LARGEST)) / _LOG_GROWTH)


def _order(bucket: int | None) -> int:
    return floor(log(SMALLEST) / _LOG_GROWTH) - 1 if bucket is None else bucket
