"""Which way to the disk: past the page cache, or through it. Pure: times in, a choice out.

Past it costs less: no copy, and none of the memory that readers' pages need. Through it a slow disk takes bytes at
memory's speed, for a while. But not everywhere: on a virtual machine whose host takes back what is free, fresh pages
were slower than the disk (2.2 s a GiB; 2026-11). So where the disk lags, what was measured decides. A write past it
waits, one through it works, on a processor that readers need, and keeps the disk busy long after: it has to be faster
by far.
"""

from __future__ import annotations

import math

# Weight of a new measurement.
FRESH = 1 / 4
# Through the page cache has to be so many times as fast to be worth its processor time. Where memory is cheap and the
# disk can't keep up it is, by far (four writers of 100 MB/s wait 160 ms for 4 MiB each); 18 ms against 3 is no reason.
WORTH = 8
# While the disk lags, the other way is tried by one write in so many, the first included: nobody knows it for good.
TRY_EACH = 64


class Outlet:
    """Seconds a byte of both ways, as seen lately."""

    __slots__ = ("_choices", "_direct_s", "_through_s")

    def __init__(self) -> None:
        self._direct_s = 0.0  # nobody knows yet: believed in
        self._through_s = math.inf
        self._choices = 0

    def direct(self, lagging: bool) -> bool:
        """Past the page cache? lagging: more waits for the disk than it should."""
        if not lagging:
            return True
        better = self._direct_s <= WORTH * self._through_s
        self._choices += 1
        return better if self._choices % TRY_EACH != 1 else not better

    def wrote(self, direct: bool, size_bytes: int, took_s: float) -> None:
        """One way has taken so many bytes."""
        seen = took_s / size_bytes
        if direct:
            self._direct_s = _mixed(self._direct_s, seen)
        else:
            self._through_s = _mixed(self._through_s, seen)


def _mixed(old: float, new: float) -> float:
    return old + FRESH * (new - old) if 0 < old < math.inf else new
