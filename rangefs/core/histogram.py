"""A histogram of durations in fixed, logarithmic buckets: what p50 and p99 in ``status`` come from.

A duration is recorded in O(1), without allocation, into one of 432 counters;
its bucket is at most 1/16 wider than its lower bound, so a quantile is at most
6.25 % above the exact one. Prior art: HdrHistogram, with its linear
sub-buckets inside each power of two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

SUB_BUCKETS = 16  #: in each power of two; 1/16 is finer than two runs of one benchmark agree
LOWEST_EXPONENT = -20  #: the first bucket begins at 2**-20 s, about 1 µs: nothing through FUSE is faster
HIGHEST_EXPONENT = 7  #: the last one ends at 2**7 s = 128 s, twice the longest default deadline
BUCKETS = (HIGHEST_EXPONENT - LOWEST_EXPONENT) * SUB_BUCKETS
LOWEST_S = 2.0**LOWEST_EXPONENT


@dataclass(slots=True)
class DurationHistogram:
    """How often each duration was seen.

    count   durations recorded
    total_s their sum, in seconds
    """

    count: int = 0
    total_s: float = 0.0
    _counters: list[int] = field(default_factory=lambda: [0] * BUCKETS, repr=False)

    def record(self, duration_s: float) -> None:
        """Count one duration. Too short or too long ones count in the outermost bucket."""
        self.count += 1
        self.total_s += duration_s
        self._counters[bucket_of(duration_s)] += 1

    def quantile_s(self, fraction: float) -> float:
        """The smallest bucket bound, in seconds, that a `fraction` of all durations do not exceed; 0.0 if empty."""
        wanted = max(1, math.ceil(fraction * self.count))
        seen = 0
        for bucket, counter in enumerate(self._counters):
            seen += counter
            if seen >= wanted:
                return upper_bound_s(bucket)
        return 0.0

    def cumulative(self, bounds_s: Iterable[float]) -> list[int]:
        """How many durations are at most each of `bounds_s` (ascending), as Prometheus wants them.

        Exact where a bound is one of ours (each power of two is); else the bucket that holds it is left out.
        """
        counts = []
        bucket = seen = 0
        for bound_s in bounds_s:
            while bucket < BUCKETS and upper_bound_s(bucket) <= bound_s:
                seen += self._counters[bucket]
                bucket += 1
            counts.append(seen)
        return counts


def bucket_of(duration_s: float) -> int:
    """The counter of a duration: ``lower <= duration < upper``."""
    if duration_s < LOWEST_S:
        return 0
    mantissa, exponent = math.frexp(duration_s)  # duration = mantissa · 2**exponent, mantissa in [0.5, 1)
    bucket = (exponent - 1 - LOWEST_EXPONENT) * SUB_BUCKETS + int((2 * mantissa - 1) * SUB_BUCKETS)
    return min(bucket, BUCKETS - 1)


def upper_bound_s(bucket: int) -> float:
    """Where a bucket ends, in seconds."""
    octave, step = divmod(bucket, SUB_BUCKETS)
    return math.ldexp(1 + (step + 1) / SUB_BUCKETS, octave + LOWEST_EXPONENT)
