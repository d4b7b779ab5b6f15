"""The event loop's clock: time counts while this process can run."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

# The loop looks at its clock at least as often, so that a longer gap tells of a process that was stopped.
TICK_S = 1.0
# A step of the loop never takes so long; being without the processor for so long is like being stopped.
FROZEN_S = 2.0


class AwakeClock(trio.abc.Clock):
    """Monotonic, but for gaps: a process that was stopped (SIGSTOP, a paused machine, no processor) did not wait.

    Otherwise all deadlines of everything under way would be over when it goes on, though upstream had no chance to
    answer. (A suspended machine's own monotonic clock stands still by itself.)
    """

    def __init__(self, monotonic: Callable[[], float] = time.perf_counter) -> None:
        self._monotonic = monotonic
        self._seen = monotonic()
        self._lost_s = 0.0

    def __repr__(self) -> str:
        return f"<AwakeClock, {self._lost_s:.1f} s lost>"

    def start_clock(self) -> None:
        self._seen = self._monotonic()

    def current_time(self) -> float:
        now = self._monotonic()
        gap_s = now - self._seen
        self._seen = now
        if gap_s > FROZEN_S:
            self._lost_s += gap_s - TICK_S  # it may have waited for as long as it meant to
        return now - self._lost_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return min(TICK_S, deadline - self.current_time())
