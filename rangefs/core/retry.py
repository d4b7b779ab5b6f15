"""Again? After how long? With how many at a time? Pure: the clock and the dice are arguments.

Full jitter (a delay drawn from ``[0, cap)``) spreads a herd of clients best:
AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rangefs.core.validators import parse_date

TRIES = 6
BASE_S = 0.2
CAP_S = 20.0
# Of what is left before the deadline, the share kept for the last try itself when Retry-After would take it all.
LAST_TRY_SHARE = 0.25


def retry_after_s(text: str, now: float) -> float | None:
    """Seconds that a Retry-After asks to wait (a number or a date, RFC 9110 10.2.3); None if it is neither.

    now  seconds since the epoch
    """
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    date = parse_date(text)
    return None if date is None else max(0.0, date - now)


def pause_s(failures: int, draw: float, left_s: float, asked_s: float | None = None) -> float | None:
    """How long to wait before the next try, or None to give up.

    failures  tries that have failed so far, at least 1
    draw      random, in [0, 1)
    left_s    seconds until the deadline; may be infinite
    asked_s   what Retry-After asked for: the least to wait, but never so long that no try could follow
    """
    if failures >= TRIES or left_s <= 0:
        return None
    backoff_s = draw * min(CAP_S, BASE_S * 2.0 ** (failures - 1))
    if asked_s is None:
        return backoff_s if backoff_s < left_s else None
    return max(backoff_s, asked_s) if max(backoff_s, asked_s) < left_s else left_s * (1 - LAST_TRY_SHARE)


@dataclass(slots=True)
class RetryBudget:
    """What keeps tries from multiplying an outage: retries are paid for by successes, and a little by time.

    capacity     retries at hand after a quiet time
    per_success  earned by each request that went well
    per_s        earned by waiting
    """

    capacity: float
    per_success: float
    per_s: float
    _tokens: float = field(init=False)
    _at: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self._tokens = self.capacity

    def earn(self) -> None:
        self._tokens = min(self.capacity, self._tokens + self.per_success)

    def spend(self, now: float) -> bool:
        """May there be a retry at `now` (any monotonic seconds)? Then it is paid for."""
        if self._at > float("-inf"):
            self._tokens = min(self.capacity, self._tokens + max(0.0, now - self._at) * self.per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def demand_budget() -> RetryBudget:
    """For requests that a reader waits for: their tries are what bounds them; this ends runaway loops alone."""
    return RetryBudget(capacity=600, per_success=1.0, per_s=10.0)


def ahead_budget() -> RetryBudget:
    """For reading ahead and warm-ups: one retry in ten requests, so that they give way in an outage."""
    return RetryBudget(capacity=10, per_success=0.1, per_s=0.5)


# An origin that throttles answers all that is in flight alike: one burst of 503 is one reason to halve, not sixteen.
HALVE_EVERY_S = 1.0


@dataclass(slots=True)
class Concurrency:
    """How many requests at a time an origin takes: halved when it throttles, one more per round of successes.

    ceiling  the setting, ``--max-connections``
    """

    ceiling: int
    _limit: float = field(init=False)
    _halved_at: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self._limit = float(self.ceiling)

    @property
    def limit(self) -> int:
        """At least 1, at most the ceiling."""
        return max(1, int(self._limit))

    def throttled(self, now: float) -> None:
        """The origin answered 429 or 503. `now`: any monotonic seconds."""
        if now - self._halved_at >= HALVE_EVERY_S:
            self._limit = max(1.0, self._limit / 2)
            self._halved_at = now

    def succeeded(self) -> None:
        """A request went well: additive growth, one slot for as many successes as there are slots."""
        if self._limit < self.ceiling:
            self._limit = min(float(self.ceiling), self._limit + 1 / self._limit)
