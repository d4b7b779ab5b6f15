"""The reader: runs the plan for one read.

`read_nowait` answers what is here already, without a task switch; `read` waits
for the rest. Both look the same way: position by position in the index, so
nothing found before an ``await`` is relied on after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import trio

from rangefs.core.figures import Figures
from rangefs.core.histogram import DurationHistogram
from rangefs.core.intervals import Segment
from rangefs.core.plan import requests
from rangefs.core.versions import Level, Version
from rangefs.errors import BadAnswer, DeadlineExceeded, RangefsError, RangesIgnored, Stale, Unreachable
from rangefs.read.blob import Blob
from rangefs.read.download import Download
from rangefs.read.flight import Abandoned, Flight
from rangefs.read.flights import Flights
from rangefs.store.parts import StoredChunk
from rangefs.store.store import Store

Bytes = bytes | bytearray | memoryview

# A download that ended and whose bytes were evicted before they were read is begun again this often for one read.
DOWNLOADS = 2
# A reader that goes on from one stored chunk to the next has so many opened at a time: each trip to a thread is 0.3 ms.
NEAR = 8
NEAR_BYTES = 32 << 20
# So many reads may wait while nothing at all arrives, a second long; then the next ones fail at once. Below what the
# kernel has slots for (fs.kernel.MAX_BACKGROUND): cached reads need some, however many are stuck.
MOST_WAITING = 320
SILENT_S = 1.0


class Reader:
    """Reads blobs: from the index what is there, by flights what is missing, ahead of the reader what will be.

    timeout_s       the longest one read may take
    max_full_bytes  the largest body that is fetched whole where the origin has no ranges
    spool_weak      fetch files with a weak validator whole as well
    """

    def __init__(
        self,
        flights: Flights,
        store: Store,
        nursery: trio.Nursery,
        figures: Figures,
        timeout_s: float,
        max_full_bytes: int,
        spool_weak: bool = False,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._flights = flights
        self._store = store
        self._nursery = nursery
        self._figures = figures
        self._timeout_s = timeout_s
        self._max_full_bytes = max_full_bytes
        self._clock = clock
        self._open: dict[Version, Blob] = {}
        self._waiting = 0
        self.latency = DurationHistogram()
        store.on_drop = self._dropped
        store.on_replace = self._replaced
        flights.on_stale = self.supersede
        flights.max_full_bytes = max_full_bytes
        flights.loose = Level.WEAK if spool_weak else Level.NONE

    # -- opening and closing ---------------------------------------------------

    async def load(self, blob: Blob) -> None:
        """Bring what the store has of a pinned blob into its index, once."""
        async with blob.loading:
            blob.closed = False
            if blob.loaded or blob.version is None:
                return
            # Bytes of a version that can't be trusted beyond its handles are this blob's own, or not at all: the
            # store may still have those of an epoch that has just ended.
            chunks = await self._store.chunks(blob.version) if blob.version.level.durable else ()
            doubted = [flight for flight in blob.flights if flight.doubtful]  # stored meanwhile, and not dropped yet
            for chunk in sorted(chunks, key=lambda chunk: chunk.id):
                if any(flight.start <= chunk.start and chunk.end <= flight.landed for flight in doubted):
                    continue
                for gap in blob.index.gaps(chunk.start, chunk.end):
                    blob.index.assign(gap.start, gap.end, chunk.id)
            blob.loaded = True
            self._open[blob.version] = blob
            size = blob.size
            blob.complete = size is not None and not blob.index.gaps(0, size)

    def close(self, blob: Blob) -> None:
        """Nobody has it open: stop fetching ahead."""
        blob.closed = True
        self._flights.abandon(blob)
        if blob.download is not None:
            blob.download.abandon()
        if blob.version is not None and self._open.get(blob.version) is blob:
            del self._open[blob.version]
        blob.loaded = False

    def supersede(self, blob: Blob) -> None:
        """The version is not current any more: nothing more of it can be fetched."""
        blob.superseded = True
        if blob.download is not None:
            blob.download.stop()
        self.doubt(blob)

    def doubt(self, blob: Blob) -> None:
        """The file seems to have changed: drop what landed so shortly before that it may be of the next version."""
        self._flights.doubt(blob)
        doubtful = blob.doubtful(self._clock())
        if doubtful:
            for segment in list(blob.index):
                if segment.value in doubtful:
                    blob.index.erase(segment.start, segment.end)
            blob.complete = False
            self._nursery.start_soon(self._store.discard, doubtful)

    # -- reading ---------------------------------------------------------------

    def head(self, blob: Blob, urgent: bool) -> Flight | None:
        """Start fetching the first bytes of a file that is, or will be, opened; its answer pins the version.

        None where there is nothing to ask for by range, or (if not urgent) no memory to spare.
        """
        if blob.size == 0 or not blob.ranges:
            return None
        under_way = blob.index.find(0)
        if under_way is not None and isinstance(under_way.value, Flight):
            return under_way.value
        size = blob.size if blob.size is not None else 1 << 62
        advice = blob.window.advise(0, 1, size, True, 0)
        return self._flights.launch(blob, 0, advice.end, urgent=urgent)

    def read_nowait(self, blob: Blob, start: int, end: int) -> Bytes | None:
        """Bytes ``[start, end)``, already clamped to the size, if they are all here in one piece; else None."""
        found = blob.index.find(start)
        if found is None or found.end < end or found.value is None:
            return None
        flight = blob.held.get(found.value) if isinstance(found.value, int) else found.value
        if flight is not None:
            if flight.landed < end:
                return None
            data = self._serve(flight, start, end, waited=False)
        else:
            assert isinstance(found.value, int)
            stored = self._store.read_nowait(found.value, start, end)
            if stored is None:
                return None
            data = stored
            self._count_hit(blob, found.value, start, end)
        if not blob.complete:
            self._advance(blob, start, end, found)
        return data

    async def read(self, blob: Blob, start: int, end: int) -> Bytes:
        """Bytes ``[start, end)``, already clamped to the size: all of them, or an error.

        Raises `DeadlineExceeded` after the read timeout, `Stale` where the version is gone, `Unreachable` at once
        where too many wait for a silent upstream already, or what the flight raised. Cancelled: flights under way go
        on for others.
        """
        error = blob.recent_failure(start, self._clock())
        if error is not None and blob.index.find(start) is None:
            raise error.again()
        if self._waiting >= MOST_WAITING and self._clock() - self._flights.landed_at > SILENT_S:
            raise Unreachable(f"{MOST_WAITING} readers wait already, and upstream is silent")
        self._waiting += 1
        try:
            with trio.move_on_after(self._timeout_s):
                if not blob.loaded:
                    await self.load(blob)
                return await self._collect(blob, start, end)
        finally:
            self._waiting -= 1
        raise DeadlineExceeded(f"{self._flights.source.url(blob.key)}: read took longer than {self._timeout_s:g} s")

    async def _collect(self, blob: Blob, start: int, end: int) -> Bytes:
        self._advance(blob, start, end)
        parts: list[Bytes] = []
        here, downloads = start, 0
        while here < (end if blob.size is None else min(end, blob.size)):
            found = blob.index.find(here)
            if found is None or found.value is None:
                if blob.superseded:
                    raise Stale("the file has changed", blob.successor)
                if blob.ranges and blob.size is not None:
                    self._advance(blob, here, end)
                else:
                    downloads += await self._download(blob, here)
                    if downloads > DOWNLOADS:
                        raise BadAnswer("the cache is too small for a file from an origin without ranges")
                continue
            until = min(found.end, end)
            if isinstance(found.value, int):
                data = await self._from_store(blob, found.value, here, until)
            else:
                data = await self._from_flight(found.value, here, until)
            if data is not None:
                here += len(data)
                if here < end:  # a view held while the rest is awaited would hold a whole buffer, and nobody counts it
                    data = bytes(data)
                parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _from_store(self, blob: Blob, chunk_id: int, start: int, end: int) -> Bytes | None:
        """From a chunk; None where it turned out to be gone or bad: the index knows by then, look again."""
        held = blob.held.get(chunk_id)
        if held is not None:
            return self._serve(held, start, end, waited=False)
        found = self._store.read_nowait(chunk_id, start, end)
        if found is None:
            await self._store.bring_near(self._from_here_on(blob, chunk_id, start))
            found = self._store.read_nowait(chunk_id, start, end)
        # What read_nowait gives is good until its next call: what is held across an await is a copy.
        data: Bytes | None = bytes(found) if found is not None else await self._store.read(chunk_id, start, end)
        if data is None:
            blob.index.replace(0, max(end, blob.size or 0), chunk_id, None)
            blob.complete = False
            return None
        self._count_hit(blob, chunk_id, start, end)
        return data

    def _from_here_on(self, blob: Blob, chunk_id: int, start: int) -> list[int]:
        """This chunk, and those that its reader comes to next, if it has come here by reading on."""
        before = blob.index.find(start - 1) if start else None
        if before is None or not isinstance(before.value, int) or not self._store.was_read_out(before.value):
            return [chunk_id]
        ahead = (piece.value for piece in blob.index.cover(start, start + NEAR_BYTES))
        return list(dict.fromkeys(chunk for chunk in ahead if isinstance(chunk, int)))[:NEAR]

    def _count_hit(self, blob: Blob, chunk_id: int, start: int, end: int) -> None:
        """From the cache; missed where the chunk was fetched ahead and this is the first use."""
        fresh = blob.first_use(chunk_id, start, end) if blob.unserved else 0
        self._figures.reads.missed_bytes += fresh
        self._figures.reads.hit_bytes += end - start - fresh

    async def _from_flight(self, flight: Flight, start: int, end: int) -> Bytes | None:
        """From a flight, as soon as these bytes have landed; None where it was stopped meanwhile: look again."""
        waited = flight.landed < end
        flight.ticket.urgent = True
        await flight.wait(end)
        until = min(end, flight.landed)
        if flight.doubtful:
            return None
        if until > start:
            return self._serve(flight, start, until, waited)
        if flight.failure is not None and not isinstance(flight.failure, Abandoned | RangesIgnored):
            raise flight.failure.again()
        return None

    def _serve(self, flight: Flight, start: int, end: int, waited: bool) -> memoryview:
        """Landed bytes of a flight: missed where it is their first use, whoever launched it; then joined, or hit."""
        reads = self._figures.reads
        fresh = min(end - start, max(0, end - flight.served))
        flight.served = max(flight.served, end)
        flight.given += end - start
        reads.missed_bytes += fresh
        if waited:
            reads.joined_bytes += end - start - fresh
        else:
            reads.hit_bytes += end - start - fresh
        if flight.chunk_id is not None and flight.given >= flight.landed - flight.start:
            self._flights.unhold(flight)
        return flight.view(start, end)

    # -- fetching ----------------------------------------------------------------

    def _advance(self, blob: Blob, start: int, end: int, found: Segment[int | Flight] | None = None) -> None:
        """Launch what is missing of ``[start, end)``, and the window ahead.

        found  where all of it is, if it is here already; None if its reader has to wait
        """
        size = blob.size
        if size is None or not blob.ranges or blob.superseded:
            return
        room = int(min(self._flights.budget.ahead_bytes, self._store.ahead_bytes, self._flights.pace.reach_bytes))
        advice = blob.window.advise(start, end, size, found is None, room)
        if found is None or advice.start < found.start or advice.end > found.end:
            for span in requests(blob.index, advice.start, advice.end):
                self._flights.launch(blob, span.start, span.end, urgent=True)
        if advice.since < advice.ahead:
            blob.window.asked(self._ahead(blob, advice.since, advice.ahead, advice.piece, size))

    def _ahead(self, blob: Blob, here: int, until: int, piece: int, size: int) -> int:
        """Fetch ``[here, until)`` in the background, in whole pieces, as far as memory allows. Returns how far."""
        while here < until:
            found = blob.index.find(here)
            if found is not None:
                here = found.end
                continue
            end = min(here + piece, size)
            if end > until and end != size:
                break
            span = requests(blob.index, here, end)[0]
            if self._flights.launch(blob, span.start, span.end, urgent=False) is None:
                break
            here = span.end
        return here

    async def _download(self, blob: Blob, offset: int) -> int:
        """Wait until a download has brought `offset`, beginning one if need be: 1 if so."""
        begun = 0
        if blob.download is None or blob.download.over:
            blob.download = Download(blob, self._flights, self._max_full_bytes)
            self._nursery.start_soon(blob.download.run)
            begun = 1
        await blob.download.wait(offset)
        return begun

    # -- what the store tells ------------------------------------------------------

    def _dropped(self, version: Version, chunk_ids: Sequence[int]) -> None:
        """Chunks have left the store: what they held is missing now."""
        self._exchange(version, chunk_ids, None)

    def _replaced(self, version: Version, chunk_ids: Sequence[int], new: StoredChunk) -> None:
        """One chunk has taken the place of several: they are there again, in one."""
        self._exchange(version, chunk_ids, new.id)

    def _exchange(self, version: Version, chunk_ids: Sequence[int], new: int | None) -> None:
        blob = self._open.get(version)
        if blob is None:
            return
        gone = set(chunk_ids)
        for flight in [blob.held[chunk_id] for chunk_id in gone & blob.held.keys()]:
            self._flights.unhold(flight)
        blob.complete = blob.complete and new is not None
        for segment in [segment for segment in blob.index if segment.value in gone]:
            if new is None:
                blob.index.erase(segment.start, segment.end)
            else:
                blob.index.assign(segment.start, segment.end, new)

    def timed(self, began: float, error: RangefsError | None, size_bytes: int) -> None:
        """One read of the kernel's is answered."""
        reads = self._figures.reads
        reads.count += 1
        reads.bytes += size_bytes
        reads.errors += error is not None
        self.latency.record(time.perf_counter() - began)
