"""How slow an origin usually is, and what follows: when a silence is a stall, and when to ask a second time. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field

# Enough for a p99 that means something, few enough to follow an origin whose mood changes within minutes.
WINDOW = 256
TRUSTED_FROM = 50

# SEMANTICS section 2: no byte for max(2 s, 4 × p99) is a stall. The upper bound keeps one bad hour out of the next.
STALL_FACTOR = 4.0
STALL_MIN_S = 2.0
STALL_MAX_S = 30.0

# Hedging pays only where the tail is heavy: a second request to an origin that is just evenly slow is load alone.
HEDGE_MIN_S = 0.05
HEDGE_TAIL = 3.0
HEDGE_SHARE = 0.05
HEDGE_BURST = 3.0


@dataclass(slots=True)
class Latencies:
    """The last `WINDOW` durations, in seconds. `add` and `quantile` cost O(log n) and a short memmove."""

    _recent: deque[float] = field(default_factory=deque)
    _sorted: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, seconds: float) -> None:
        if len(self._recent) == WINDOW:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        self._recent.append(seconds)
        insort(self._sorted, seconds)

    @property
    def slowest(self) -> float:
        """0 while there are none."""
        return self._sorted[-1] if self._sorted else 0.0

    def quantile(self, share: float) -> float | None:
        """The duration that `share` (0 to 1) of the requests did not exceed; None before there are enough of them."""
        if len(self._sorted) < TRUSTED_FROM:
            return None
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]


@dataclass(frozen=True, slots=True)
class Stalls:
    """The longest silences of one request, in seconds.

    head_s  before the answer's head, on a new connection
    idle_s  before it, on a connection that was idle (`idle_stall_s`)
    body_s  before more of the body (`stall_after_s`)
    """

    head_s: float
    idle_s: float
    body_s: float


def stall_after_s(silences: Latencies, default_s: float) -> float:
    """How long a body may be silent before it is dropped and asked for again from where it stopped.

    silences   the longest silence of each recent body
    default_s  while too little is known
    """
    p99 = silences.quantile(0.99)
    return default_s if p99 is None else min(STALL_MAX_S, max(STALL_MIN_S, STALL_FACTOR * p99))


def idle_stall_s(first_bytes: Latencies, most_s: float) -> float:
    """How long the head of an answer may take on a connection that was idle: it may have died unseen.

    Far above what the origin ever took lately; at most what a new connection gets.
    """
    return min(most_s, max(STALL_MIN_S, STALL_FACTOR * first_bytes.slowest))


def hedge_after_s(first_bytes: Latencies) -> float | None:
    """How long to wait for an answer's head before asking a second time; None where that would not help."""
    median, p99 = first_bytes.quantile(0.5), first_bytes.quantile(0.99)
    if median is None or p99 is None or p99 < max(HEDGE_MIN_S, HEDGE_TAIL * median):
        return None
    return p99


@dataclass(slots=True)
class HedgeBudget:
    """At most `HEDGE_SHARE` more requests than were asked for, in the long run; a small burst at first."""

    _tokens: float = HEDGE_BURST

    def earn(self) -> None:
        """A request was sent that is no hedge."""
        self._tokens = min(HEDGE_BURST, self._tokens + HEDGE_SHARE)

    def spend(self) -> bool:
        """May a hedge be sent now? Then it is paid for."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
