"""What is known of one origin, and who may ask it now: gate, breaker, latencies, budgets."""

from __future__ import annotations

import trio

from rangefs.core import ranges
from rangefs.core.breaker import Admission, Breaker
from rangefs.core.latency import HedgeBudget, Latencies, Stalls, hedge_after_s, idle_stall_s, stall_after_s
from rangefs.core.retry import Concurrency, ahead_budget, demand_budget
from rangefs.errors import Unreachable
from rangefs.sources.base import Ticket
from rangefs.sources.gate import Gate
from rangefs.sources.urls import Origin

# A gateway that says so itself: nobody is behind it. (503 is an origin that wants fewer requests: the gate's business.)
NOBODY_HOME = frozenset({502, 504})
# A request cancelled after so long without an answer, by its reader's deadline, says something about the origin;
# one cancelled earlier says something about the reader.
SILENT_S = 1.5


class OriginDown(Unreachable):
    """The breaker is open: this request was not sent."""


class Peer:
    """One origin.

    Invariant: a probe that has entered ends in exactly one of `answered`, `failed` and `cancelled`.
    """

    def __init__(self, origin: Origin, max_connections: int, stall_s: float) -> None:
        self.origin = origin
        self.gate = Gate(Concurrency(max_connections))
        self.breaker = Breaker()
        self.hedges = HedgeBudget()
        self._demand = demand_budget()
        self._ahead = ahead_budget()
        self._first_bytes = Latencies()
        self._silences = Latencies()
        self._stall_s = stall_s
        self._decided = trio.Event()

    def __repr__(self) -> str:
        return f"<Peer {self.origin}, {'failing' if self.breaker.open else 'well'}, {self.gate!r}>"

    @property
    def stalls(self) -> Stalls:
        """How long the next request may be met with silence."""
        return Stalls(
            self._stall_s,
            idle_stall_s(self._first_bytes, self._stall_s),
            stall_after_s(self._silences, self._stall_s),
        )

    @property
    def hedge_after_s(self) -> float | None:
        return None if self.breaker.open else hedge_after_s(self._first_bytes)

    async def enter(self, ticket: Ticket) -> bool:
        """Waits for a slot and for the breaker's leave to ask; True if this request is its probe.

        The slot is the caller's to release, through `gate`. Raises `OriginDown` for those who only read ahead, and
        for the others when somebody's probe has failed. Cancelled, or raising: nothing is held or owed.
        """
        while True:
            await self.gate.acquire(ticket)
            admission = self.breaker.admit(trio.current_time())  # only now: it may have opened while we queued
            if admission is not Admission.WAIT:
                return admission is Admission.PROBE
            self.gate.release()
            await self._wait_for_probe(ticket)

    async def _wait_for_probe(self, ticket: Ticket) -> None:
        """Until there may be another probe, or one has succeeded."""
        if not ticket.urgent:
            raise OriginDown(f"{self.origin} does not answer; nothing is fetched ahead until it does")
        with trio.move_on_at(self.breaker.next_probe_at):
            await self._decided.wait()
            if self.breaker.open and self.breaker.next_probe_at > trio.current_time():
                raise OriginDown(f"{self.origin} still does not answer")

    def may_try_again(self, ticket: Ticket) -> bool:
        return (self._demand if ticket.urgent else self._ahead).spend(trio.current_time())

    def answered(self, status: int, after_s: float, probe: bool) -> None:
        """A head came, `after_s` seconds after it was asked for."""
        now = trio.current_time()
        if status in ranges.THROTTLED:
            self.gate.concurrency.throttled(now)
        if status in NOBODY_HOME:
            self.failed(probe)
            return
        self.breaker.succeeded()
        self._decide()
        if status not in ranges.RETRYABLE:
            self.gate.concurrency.succeeded()
            self._first_bytes.add(after_s)
            for budget in (self._demand, self._ahead):
                budget.earn()

    def failed(self, probe: bool) -> None:
        """No answer came."""
        self.breaker.failed(trio.current_time(), probe)
        if probe:
            self._decide()

    def cancelled(self, after_s: float, probe: bool) -> None:
        """Whoever asked has given up, `after_s` seconds after asking."""
        if after_s >= SILENT_S:
            self.failed(probe)
        elif probe:
            self.breaker.abandoned(trio.current_time())
            self._decide()

    def was_silent(self, seconds: float) -> None:
        """The longest silence of a body that has ended, or of one that was dropped for it."""
        self._silences.add(seconds)

    def _decide(self) -> None:
        """Wakes those who wait for a probe's outcome; they look at the breaker."""
        self._decided.set()
        self._decided = trio.Event()
