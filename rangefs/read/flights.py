"""Flights under way: launching, receiving, keeping, giving up.

Each flight is one task. Its life: wait for memory (a reader's flight) or have
it already (prefetch) → fetch, resuming after what has landed when the body is
cut off → hand the bytes to the store → the index points to the chunk, and what
nobody has read yet is held beside it. See the
package's docstring for the states and invariants.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
from collections import OrderedDict
from collections.abc import Callable

import trio

from rangefs.core.figures import Figures
from rangefs.core.outlet import Outlet
from rangefs.core.pace import Pace
from rangefs.core.versions import Level, Version
from rangefs.errors import Broken, DeadlineExceeded, RangefsError, RangesIgnored, Stale, Unreachable
from rangefs.read.blob import Blob
from rangefs.read.budget import Budget, Need
from rangefs.read.buffers import Buffers, populate
from rangefs.read.flight import Abandoned, Flight
from rangefs.sources.base import Source, Ticket
from rangefs.store.adding import SMALL_BYTES
from rangefs.store.store import Store

log = logging.getLogger(__name__)

# Bodies cut off one after another before a byte has landed: then the origin counts as unreachable. The source has
# its own tries for everything before the body.
EMPTY_BODIES = 6
# Large writes to the cache under way at once: of the 37 ms that one takes beside a busy reader, 13 are the disk's, the
# rest is the way to threads and back. (The store batches small ones.)
WRITERS = 6
# Less than this is written by way of the page cache: a direct write costs a wait for the disk.
DIRECT_MIN = 256 << 10
# And what is larger where that is faster, while more than this part of the budget waits for a disk that can't keep up.
BACKLOG = 4
# A flight given up early keeps what landed if it is worth a file.
WORTH_KEEPING = 64 << 10
# Stored bytes that no reader has come for in this time make room for what is fetched ahead for others.
HELD_S = 2.0
# Idle buffers that are kept when nothing is under way, as a part of the budget.
IDLE_BUFFERS = 4


class Flights:
    """All flights of one mount.

    max_full_bytes  loose files are fetched in one body up to this size
    loose           what counts as loose: no validator at all (NONE), or also weak ones (``--weak spool``)
    on_stale  called when an answer has shown that a blob's version is not current any more
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        nursery: trio.Nursery,
        figures: Figures,
        memory_bytes: int,
        timeout_s: float,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.source = source
        self.store = store
        self.budget = Budget(memory_bytes, figures.memory, self._reclaim)
        self.buffers = Buffers(
            memory_bytes, memory_bytes // IDLE_BUFFERS, lambda slab: nursery.start_soon(self._populate, slab)
        )
        self.timeout_s = timeout_s
        self.landed_at = clock()  #: when a byte has last arrived
        self.pace = Pace()
        self._landed_bytes = 0
        self._outlet = Outlet()
        self.max_full_bytes = 0
        self.loose = Level.NONE
        self.clock = clock
        self.on_stale: Callable[[Blob], None] = _nobody
        self._nursery = nursery
        self._writers = trio.Semaphore(WRITERS)
        self._toucher = trio.CapacityLimiter(1)
        # Landed, oldest first: those that wait for a writer; the memory tier, which the store did not take; and those
        # that are stored, held for readers who have not come to them yet.
        self._queued: OrderedDict[Flight, Blob] = OrderedDict()
        self._kept: OrderedDict[Flight, Blob] = OrderedDict()
        self._held: OrderedDict[Flight, tuple[Blob, float]] = OrderedDict()

    # -- launching -----------------------------------------------------------

    def launch(self, blob: Blob, start: int, end: int, *, urgent: bool) -> Flight | None:
        """Start fetching ``[start, end)``, and fill the index's gaps there with the flight.

        Returns None for a flight ahead that memory does not allow.
        """
        flight = Flight(start, end, Ticket(urgent))
        if not urgent:
            if not self.budget.try_reserve(end - start):
                return None
            flight.reserved = end - start
        blob.index.fill(start, end, flight)
        blob.flights.add(flight)
        self._nursery.start_soon(self._fly, blob, flight)
        return flight

    def abandon(self, blob: Blob) -> None:
        """Nobody has the file open: stop what nobody waits for, and let go of what only memory has."""
        for flight in blob.flights:
            flight.abandon()
        self._let_go(blob, self._kept)
        for flight in list(blob.held.values()):
            self.unhold(flight)

    def doubt(self, blob: Blob) -> None:
        """What is in memory has landed so shortly before a change that it may belong to it: nobody gets it."""
        held = {segment.value for segment in blob.index if isinstance(segment.value, Flight)} | blob.flights
        for flight in held:
            flight.doubt()
            blob.index.replace(flight.start, max(flight.end, flight.landed), flight, None)
        for flight in list(blob.held.values()):
            self.unhold(flight)
        for tier in (self._kept, self._queued):
            self._let_go(blob, tier)

    def _let_go(self, blob: Blob, tier: OrderedDict[Flight, Blob]) -> None:
        for flight in [flight for flight, owner in tier.items() if owner is blob]:
            self._drop(tier, flight)

    async def _populate(self, slab: mmap.mmap) -> None:
        """New memory costs most at its first touch: a thread's matter, while the body is on its way."""
        with contextlib.suppress(RuntimeError):  # no thread to be had: whoever receives touches it
            await trio.to_thread.run_sync(populate, slab, limiter=self._toucher)

    # -- a flight's life -----------------------------------------------------

    async def _fly(self, blob: Blob, flight: Flight) -> None:
        failure: RangefsError | None = None
        flight.scope.deadline = self.clock() + self.timeout_s
        with flight.scope:
            try:
                if not flight.reserved:
                    await self.budget.reserve(flight.end - flight.start)
                    flight.reserved = flight.end - flight.start
                flight.board(self.buffers.take(flight.reserved))
                await self._receive(blob, flight)
            except RangefsError as exc:
                failure = exc.again()
            except Exception:  # the boundary: in a task of the mount's nursery nothing may escape
                log.exception("a fetch failed: a bug in rangefs")
                failure = Broken("a bug in rangefs, the log has more")
        if flight.scope.cancelled_caught and flight.unwanted:
            failure = Abandoned("nobody waited for it")
        elif flight.scope.cancelled_caught:
            failure = DeadlineExceeded(f"{self.source.url(blob.key)}: no answer within {self.timeout_s:g} s")
        if failure is not None:
            self._give_up(blob, flight, failure)
        try:
            await self.keep(blob, flight)
        finally:
            blob.flights.discard(flight)
            if blob.quiet:
                blob.on_quiet()

    async def _receive(self, blob: Blob, flight: Flight) -> None:
        """Fetch until all has landed, resuming after a body that was cut off."""
        empty = 0
        while flight.landed < flight.end:
            before, asked_at, others = flight.landed, self.clock(), self._landed_bytes
            async with self.source.fetch(blob.key, before, flight.end, blob.version, flight.ticket) as body:
                head_at = self.clock()
                blob.pin(body.stat)
                size = body.stat.version.size
                if size is not None:
                    self._trim(blob, flight, size)
                    if self._is_loose(body.stat.version, size) and flight.end - flight.start < size:
                        raise RangesIgnored("nothing would show that two ranges are of one version")
                try:
                    while count := await body.readinto(flight.room):
                        flight.land(count)
                        self._landed_bytes += count
                        self.landed_at = self.clock()
                        flight.scope.deadline = self.landed_at + self.timeout_s
                    took = head_at - asked_at, self.landed_at - asked_at
                    self.pace.landed(flight.landed - before, *took, self._landed_bytes - others, self.landed_at)
                except Unreachable:
                    empty = 0 if flight.landed > before else empty + 1
                    if empty >= EMPTY_BODIES:
                        raise

    def _is_loose(self, version: Version, size: int) -> bool:
        """Does nothing but its size tell a version from the next? Then only one body is sure to be of one version."""
        return version.level <= self.loose and size <= self.max_full_bytes

    def _trim(self, blob: Blob, flight: Flight, size: int) -> None:
        if size < flight.end:
            blob.index.replace(size, flight.end, flight, None)
            flight.trim(size)

    def _give_up(self, blob: Blob, flight: Flight, failure: RangefsError) -> None:
        """Make what has not landed missing again; remember why, for those who ask again at once."""
        blob.index.replace(flight.landed, flight.end, flight, None)
        if isinstance(failure, RangesIgnored):
            blob.ranges = False
        elif flight.ticket.urgent and not flight.unwanted:
            blob.remember_failure(flight.landed, flight.end, failure, self.clock())
        flight.fail(failure)
        if isinstance(failure, Stale):
            blob.successor = failure.stat
            self.on_stale(blob)

    # -- keeping what landed ---------------------------------------------------

    async def keep(self, blob: Blob, flight: Flight) -> None:
        """Hand what landed to the store; then the index points there and the buffer is let go.

        Where the store does not take it, it stays in memory until the budget needs the room or the file is closed.
        Cancelled while it waits for its turn: the buffer is let go.
        """
        end, version = flight.landed, blob.version
        worth = end - flight.start >= (WORTH_KEEPING if flight.failure else 1) and not flight.doubtful
        if version is None or not worth or blob.superseded:
            self._forget(blob, flight)
            return
        self._queued[flight] = blob
        self.budget.press()
        try:
            with flight.turn:
                if end - flight.start <= SMALL_BYTES:
                    await self._store(blob, flight, version, end)
                else:
                    async with self._writers:
                        await self._store(blob, flight, version, end)
        except trio.Cancelled:
            if self._queued.pop(flight, None) is not None:
                self._forget(blob, flight)
            raise
        except Exception:  # the boundary, as in `_fly`: a cache failure is never a user's failure
            log.exception("a chunk could not be kept: a bug in rangefs")
            self._forget(blob, flight)

    async def _store(self, blob: Blob, flight: Flight, version: Version, end: int) -> None:
        """It is this flight's turn, unless memory has become so short that it was let go."""
        if self._queued.pop(flight, None) is not None:
            with trio.CancelScope(shield=True):  # half a write helps nobody: finish what has begun
                await self._add(blob, flight, version, end)

    @property
    def _lagging(self) -> bool:
        """Does so much wait for the disk that the page cache should take it?"""
        return sum(flight.reserved for flight in self._queued) > self.budget.limit_bytes // BACKLOG

    async def _add(self, blob: Blob, flight: Flight, version: Version, end: int) -> None:
        length, began = end - flight.start, self.clock()
        direct = length >= DIRECT_MIN and self._outlet.direct(self._lagging)
        chunk = await self.store.add(version, flight.start, flight.view(flight.start, end), direct)
        if length >= DIRECT_MIN:
            self._outlet.wrote(direct, length, self.clock() - began)
        if chunk is None and blob.closed:
            self._forget(blob, flight)
            return
        if chunk is None:
            self._kept[flight] = blob
            self.budget.press()
            return
        if blob.superseded or flight.doubtful:
            self._forget(blob, flight)
            await self.store.discard([chunk.id])
            return
        shadowed = self._adopt(blob, flight, chunk.id, end)
        blob.landed_chunk(chunk.id, self.clock())
        self._held[flight] = blob, self.clock()
        blob.held[chunk.id], flight.chunk_id = flight, chunk.id
        if blob.closed or flight.given >= end - flight.start:
            self.unhold(flight)
        self.budget.press()
        size = blob.size
        blob.complete = size is not None and flight.end == size and not self._incomplete(blob, size)
        if shadowed:
            await self.store.discard(shadowed)

    def _adopt(self, blob: Blob, flight: Flight, chunk_id: int, end: int) -> list[int]:
        """Point the index at the chunk, also where small older chunks lie inside it; say which are now unused.

        And where something is missing or on its way: a range that an origin without ranges is asked for, and will
        refuse once the download has gone by.
        """
        shadowed: list[int] = []
        for piece in blob.index.cover(flight.start, end):
            if not isinstance(piece.value, int):
                blob.index.assign(piece.start, piece.end, chunk_id)
            elif piece.value != chunk_id:
                whole = blob.index.find(piece.start)
                if whole and flight.start <= whole.start and whole.end <= end:
                    blob.index.assign(piece.start, piece.end, chunk_id)
                    if piece.value not in shadowed:  # a chunk may lie there in several pieces
                        shadowed.append(piece.value)
        return shadowed

    @staticmethod
    def _incomplete(blob: Blob, size: int) -> bool:
        return any(not isinstance(piece.value, int) for piece in blob.index.cover(0, size))

    def _drop(self, tier: OrderedDict[Flight, Blob], flight: Flight) -> None:
        """Landed bytes that are nowhere else; the task that waits for its turn to write them would hold them on."""
        blob = tier.pop(flight)
        flight.turn.cancel()
        self._forget(blob, flight)

    def _forget(self, blob: Blob, flight: Flight) -> None:
        """The index lets go of the buffer."""
        blob.index.replace(flight.start, max(flight.end, flight.landed), flight, None)
        self._release(flight)

    def unhold(self, flight: Flight) -> None:
        """A stored flight's bytes need not be in memory any more: all were read, or the chunk is gone, or no room."""
        held, chunk_id = self._held.pop(flight, None), flight.chunk_id
        if held is None or chunk_id is None:
            return
        blob, _ = held
        del blob.held[chunk_id]
        if flight.served < flight.landed:
            blob.unserved[chunk_id] = flight.served
        else:
            self.store.consumed(chunk_id)
        self._release(flight)

    def _release(self, flight: Flight) -> None:
        reserved, flight.reserved = flight.reserved, 0
        self.budget.release(reserved)
        self.buffers.take_back()

    def _reclaim(self, size_bytes: int, need: Need) -> None:
        """Memory is short: let go of what costs least, and no more than `need` is worth."""
        freed, now = 0, self.clock()
        while self._held and freed < size_bytes:
            flight, (_, since) = next(iter(self._held.items()))
            if need is Need.AHEAD and since > now - HELD_S:
                break
            freed += flight.reserved
            self.unhold(flight)
        for tier in (self._kept, self._queued) if need is Need.OVERDUE else (self._kept,):
            while tier and freed < size_bytes:
                flight = next(iter(tier))
                freed += flight.reserved
                self._drop(tier, flight)


def _nobody(blob: Blob) -> None:
    """Nobody wants to know."""
