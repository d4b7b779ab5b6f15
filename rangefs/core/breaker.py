"""A circuit breaker: an origin that keeps failing is asked by one request at a time until it answers again. Pure.

`now` is any monotonic clock, in seconds. What counts as a failure is the
caller's to say: no answer at all, or a gateway that reports one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

# As many failures in a row, of all requests together, as one request has tries but one: a single reader's
# bad luck with a flaky origin never opens it before its own last try.
OPEN_AFTER = 5
# Short at first, since most outages are restarts; never long, since a probe costs one request and a reader waits.
FIRST_INTERVAL_S = 0.5
LAST_INTERVAL_S = 3.0
# A probe that is silent for longer no longer speaks for the origin: it may be one file that hangs, and those who
# open another one have 5 s in all.
PROBE_PATIENCE_S = 2.0


class Admission(enum.Enum):
    """What a request may do now."""

    GO = "go"
    PROBE = "probe"  #: go, alone; its outcome decides for everyone
    WAIT = "wait"  #: until `Breaker.next_probe_at`, or until a probe under way has ended


@dataclass(slots=True)
class Breaker:
    """Closed: all may go. Open: none until a moment, then one probe at a time, at growing intervals.

    next_probe_at  while open; while a probe is under way, when it will have been silent for too long
    """

    next_probe_at: float = float("-inf")
    _failures: int = 0
    _interval_s: float = FIRST_INTERVAL_S
    _probing: bool = False

    @property
    def open(self) -> bool:
        return self._failures >= OPEN_AFTER

    def admit(self, now: float) -> Admission:
        """Asks to go. After `PROBE` the caller owes `succeeded`, `failed` or `abandoned`."""
        if not self.open:
            return Admission.GO
        if now < self.next_probe_at:
            return Admission.WAIT
        self._probing = True
        self.next_probe_at = now + PROBE_PATIENCE_S
        return Admission.PROBE

    def succeeded(self) -> None:
        """Any answer of a live origin, from a probe or not."""
        self._failures, self._interval_s, self._probing = 0, FIRST_INTERVAL_S, False
        self.next_probe_at = float("-inf")

    def failed(self, now: float, probe: bool) -> None:
        """A request had no answer. Those that were under way when it opened change nothing any more."""
        if not self.open:
            self._failures += 1
            if self.open:
                self.next_probe_at = now + self._interval_s
        elif probe:
            self._probing = False
            self._interval_s = min(LAST_INTERVAL_S, 2 * self._interval_s)
            self.next_probe_at = now + self._interval_s

    def abandoned(self, now: float) -> None:
        """The probe was cancelled before it could tell: the next one may go at once."""
        if self._probing:
            self._probing = False
            self.next_probe_at = now
