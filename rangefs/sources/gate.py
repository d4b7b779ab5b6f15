"""Who may talk to an origin now: a semaphore that lets waiting readers pass those who only read ahead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import itemgetter

import trio

from rangefs.core.retry import Concurrency
from rangefs.sources.base import Ticket

# One slot in so many is for urgent tickets alone: a reader who comes while read-ahead fills the line finds one free,
# and does not wait for 4 MiB of somebody's future.
RESERVED_SHARE = 16
# Where throttling has left few slots, one transfer that hangs may hold them all. A gate that nobody has left for so
# long lets one reader more in, up to the ceiling: those who wait have 5 s to open a file.
STUCK_S = 1.5


class Gate:
    """At most ``concurrency.limit`` requests at a time to one origin.

    Urgent tickets first, then in order of their numbers; a ticket that becomes urgent while it waits is looked at
    again at once. Nothing here awaits between a look at the counts and their change.
    """

    def __init__(self, concurrency: Concurrency) -> None:
        self.concurrency = concurrency
        self._taken = 0
        self._moved_at = float("-inf")
        self._queue: dict[Ticket, list[trio.Event]] = {}

    def __repr__(self) -> str:
        waiting = sum(len(events) for events in self._queue.values())
        return f"<Gate {self._taken} of {self.concurrency.limit} taken, {waiting} waiting>"

    @asynccontextmanager
    async def slot(self, ticket: Ticket) -> AsyncIterator[None]:
        """Waits for a slot and holds it. Cancelled while it waits: nothing was taken."""
        await self.acquire(ticket)
        try:
            yield
        finally:
            self.release()

    async def acquire(self, ticket: Ticket) -> None:
        """As `slot`, for callers that release elsewhere."""
        if not self._queue and self._has_room(ticket.urgent):
            self._taken += 1
            return
        turn = trio.Event()
        self._queue.setdefault(ticket, []).append(turn)
        ticket.when_urgent(self._admit)
        self._admit()
        try:
            while not turn.is_set():
                with trio.move_on_after(STUCK_S):
                    await turn.wait()
                self._pass_the_stuck(ticket, turn)
        except trio.Cancelled:
            if turn.is_set():  # admitted and cancelled at once: pass the slot on
                self.release()
            raise
        finally:
            self._leave(ticket, turn)

    def _pass_the_stuck(self, ticket: Ticket, turn: trio.Event) -> None:
        now = trio.current_time()
        stuck = now - self._moved_at >= STUCK_S and self._taken < self.concurrency.ceiling
        if stuck and ticket.urgent and not turn.is_set():
            self._moved_at = now
            self._taken += 1
            turn.set()

    def release(self) -> None:
        self._taken -= 1
        self._moved_at = trio.current_time()
        self._admit()

    def _has_room(self, urgent: bool) -> bool:
        limit = self.concurrency.limit
        return self._taken < (limit if urgent else max(1, limit - -(-limit // RESERVED_SHARE)))

    def _admit(self) -> None:
        """Wakes as many as there is room for."""
        while (turn := self._next()) is not None:
            self._taken += 1
            turn.set()

    def _next(self) -> trio.Event | None:
        for urgent in (True, False):
            if not self._has_room(urgent):
                continue
            waiting = [
                (ticket.number, turn)
                for ticket, turns in self._queue.items()
                if ticket.urgent is urgent
                for turn in turns
                if not turn.is_set()
            ]
            if waiting:
                return min(waiting, key=itemgetter(0))[1]
        return None

    def _leave(self, ticket: Ticket, turn: trio.Event) -> None:
        turns = self._queue[ticket]
        turns.remove(turn)
        if not turns:
            del self._queue[ticket]
            ticket.when_urgent(None)
