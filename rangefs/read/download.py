"""The whole body, once, for all: origins that ignore ranges, or don't say how long a file is.

One plain GET feeds the index in segments, in order; readers wait for their
offset. Within ``--max-full-fetch`` it runs as fast as memory and disk take it;
beyond, it is only streamed: it stays a little ahead of the readers, and a
reader that jumps gets an error instead of a download of everything before.
"""

from __future__ import annotations

import logging

import trio

from rangefs.errors import BadAnswer, Broken, DeadlineExceeded, RangefsError, TooLarge, Unreachable
from rangefs.read.blob import Blob
from rangefs.read.flight import Abandoned, Flight
from rangefs.read.flights import Flights
from rangefs.sources.base import Ticket

log = logging.getLogger(__name__)

# One segment is one chunk on disk.
SEGMENT = 4 << 20
# A streamed (too large) body is kept this far ahead of its furthest reader.
STREAM_AHEAD = 16 << 20
# A download that nobody waits for any more is finished if no more than this is left of it.
FINISH = 32 << 20


class Download:
    """One plain GET of a blob, from the first byte.

    position  one past the last byte that has arrived
    over      it has ended: with all bytes, or with `failure`
    """

    def __init__(self, blob: Blob, flights: Flights, max_bytes: int) -> None:
        self.blob = blob
        self.position = 0
        self.over = False
        self.failure: RangefsError | None = None
        self._flights = flights
        self._max_bytes = max_bytes
        self._wanted = 0
        self._unwanted = False
        self._changed = trio.Event()
        self._flight: Flight | None = None
        self.scope = trio.CancelScope()

    @property
    def streams(self) -> bool:
        """Is the body too large to be kept?"""
        size = self.blob.size
        return (self.position if size is None else size) > self._max_bytes

    async def wait(self, offset: int) -> None:
        """Until the byte at `offset` has arrived, or the download is over. Raises its failure.

        Bytes that have gone by, and were not kept, come again only with another download: wait for this one's end.
        Raises `TooLarge` for a jump in a body that is only streamed. Cancelled: the download goes on for others.
        """
        gone_by = self.position > offset
        while (gone_by or self.position <= offset) and not self.over:
            if self.streams and (gone_by or offset > self.position + STREAM_AHEAD):
                raise TooLarge("the origin has no ranges, the file is larger than --max-full-fetch: read it in order")
            if offset > self._wanted:  # else two who wait would wake each other for ever
                self._wanted = offset
                self._notify()
            await self._changed.wait()
        if self.failure is not None and self.position <= offset and not isinstance(self.failure, Abandoned):
            raise self.failure.again()

    async def run(self) -> None:
        """Fetch. Ends when the body does, or with `failure` set; nothing but cancellation escapes."""
        await self._run()
        self.over = True
        if self.failure is not None and not isinstance(self.failure, Abandoned):
            self.blob.remember_failure(self.position, self.blob.size or 1 << 62, self.failure, self._flights.clock())
        self._notify()
        if self.blob.quiet:
            self.blob.on_quiet()

    async def _run(self) -> None:
        timeout_s = self._flights.timeout_s
        with self.scope:
            self.scope.deadline = self._flights.clock() + timeout_s
            try:
                await self._receive()
            except RangefsError as exc:
                self.failure = exc.again()
            except Exception:  # the boundary: in a task of the mount's nursery nothing may escape
                log.exception("a download failed: a bug in rangefs")
                self.failure = Broken("a bug in rangefs, the log has more")
        if self.scope.cancelled_caught and self._unwanted:
            self.failure = Abandoned("nobody waited for it")
        elif self.scope.cancelled_caught:
            self.failure = DeadlineExceeded(f"no byte within {timeout_s:g} s")
        if self._flight is not None:
            flight, self._flight = self._flight, None
            await self._finish(flight)

    def abandon(self) -> None:
        """Nobody has the file open: stop, unless it is nearly there, for it can't be resumed."""
        size = self.blob.size
        if not self.over and (size is None or self.streams or size - self.position > FINISH):
            self.stop()

    def stop(self) -> None:
        """Stop now; who waits looks again."""
        self._unwanted = True
        self.scope.cancel()

    async def _receive(self) -> None:
        source, blob = self._flights.source, self.blob
        async with source.fetch_whole(blob.key, blob.version, Ticket(urgent=True)) as body:
            blob.pin(body.stat)
            while count := await body.readinto(await self._room()):
                await self._land(count)
        if blob.size is None:
            blob.known_bytes = self.position
        elif self.position < blob.size:
            raise Unreachable(f"{source.url(blob.key)}: the body ended at {self.position} of {blob.size} bytes")

    async def _room(self) -> memoryview:
        """Where the next bytes go; one byte's room past the known end, where none should come."""
        if self.position == self.blob.size:
            return memoryview(bytearray(1))
        self.scope.deadline = float("inf")  # waiting for memory is not upstream's delay
        if self._flight is None:
            self._flight = await self._segment()
        self.scope.deadline = self._flights.clock() + self._flights.timeout_s
        return self._flight.room

    async def _land(self, count: int) -> None:
        if self._flight is None:
            raise BadAnswer("the body is longer than its headers said")
        self._flight.land(count)
        self.position = self._flight.landed
        self._notify()
        if self._flight.done:
            self.scope.deadline = float("inf")  # nor is waiting for the disk
            flight, self._flight = self._flight, None
            await self._finish(flight)
            self.scope.deadline = self._flights.clock() + self._flights.timeout_s

    async def _segment(self) -> Flight:
        """The next segment, its memory reserved and its place in the index taken; waits for readers when streaming."""
        while self.streams and self.position > self._wanted + STREAM_AHEAD:
            await self._changed.wait()
        size = self.blob.size
        end = self.position + SEGMENT if size is None else min(self.position + SEGMENT, size)
        flight = Flight(self.position, end, Ticket(urgent=True))
        await self._flights.budget.reserve(end - flight.start)
        flight.reserved = end - flight.start
        flight.board(self._flights.buffers.take(flight.reserved))
        self.blob.index.fill(flight.start, end, flight)
        return flight

    async def _finish(self, flight: Flight) -> None:
        """The segment is as long as it will get: hand it to the store."""
        self.blob.index.replace(flight.landed, flight.end, flight, None)
        flight.trim(flight.landed)
        await self._flights.keep(self.blob, flight)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
