"""What goes on beside the readers: group commits, checkpoints, the watch over the disk, coming back from trouble."""

from __future__ import annotations

import os
from collections.abc import Iterable

import trio

from rangefs.core.ledger import ChunkRow
from rangefs.core.records import IdsRecord, MarkRecord, TouchRecord
from rangefs.core.settings import Sync
from rangefs.store.disk import Disk
from rangefs.store.health import in_words
from rangefs.store.layout import FAN_OUT_BITS, Layout
from rangefs.store.manifest import sync_path
from rangefs.store.mending import Mending
from rangefs.store.parts import Parts
from rangefs.store.room import Room

COMMIT_S = 1.0  #: what a power loss may take, and the longest that a record waits
WATCH_S = 0.5  #: how often the disk's free space is looked at: --min-free is restored within 2 s
ROLL_BYTES = 4 << 20
"""A log of this size is retired: 70,000 adds, which a start replays in a quarter of a second."""
IDS_AHEAD = 1024
"""Chunk ids logged ahead of use, at a time: each start lists the 8 to 16 folders that hold so many."""
SYNC_EACH = 32  #: up to so many new chunks are synced one by one; beyond, the whole file system at once


class Keeper:
    """The store's housekeeping. `run` beside the readers; the other methods are the store's."""

    def __init__(self, parts: Parts, room: Room, mending: Mending, lock_fd: int) -> None:
        self._parts = parts
        self._room = room
        self._mending = mending
        self._lock_fd = lock_fd
        self._committing = trio.Lock()
        self._extending = trio.Lock()
        self._to_drop: list[int] = []

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._commit_now_and_then)
            nursery.start_soon(self._watch)

    async def _commit_now_and_then(self) -> None:
        while True:
            await self._drop_waiting()
            await self.commit()
            if self._log_is_long():
                await self.checkpoint()
            await trio.sleep(COMMIT_S)

    async def _watch(self) -> None:
        while True:
            await self._room.look_at_disk()
            await self._room.shrink()
            await self._mend_log()
            await trio.sleep(WATCH_S)

    async def begin(self) -> None:
        """Write the first generation where recovery left none to go on with."""
        await self._mend_log(force=True)
        await self._parts.manifest.flush()

    # -- asked by the store ------------------------------------------------

    def accepts(self) -> bool:
        """Is the disk well enough for an add, or is it time to try one?"""
        parts = self._parts
        if self._lock_fd < 0 or parts.manifest.broken is not None:
            return self._lock_fd >= 0 and parts.health.may_try("log", trio.current_time())
        return parts.health.may_try("write", trio.current_time())

    async def ids_ready(self) -> bool:
        """Are there ids that a crash would not forget? Writes some ahead where there are none."""
        parts = self._parts
        if parts.ledger.next_id < parts.ledger.ahead and parts.manifest.broken is None:
            return True
        async with self._extending:
            await self._mend_log(force=True)
            if parts.manifest.broken is not None:
                return False
            while parts.ledger.next_id >= parts.ledger.ahead:
                record = IdsRecord(self._settled(), parts.ledger.next_id + IDS_AHEAD)
                parts.manifest.append(record)
                if not await parts.manifest.flush():
                    return False
                if parts.settings.sync is not Sync.NONE and await parts.manifest.sync() is None:
                    return False
                parts.ledger.apply(record)
        return True

    async def write_failed(self, error: OSError) -> None:
        self._parts.health.fail("write", in_words(error), trio.current_time())

    def log_failed(self) -> None:
        error = self._parts.manifest.broken
        if error is not None:
            self._parts.health.fail("log", in_words(error), trio.current_time())

    def touched(self, record: TouchRecord) -> None:
        """A chunk was used again: worth a record with the next commit."""
        self._parts.manifest.append(record)

    def drop_soon(self, chunk_ids: Iterable[int]) -> None:
        """Drop chunks at the next commit, at the latest: for callers that can't wait."""
        self._to_drop += chunk_ids

    # -- commit and checkpoint ---------------------------------------------

    def _settled(self) -> int:
        return min(self._parts.writing, default=self._parts.ledger.next_id)

    async def commit(self) -> None:
        """Put what was added on the disk, then say so in the log. Cancellation leaves it for the next one."""
        parts = self._parts
        async with self._committing:
            self._parts.manifest.append(*self._news())
            if not await parts.manifest.flush():
                self.log_failed()
                return
            if parts.settings.sync is Sync.NONE:
                parts.dirty.clear()
                parts.dirty_folders.clear()
                parts.ledger.apply(self._told)
                return
            if not parts.dirty and not parts.dirty_folders and self._synced == parts.manifest.sequence:
                return
            with trio.CancelScope(shield=True):
                await self._sync_all()

    _synced = 0
    _told = IdsRecord(0, 0)

    def _news(self) -> list[IdsRecord]:
        """The ids' state, where it has changed since it was last written."""
        settled = self._settled()
        if settled == self._told.settled:
            return []
        self._told = IdsRecord(settled, max(self._parts.ledger.ahead, self._parts.ledger.next_id + IDS_AHEAD))
        return [self._told]

    async def _sync_all(self) -> None:
        parts = self._parts
        sequence = parts.manifest.sequence
        cleared = min(parts.clearing, default=sequence)
        chunk_ids, folders = sorted(parts.dirty), sorted(parts.dirty_folders)
        told = self._told
        parts.dirty.clear()
        parts.dirty_folders.clear()
        try:
            lost = await parts.threads.run(lambda: sync_chunks(parts.disk, parts.layout, chunk_ids, folders))
        except OSError as error:
            parts.dirty.update(chunk_id for chunk_id in chunk_ids if parts.ledger.chunk(chunk_id) is not None)
            parts.dirty_folders.update(folders)
            parts.health.fail("sync", in_words(error), trio.current_time())
            return
        if lost:
            parts.health.fail("sync", "the cache disk could not write some chunks", trio.current_time())
            await self._room.drop([chunk for chunk_id in lost if (chunk := parts.ledger.chunk(chunk_id))])
        if await parts.manifest.sync() is None:
            self.log_failed()
            return
        parts.ledger.apply(told)
        if not lost:
            parts.health.clear("sync")
        parts.manifest.append(MarkRecord(sequence, cleared))
        await parts.manifest.flush()
        self._synced = parts.manifest.sequence

    def _log_is_long(self) -> bool:
        limit = min(ROLL_BYTES, max(64 << 10, self._parts.settings.size_bytes // 32))
        return self._parts.manifest.log_bytes > limit

    async def checkpoint(self) -> bool:
        """The next generation of the manifest. False: the disk would not; the old one goes on, if it can."""
        parts = self._parts
        ledger = parts.ledger
        rough = 64 * len(ledger.chunks) + len(ledger.objects.names) + 96 * len(ledger.objects) + (16 << 10)
        needed = -(-rough // 4096)
        if not await self._room.reserve(needed):
            return False
        with trio.CancelScope(shield=True):
            done = await parts.manifest.checkpoint(ledger, self._worth_keeping())
            parts.space.release(needed)
        parts.show()
        return done

    def _worth_keeping(self) -> bytes:
        """Which objects stay: those with chunks or open or pinned."""
        objects = self._parts.ledger.objects
        return bytes([1]) * len(objects)

    # -- trouble -----------------------------------------------------------

    async def _mend_log(self, force: bool = False) -> None:
        parts = self._parts
        if parts.manifest.broken is None or self._lock_fd < 0:
            return
        if not force and not parts.health.may_try("log", trio.current_time()):
            return
        if await self.checkpoint():
            parts.health.clear("log")
            self._told = IdsRecord(0, 0)
        else:
            self.log_failed()

    async def _drop_waiting(self) -> None:
        waiting, self._to_drop = self._to_drop, []
        ledger = self._parts.ledger
        chunks: list[ChunkRow] = [chunk for chunk_id in waiting if (chunk := ledger.chunk(chunk_id)) is not None]
        await self._room.drop(chunks)

    async def close(self) -> None:
        parts = self._parts
        await self._drop_waiting()
        if parts.manifest.broken is None:
            await self.commit()
        await parts.manifest.close()
        parts.shelf.clear()
        if self._lock_fd >= 0:
            fd, self._lock_fd = self._lock_fd, -1
            await parts.threads.run(lambda: parts.disk.close(fd))


def sync_chunks(disk: Disk, layout: Layout, chunk_ids: list[int], folders: list[int]) -> list[int]:
    """Chunk data, then the names. Returns chunks whose data the disk lost. Raises `OSError` where names fail."""
    lost = []
    if len(chunk_ids) > SYNC_EACH:
        fd = disk.open(layout.chunks, os.O_RDONLY | os.O_DIRECTORY)
        try:
            disk.syncfs(fd)
        finally:
            disk.close(fd)
    else:
        for chunk_id in chunk_ids:
            try:
                fd = disk.open(layout.chunk(chunk_id), os.O_RDONLY)
            except FileNotFoundError:
                continue  # evicted meanwhile
            try:
                disk.fsync(fd)
            except OSError:
                lost.append(chunk_id)
            finally:
                disk.close(fd)
    for number in folders:
        try:
            sync_path(disk, layout.chunk_folder(number << FAN_OUT_BITS))
        except FileNotFoundError:
            continue
    if folders:
        sync_path(disk, layout.chunks)
    return lost
