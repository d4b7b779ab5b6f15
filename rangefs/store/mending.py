"""When a chunk can't be read: find out whose fault it is, and put it out of the way."""

from __future__ import annotations

import errno

import trio

from rangefs.core.ledger import ChunkRow
from rangefs.store import aside
from rangefs.store.health import in_words
from rangefs.store.layout import FAN_OUT_BITS
from rangefs.store.parts import Parts
from rangefs.store.room import Room
from rangefs.store.shelf import BadChunk

READ_TOLD_S = 10.0  #: how long one failed read counts as trouble


class Mending:
    """Sets bad chunks aside."""

    def __init__(self, parts: Parts, room: Room) -> None:
        self._parts = parts
        self._room = room

    async def unreadable(self, chunk: ChunkRow, error: BadChunk | OSError) -> None:
        """A read failed: the chunk leaves the books, unless the fault is not its own."""
        parts = self._parts
        if parts.ledger.chunk(chunk.chunk_id) is None:
            return  # evicted while it was read
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            # Not the chunk's fault: it stays, but the reader must fetch these bytes now.
            parts.shelf.halve()
            parts.health.note("read", in_words(error), parts.now(), READ_TOLD_S)
            version = parts.version_of(chunk.number)
            if version is not None:
                parts.on_drop(version, [chunk.chunk_id])
            return
        if isinstance(error, FileNotFoundError):
            parts.figures.dropped_chunks += 1
            await self._room.drop([chunk])
            return
        parts.figures.corrupt_chunks += 1
        if isinstance(error, OSError):
            parts.health.note("read", in_words(error), parts.now(), READ_TOLD_S)
        await self._set_aside(chunk)

    async def _set_aside(self, chunk: ChunkRow) -> None:
        parts = self._parts
        if self._room.aside_count >= aside.MAX_CHUNKS:
            await self._room.drop([chunk])
            return
        before = parts.manifest.sequence
        parts.clearing.append(before)
        parts.forget([chunk])
        parts.shelf.forget(chunk.chunk_id)
        source = parts.layout.chunk(chunk.chunk_id, chunk.ephemeral)
        target = parts.layout.aside / f"chunk-{chunk.chunk_id:x}"

        def move() -> int:
            try:
                parts.disk.rename(source, target)
                return aside.size_of(parts.disk, target)
            except OSError:
                return -1

        with trio.CancelScope(shield=True):
            await parts.manifest.flush()
            found = await parts.threads.run(move)
            if found >= 0:
                self._room.keep_aside(aside.AsideEntry(target, found))
            parts.space.freed(chunk.pages)
        parts.clearing.remove(before)
        parts.dirty_folders.add(chunk.chunk_id >> FAN_OUT_BITS)
        parts.show()
