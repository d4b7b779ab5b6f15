"""Keeping bytes: room, file, books, log, in this order. When it is done, SIGKILL can't take them."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from rangefs.core.chunkfile import MAX_LENGTH, ChunkName, data_offset_of
from rangefs.core.records import AddRecord
from rangefs.core.settings import Sync
from rangefs.core.versions import Version
from rangefs.store.compaction import Compaction
from rangefs.store.disk import pages
from rangefs.store.keeper import Keeper
from rangefs.store.layout import FAN_OUT_BITS
from rangefs.store.parts import Parts, StoredChunk
from rangefs.store.room import Room
from rangefs.store.shelf import OpenChunk, write_chunk

SMALL_BYTES = 64 << 10  #: chunks up to this size are written many at a time: the way to the thread is what costs
EXTRA_PAGES = 2  #: a new fan-out folder, and the log's growth


class Adding:
    """`Store.add`. Belongs to the event loop's thread."""

    def __init__(self, parts: Parts, room: Room, compaction: Compaction, keeper: Keeper) -> None:
        self._parts = parts
        self._room = room
        self._compaction = compaction
        self._keeper = keeper

    async def add(
        self, version: Version, start: int, data: Sequence[memoryview] | memoryview, direct: bool
    ) -> StoredChunk | None:
        """See `Store.add`."""
        parts = self._parts
        pieces = [data] if isinstance(data, memoryview) else list(data)
        length = sum(piece.nbytes for piece in pieces)
        if not 0 < length <= MAX_LENGTH or not self._keeper.accepts():
            return None
        offset = data_offset_of(parts.namespace_text, version, length)
        needed = pages(offset) + pages(length)
        # More for a new folder and the log; they are not part of the chunk, and are counted when they are there.
        if not await self._room.reserve(needed + EXTRA_PAGES):
            return None
        chunk = None
        with trio.CancelScope(shield=True):
            try:
                chunk = await self._write(version, start, length, pieces, needed, direct)
            except OSError as error:
                if await self._keeper.write_failed(error, needed):
                    chunk = await self._write_again(version, start, length, pieces, needed)
            finally:
                parts.space.release(EXTRA_PAGES if chunk is not None else needed + EXTRA_PAGES)
                parts.show()
            if chunk is not None and parts.settings.sync is Sync.ALWAYS:
                await self._keeper.commit()
        return chunk

    async def _write_again(
        self, version: Version, start: int, length: int, pieces: list[memoryview], needed: int
    ) -> StoredChunk | None:
        """The second try after the disk was full and something was evicted; a third would keep the reader waiting."""
        try:
            return await self._write(version, start, length, pieces, needed, False)
        except OSError as error:
            await self._keeper.write_failed(error, needed)
            return None

    async def _write(
        self, version: Version, start: int, length: int, pieces: list[memoryview], needed: int, direct: bool
    ) -> StoredChunk | None:
        """File, books, log. Raises `OSError` where the file can't be written."""
        parts = self._parts
        if not await self._keeper.ids_ready():
            return None
        chunk_id = parts.ledger.await_id()
        parts.writing.add(chunk_id)
        row = parts.ledger.row_of_version(parts.namespace, version)
        mtime_ns = None if row is None else parts.ledger.objects.mtime_ns(row)
        name = ChunkName(chunk_id, parts.namespace_text, version, mtime_ns, start, length)
        always = parts.settings.sync is Sync.ALWAYS
        in_thread = parts.threads.together if length <= SMALL_BYTES else parts.threads.run
        try:
            written = await in_thread(lambda: write_chunk(parts.disk, parts.layout, name, pieces, always, direct))
        except OSError:
            parts.gave_up(chunk_id)
            raise
        parts.space.settle(needed)
        parts.written_bytes += written.written_bytes
        parts.health.clear("write")
        return await self._enter(version, written.chunk, needed)

    async def _enter(self, version: Version, chunk: OpenChunk, needed: int) -> StoredChunk:
        """The file is in its place: put it into the books and the log."""
        parts = self._parts
        chunk_id = chunk.header.name.chunk_id
        row = parts.ledger.row_of_version(parts.namespace, version)
        if row is None:
            row = parts.new_object(version, None, 0.0)
        number = parts.ledger.objects.numbers[row]
        record = AddRecord(chunk_id, number, chunk.start, chunk.end - chunk.start, needed)
        parts.folders.add((chunk.ephemeral, chunk_id >> FAN_OUT_BITS))
        if chunk.ephemeral:
            parts.ledger.add_ephemeral(record)
        else:
            parts.ledger.apply(record)
            parts.manifest.append(record)
            parts.dirty.add(chunk_id)
            parts.dirty_folders.add(chunk_id >> FAN_OUT_BITS)
        parts.writing.discard(chunk_id)
        parts.shelf.put(chunk)
        self._compaction.admitted(number, record.length)
        if not chunk.ephemeral and not await parts.manifest.flush():
            self._keeper.log_failed()
        return StoredChunk(chunk.start, chunk.end, chunk_id)
