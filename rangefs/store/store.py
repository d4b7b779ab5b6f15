"""The cache on disk, as the reader sees it: find, add, read.

All state belongs to the event loop's thread; worker threads only do system
calls and hashing. No method raises for disk trouble: the cache then keeps
nothing, or has nothing, and `reasons` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from rangefs.core.chunkfile import ChunkName
from rangefs.core.columns import CONSUMED, PASSING, VISITED
from rangefs.core.ledger import ChunkRow
from rangefs.core.records import (
    PinRecord,
    TouchRecord,
    ValidatedRecord,
)
from rangefs.core.settings import CacheSettings
from rangefs.core.versions import Stat, Version
from rangefs.store import starting
from rangefs.store.adding import Adding
from rangefs.store.compaction import Compaction
from rangefs.store.disk import PAGE, Disk
from rangefs.store.keeper import Keeper
from rangefs.store.listings import Listings
from rangefs.store.mending import Mending
from rangefs.store.parts import Parts, StoredChunk
from rangefs.store.room import Room
from rangefs.store.shelf import BadChunk, OpenChunk, open_chunk, read_chunk, read_chunk_nowait

if TYPE_CHECKING:
    from rangefs.core.figures import CacheFigures

__all__ = ["Store", "StoredChunk", "StoredObject"]

NOTE_AGAIN_S = 1.0  #: a validation is not written down anew if the last one is that young


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the cache knows of a key: its newest version, when upstream last confirmed it, and its bytes."""

    version: Version
    mtime_ns: int | None
    validated_at_s: float
    chunks: tuple[StoredChunk, ...]


class Store:
    """One cache folder, open. Make it with `open`, run `run` beside it, end with `close`."""

    def __init__(self, parts: Parts, found: starting.Found) -> None:
        self._parts = parts
        self._room = Room(parts, found.aside)
        self._mending = Mending(parts, self._room)
        self._listings = Listings(parts, self._room, found.listings)
        self._compaction = Compaction(parts, self._room, self._mending)
        self._keeper = Keeper(parts, self._room, self._compaction, self._listings)
        self._adding = Adding(parts, self._room, self._compaction, self._keeper)

    @classmethod
    async def open(
        cls, settings: CacheSettings, namespace: str, figures: CacheFigures, disk: Disk | None = None
    ) -> Store:
        """Lock the folder and recover what is in it.

        namespace  the source's identity; what others stored in the same folder is kept, and not seen

        Raises `errors.CacheLocked` where another process has the folder, and nothing else: a bad cache starts cold.
        """
        store = cls(*await starting.start(settings, namespace, figures, disk or Disk()))
        await store._keeper.begin()
        return store

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the cache is degraded, in plain words; empty when it is well."""
        return self._parts.health.reasons

    @property
    def ahead_bytes(self) -> int:
        """How far ahead of its readers it is worth fetching, all files together: an eighth of the cap.

        What is fetched further ahead pushes out what was fetched just before, unread, and both are fetched again.
        """
        return self._parts.space.limit_pages * PAGE // 8

    @property
    def on_drop(self) -> Callable[[Version, Sequence[int]], None]:
        """Called on the event loop's thread when chunks have left: evicted, bad, discarded."""
        return self._parts.on_drop

    @on_drop.setter
    def on_drop(self, call: Callable[[Version, Sequence[int]], None]) -> None:
        self._parts.on_drop = call

    @property
    def on_replace(self) -> Callable[[Version, Sequence[int], StoredChunk], None]:
        """Called likewise when compaction has put one chunk in the place of several."""
        return self._parts.on_replace

    @on_replace.setter
    def on_replace(self, call: Callable[[Version, Sequence[int], StoredChunk], None]) -> None:
        self._parts.on_replace = call

    async def run(self) -> None:
        """Commit each second, checkpoint, watch the disk, compact, recover from trouble; until cancelled."""
        await self._keeper.run()

    async def close(self) -> None:
        """The last commit, then the lock is free. What was added is there at the next `open`."""
        with trio.CancelScope(shield=True):
            await self._keeper.close()

    # -- objects -----------------------------------------------------------

    async def find(self, key: bytes) -> StoredObject | None:
        """The newest version known of `key`, with its chunks in order of start."""
        ledger = self._parts.ledger
        objects = ledger.objects
        rows = [
            row
            for row in ledger.rows_of_key(self._parts.namespace, key)
            if not objects.flags[row] & PASSING or objects.numbers[row] in self._parts.open_counts
        ]
        if not rows:
            return None
        newest = max(rows, key=lambda row: (objects.validated[row], objects.numbers[row]))
        return StoredObject(
            objects.version(newest), objects.mtime_ns(newest), objects.validated[newest], self._stored(newest)
        )

    async def chunks(self, version: Version) -> tuple[StoredChunk, ...]:
        """The chunks of exactly this version, in order of start."""
        row = self._parts.ledger.row_of_version(self._parts.namespace, version)
        return () if row is None else self._stored(row)

    async def note(self, stat: Stat, validated_at_s: float) -> None:
        """Upstream says that this version is current for its key (`validated_at_s`: epoch seconds).

        Chunks of the key's other versions go, those of open ones when they are closed.
        """
        parts = self._parts
        ledger = parts.ledger
        row = ledger.row_of_version(parts.namespace, stat.version)
        if row is None:
            row = self._parts.new_object(stat.version, stat.mtime_ns, validated_at_s)
        elif validated_at_s > ledger.objects.validated[row] + NOTE_AGAIN_S:
            record = ValidatedRecord(ledger.objects.numbers[row], validated_at_s)
            ledger.apply(record)
            if not ledger.objects.flags[row] & PASSING:
                parts.manifest.append(record)
        others = [other for other in ledger.rows_of_key(parts.namespace, stat.version.key) if other != row]
        await self._room.drop([chunk for other in others for chunk in self._unused_chunks(other)])

    def opened(self, version: Version) -> None:
        """A handle was opened. Chunks that were there already count as used: they are asked for a second time."""
        parts = self._parts
        row = parts.ledger.row_of_version(parts.namespace, version)
        if row is None:
            row = self._parts.new_object(version, None, 0.0)
        number = parts.ledger.objects.numbers[row]
        parts.open_counts[number] = parts.open_counts.get(number, 0) + 1
        for chunk in parts.ledger.chunks_of(row):
            self._visited(chunk.chunk_id)

    def closed(self, version: Version) -> None:
        """A handle was closed. With the last one, chunks of a superseded or ephemeral version go."""
        parts = self._parts
        row = parts.ledger.row_of_version(parts.namespace, version)
        number = parts.ledger.objects.numbers[row] if row is not None else None
        if row is None or number not in parts.open_counts:
            return
        assert number is not None
        parts.open_counts[number] -= 1
        if parts.open_counts[number]:
            return
        del parts.open_counts[number]
        if parts.ledger.objects.flags[row] & PASSING or self._is_superseded(row):
            self._keeper.drop_soon(chunk.chunk_id for chunk in parts.ledger.chunks_of(row))

    async def pin(self, version: Version) -> None:
        """Exempt the version's chunks, also those to come, from eviction. Nothing for ephemeral versions."""
        self._pin(version, True)
        await self._parts.manifest.flush()

    async def unpin(self, version: Version) -> None:
        self._pin(version, False)
        await self._parts.manifest.flush()

    # -- bytes -------------------------------------------------------------

    async def add(
        self, version: Version, start: int, data: Sequence[memoryview] | memoryview, direct: bool = False
    ) -> StoredChunk | None:
        """Keep bytes of `version` from `start` on (the pieces of `data` in a row).

        direct  past the page cache, if that can be: it takes the disk's time, and no memory

        When this returns a chunk, it can be read, and SIGKILL can't take it. None: not kept (too large, all
        pinned, or the disk fails). Never raises for the disk. Cancelled half-way it may have kept the bytes, or not.
        """
        return await self._adding.add(version, start, data, direct)

    def read_nowait(self, chunk_id: int, start: int, end: int) -> memoryview | None:
        """Verified bytes ``[start, end)`` of the object, inside the chunk, if they are in memory. Never blocks.

        They are good until the next call: answer with them at once, or copy them.

        None: `read` them. That says nothing about the chunk.
        """
        chunk = self._parts.shelf.get(chunk_id)
        if chunk is None or not chunk.start <= start < end <= chunk.end:
            return None
        found = read_chunk_nowait(self._parts.disk, chunk, start, end, self._parts.shelf.scratch)
        if found is not None:
            self._used(chunk, start, end)
        return found

    async def read(self, chunk_id: int, start: int, end: int) -> memoryview | None:
        """As `read_nowait`, from the disk, in a worker thread.

        None: the chunk is gone, or it was bad and has been set aside; `on_drop` was called, fetch it again.
        """
        parts = self._parts
        chunk_id = self._compaction.forward(chunk_id)
        row = parts.ledger.chunk(chunk_id)
        if row is None or not row.start <= start < end <= row.start + row.length:
            return None
        try:
            chunk = parts.shelf.get(chunk_id) or await self._open(row)
            if chunk is None:
                return None
            parts.shelf.acquire(chunk)
            try:
                found = await parts.threads.run(lambda: read_chunk(parts.disk, chunk, start, end), for_reader=True)
            finally:
                parts.shelf.release(chunk)
        except (BadChunk, OSError) as error:
            await self._mending.unreadable(row, error)
            return None
        self._used(chunk, start, end)
        return found

    def was_read_out(self, chunk_id: int) -> bool:
        """Was the chunk's end read lately? Then who reads at the next one's start may be reading on."""
        chunk = self._parts.shelf.get(chunk_id)
        return chunk is not None and chunk.read_out

    async def bring_near(self, chunk_ids: Sequence[int]) -> None:
        """Open these chunks in one trip to a worker thread. Those that can't be are left for `read` to find out.

        Where they are several, they will be read one after the other: what memory lacks of them is read ahead.
        """
        parts = self._parts
        rows = [row for id in chunk_ids if parts.shelf.get(id) is None and (row := parts.ledger.chunk(id)) is not None]
        names = [self._name(row) for row in rows]

        def open_all() -> list[OpenChunk]:
            opened = []
            for name in names:
                with suppress(BadChunk, OSError):
                    opened.append(open_chunk(parts.disk, parts.layout, name))
                    if len(names) > 1:
                        parts.disk.will_need(opened[-1].fd)
            return opened

        for chunk in await parts.threads.run(open_all, for_reader=True) if names else ():
            self._put(chunk)

    async def _open(self, row: ChunkRow) -> OpenChunk | None:
        """A descriptor for the chunk; None if it left meanwhile. Raises `BadChunk`, `OSError`."""
        parts, name = self._parts, self._name(row)
        return self._put(await parts.threads.run(lambda: open_chunk(parts.disk, parts.layout, name), for_reader=True))

    def _name(self, row: ChunkRow) -> ChunkName:
        objects = self._parts.ledger.objects
        object_row = objects.row_of(row.number)
        assert object_row is not None
        version = objects.version(object_row)
        return ChunkName(row.chunk_id, self._parts.namespace_text, version, None, row.start, row.length)

    def _put(self, opened: OpenChunk) -> OpenChunk | None:
        """Onto the shelf, unless the chunk left while it was being opened."""
        if self._parts.ledger.chunk(opened.header.name.chunk_id) is None:
            self._parts.disk.close(opened.fd)
            return None
        return self._parts.shelf.put(opened)

    def consumed(self, chunk_id: int) -> None:
        """All of it was read, from memory: reading it once more is a second use."""
        self._flag(chunk_id, CONSUMED)

    async def discard(self, chunk_ids: Iterable[int]) -> None:
        """Drop these chunks: their version turned out to be superseded."""
        ledger = self._parts.ledger
        await self._room.drop([chunk for chunk_id in chunk_ids if (chunk := ledger.chunk(chunk_id)) is not None])

    # -- listings ----------------------------------------------------------

    async def save_listing(self, key: bytes, payload: bytes, fetched_at_s: float) -> None:
        """Keep a folder's listing (the reader's bytes), fetched at that time (epoch seconds), if there is room."""
        await self._listings.save(key, payload, fetched_at_s)

    async def load_listing(self, key: bytes) -> tuple[bytes, float] | None:
        """The payload last kept for `key` and when it was fetched."""
        found = await self._listings.load(key)
        return None if found is None else (found.payload, found.fetched_at_s)

    # -- inside ------------------------------------------------------------

    def _stored(self, object_row: int) -> tuple[StoredChunk, ...]:
        found = [
            StoredChunk(chunk.start, chunk.start + chunk.length, chunk.chunk_id)
            for chunk in self._parts.ledger.chunks_of(object_row)
        ]
        return tuple(sorted(found, key=lambda chunk: (chunk.start, chunk.end)))

    def _unused_chunks(self, object_row: int) -> list[ChunkRow]:
        if self._parts.ledger.objects.numbers[object_row] in self._parts.open_counts:
            return []
        return list(self._parts.ledger.chunks_of(object_row))

    def _is_superseded(self, row: int) -> bool:
        ledger = self._parts.ledger
        objects = ledger.objects
        newest = (objects.validated[row], objects.numbers[row])
        others = ledger.rows_of_key(self._parts.namespace, objects.version(row).key)
        return any((objects.validated[other], objects.numbers[other]) > newest for other in others)

    def _pin(self, version: Version, pinned: bool) -> None:
        parts = self._parts
        if not version.level.durable:
            return
        row = parts.ledger.row_of_version(parts.namespace, version)
        if row is None:
            row = self._parts.new_object(version, None, 0.0)
        record = PinRecord(parts.ledger.objects.numbers[row], pinned)
        parts.ledger.apply(record)
        parts.manifest.append(record)
        parts.show()

    def _used(self, chunk: OpenChunk, start: int, end: int) -> None:
        """Reading on is no second use; reading what was read before is. (The kernel reads ahead out of order.)"""
        if chunk.read_before(start, end):
            self._visited(chunk.header.name.chunk_id)
        elif end == chunk.end:
            self._flag(chunk.header.name.chunk_id, CONSUMED)

    def _visited(self, chunk_id: int) -> None:
        if self._flag(chunk_id, VISITED):
            self._parts.manifest.append(TouchRecord(chunk_id))

    def _flag(self, chunk_id: int, flag: int) -> bool:
        """Set a live chunk's flag; False if it was set."""
        chunks = self._parts.ledger.chunks
        row = chunks.live_row_of(chunk_id)
        if row is None or chunks.flags[row] & flag:
            return False
        chunks.flags[row] |= flag
        return True
