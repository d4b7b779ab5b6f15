"""The clock that does not stop while the machine sleeps."""

from __future__ import annotations

import time


def since_boot() -> float:
    """Seconds, suspended ones included (clock_gettime(2), CLOCK_BOOTTIME): how old a thing really is.

    The event loop's clock stands still meanwhile, which is right for deadlines and wrong for ages.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
