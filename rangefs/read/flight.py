"""A flight: one fetch under way, its buffer, and those who wait for parts of it."""

from __future__ import annotations

import trio

from rangefs.errors import RangefsError
from rangefs.sources.base import Ticket


class Abandoned(RangefsError):
    """The flight was stopped because nobody waited for it. Whoever joined it too late looks again."""


class Flight:
    """Bytes ``[start, end)`` of a version on their way.

    landed    one past the last byte that has arrived and was validated
    failure   why it ended early; None while it is under way and when all landed
    scope     its deadline moves on with every piece that lands
    turn      around its wait for a writer: cancelled where its memory is needed before
    reserved  bytes of the memory budget that it holds
    served    one past the furthest byte that a reader has been given
    given     bytes that readers have been given in all, in whatever order
    chunk_id  the chunk that the store has of it; its bytes may still be held, for those who come next
    doubtful  what has landed may be of the next version: nobody may have it any more

    `end` may move back (the file is shorter than asked for), never forward.

    The bytes land in one buffer, and what has landed is never written again: a view stays right for as long as
    somebody holds it. But the whole buffer lives for as long, beyond what the budget knows of: not over an ``await``.
    """

    __slots__ = (
        "_buffer",
        "_waiting",
        "chunk_id",
        "doubtful",
        "end",
        "failure",
        "given",
        "landed",
        "reserved",
        "scope",
        "served",
        "start",
        "ticket",
        "turn",
        "unwanted",
    )

    def __init__(self, start: int, end: int, ticket: Ticket) -> None:
        self.start = start
        self.end = end
        self.landed = start
        self.served = start
        self.given = 0
        self.chunk_id: int | None = None
        self.ticket = ticket
        self.failure: RangefsError | None = None
        self.scope = trio.CancelScope()
        self.turn = trio.CancelScope()
        self.reserved = 0
        self.unwanted = False
        self.doubtful = False
        self._buffer = memoryview(b"")
        self._waiting: list[tuple[int, trio.Event]] = []

    def __repr__(self) -> str:
        state = f"failed: {self.failure}" if self.failure else f"{len(self._waiting)} waiting"
        return f"<Flight [{self.start}, {self.end}) landed {self.landed}, {state}>"

    @property
    def done(self) -> bool:
        return self.landed >= self.end or self.failure is not None

    @property
    def wanted(self) -> bool:
        """Does somebody wait for it?"""
        return bool(self._waiting)

    def trim(self, end: int) -> None:
        """The version ends before the flight does."""
        self.end = max(self.start, min(self.end, end))
        self._wake()

    def board(self, buffer: memoryview) -> None:
        """Where its bytes shall land: at least ``end - start`` of them fit."""
        self._buffer = buffer

    @property
    def room(self) -> memoryview:
        """Where the next bytes go; empty where all have landed."""
        return self._buffer[self.landed - self.start : self.end - self.start]

    def land(self, count: int) -> None:
        """Validated bytes have arrived: the first `count` of `room`."""
        self.landed += count
        self._wake()

    def fail(self, failure: RangefsError) -> None:
        """It ends here. What has landed can still be viewed."""
        self.failure = failure
        self._wake()

    def abandon(self) -> None:
        """Stop it, unless somebody waits for it."""
        if not self.wanted and not self.done:
            self.unwanted = True
            self.scope.cancel()

    def doubt(self) -> None:
        """Stop it, whoever waits: they look again."""
        self.doubtful = self.unwanted = True
        self.scope.cancel()

    def view(self, start: int, end: int) -> memoryview:
        """Landed bytes, without a copy."""
        assert self.start <= start <= end <= self.landed
        return self._buffer[start - self.start : end - self.start]

    async def wait(self, offset: int) -> None:
        """Until all bytes before `offset` have landed, or the flight is over (look at `failure`).

        Cancelled: the flight goes on for others.
        """
        if self.landed >= min(offset, self.end) or self.failure is not None:
            return
        place = (offset, trio.Event())
        self._waiting.append(place)
        try:
            await place[1].wait()
        finally:
            if place in self._waiting:
                self._waiting.remove(place)

    def _wake(self) -> None:
        over = self.done
        ready = [place for place in self._waiting if over or place[0] <= self.landed]
        for place in ready:
            self._waiting.remove(place)
            place[1].set()
