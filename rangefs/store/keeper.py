"""What goes on beside the readers: group commits, checkpoints, the watch over the disk, coming back from trouble."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence

import trio

from rangefs.core.columns import PASSING, PINNED
from rangefs.core.ledger import ChunkRow
from rangefs.core.records import IdsRecord, MarkRecord
from rangefs.core.settings import KiB, MiB, Sync
from rangefs.store import returning
from rangefs.store.compaction import Compaction
from rangefs.store.disk import PAGE, Disk
from rangefs.store.health import in_words
from rangefs.store.layout import FAN_OUT_BITS, Layout
from rangefs.store.listings import Listings
from rangefs.store.manifest import sync_path, write_file
from rangefs.store.parts import NO_LOCK, Parts
from rangefs.store.room import Room

COMMIT_S = 1.0  #: what a power loss may take, and the longest that a record waits
WATCH_S = 0.5  #: how often the disk's free space is looked at: --min-free is restored within 2 s
ROLL_BYTES = 4 * MiB
"""A log of this size is retired: 70,000 adds, which a start replays in a quarter of a second. (Waiting for the log to
outgrow the snapshot, as STORE.md has it, would make a start with a million chunks replay 30 MiB: seconds.)"""
IDS_AHEAD = 1024
"""Chunk ids logged ahead of use, at a time: each start lists the 8 to 16 folders that hold so many."""
SYNC_EACH = 32  #: up to so many new chunks are synced one by one; beyond, the whole file system at once
IDLE_OBJECTS = 256 * KiB  #: one object without chunks is remembered for so many bytes of the cap


class Keeper:
    """The store's housekeeping. `run` beside the readers; the other methods are the store's."""

    def __init__(self, parts: Parts, room: Room, compaction: Compaction, listings: Listings) -> None:
        self._parts = parts
        self._room = room
        self._compaction = compaction
        self._listings = listings
        self._committing = trio.Lock()
        self._mending = trio.Lock()
        self._to_drop: list[int] = []
        self._synced = 0  # the sequence at the last mark
        self._told = IdsRecord(0, 0)

    async def begin(self) -> None:
        """Write the first generation where recovery left none to go on with."""
        await self._room.look_at_disk()
        await self.mend_log()
        await self._parts.manifest.flush()
        self._parts.show()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._commit_now_and_then)
            nursery.start_soon(self._watch)
            nursery.start_soon(self._compact_now_and_then)

    async def _commit_now_and_then(self) -> None:
        while True:
            await self.drop_waiting()
            await self.commit()
            await trio.sleep(COMMIT_S)

    async def _watch(self) -> None:
        while True:
            await self.look_after()
            await trio.sleep(WATCH_S)

    async def _compact_now_and_then(self) -> None:
        while True:
            await self._compaction.work()
            await trio.sleep(COMMIT_S)

    async def look_after(self) -> None:
        """One look at the folder, the free space and the log."""
        parts = self._parts
        if not await returning.is_ours(parts):
            if parts.lock_fd == NO_LOCK and not parts.health.may_try("folder", parts.now()):
                return
            if not await returning.come_back(parts, self._room, self._listings):
                return
            self._told = IdsRecord(0, 0)
            await self.mend_log()
            await parts.manifest.flush()
        await self._room.look_at_disk()
        if await self._room.shrink():
            parts.health.clear("space")
        else:
            parts.health.fail("space", _why_no_space(parts), parts.now())
        await self._probe()
        if parts.manifest.broken is not None and parts.health.may_try("log", parts.now()):
            await self.mend_log()
        due = self._log_is_long() or parts.health.is_failing("checkpoint")
        if due and parts.health.may_try("checkpoint", parts.now()):
            async with self._mending:  # what a broken log's checkpoint forgets must be in the books: ids are not, yet
                await self.checkpoint()

    async def _probe(self) -> None:
        """If writing failed, try it: the trouble may be over, and nobody may be reading."""
        parts = self._parts
        if not parts.health.is_failing("write") or not parts.health.may_try("write", parts.now()):
            return
        path = parts.layout.staging / "probe"

        def write() -> None:
            write_file(parts.disk, path, [b"?"], sync=False)
            parts.disk.unlink(path)

        try:
            await parts.threads.run(write)
        except OSError as error:
            parts.health.fail("write", in_words(error), parts.now())
        else:
            parts.health.clear("write")

    # -- asked by the store ------------------------------------------------

    def accepts(self) -> bool:
        """Is the disk well enough for an add, or is it time to try one?"""
        parts = self._parts
        return parts.lock_fd != NO_LOCK and parts.manifest.broken is None and parts.health.may_try("write", parts.now())

    async def ids_ready(self) -> bool:
        """Are there ids that a crash would not forget? Writes some ahead where there are none."""
        parts = self._parts
        if parts.ledger.next_id < parts.ledger.ahead:
            return True
        async with self._mending:
            while parts.ledger.next_id >= parts.ledger.ahead:
                if parts.lock_fd == NO_LOCK:
                    return False
                record = IdsRecord(self._settled(), parts.ledger.next_id + IDS_AHEAD)
                parts.manifest.append(record)
                if not await parts.manifest.flush():
                    self.log_failed()
                    return False
                if parts.settings.sync is not Sync.NONE and await parts.manifest.sync() is None:
                    self.log_failed()
                    return False
                parts.ledger.apply(record)
        return True

    async def write_failed(self, error: OSError, needed: int) -> bool:
        """An add met `error`. True: room was made, and it may try once more at once."""
        parts = self._parts
        parts.health.fail("write", in_words(error), parts.now())
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            await self._room.look_at_disk()
            return await self._room.make(max(2 * needed, MiB // PAGE))
        if error.errno in (errno.EMFILE, errno.ENFILE):
            parts.shelf.halve()
        return False

    def log_failed(self) -> None:
        """The manifest can't be written: say so, and let the watch mend it."""
        error = self._parts.manifest.broken
        if error is not None:
            self._parts.health.fail("log", in_words(error), self._parts.now())

    def drop_soon(self, chunk_ids: Iterable[int]) -> None:
        """Drop chunks with the next commit: for callers that can't wait."""
        self._to_drop += chunk_ids

    # -- commit and checkpoint ---------------------------------------------

    def _settled(self) -> int:
        return min(self._parts.writing, default=self._parts.ledger.next_id)

    async def commit(self) -> None:
        """Put what was added on the disk, then say so in the log. Cancellation leaves it for the next one."""
        parts = self._parts
        async with self._committing:
            if parts.lock_fd == NO_LOCK:
                return
            self._tell_ids()
            if not await parts.manifest.flush():
                self.log_failed()
                return
            parts.health.clear("log")
            if parts.settings.sync is Sync.NONE:
                parts.dirty.clear()
                parts.dirty_folders.clear()
                parts.ledger.apply(self._told)
            elif self._synced != parts.manifest.sequence or parts.dirty or parts.dirty_folders or parts.dirty_parent:
                with trio.CancelScope(shield=True):
                    await self._sync_all()

    def _tell_ids(self) -> None:
        """Queue the ids' state, where it has changed since it was last written."""
        ledger = self._parts.ledger
        settled = self._settled()
        if settled != self._told.settled:
            self._told = IdsRecord(settled, max(ledger.ahead, ledger.next_id + IDS_AHEAD))
            self._parts.manifest.append(self._told)

    async def _sync_all(self) -> None:
        parts = self._parts
        sequence = parts.manifest.sequence
        cleared = min(parts.clearing, default=sequence)
        told = self._told
        chunk_ids, folders, parent = sorted(parts.dirty), sorted(parts.dirty_folders), parts.dirty_parent
        parts.dirty.clear()
        parts.dirty_folders.clear()
        parts.dirty_parent = False
        try:
            lost = await parts.threads.run(lambda: sync_chunks(parts.disk, parts.layout, chunk_ids, folders, parent))
        except OSError as error:
            parts.dirty.update(chunk_id for chunk_id in chunk_ids if parts.ledger.chunk(chunk_id) is not None)
            parts.dirty_folders.update(folders)
            parts.dirty_parent |= parent
            parts.health.fail("sync", in_words(error), parts.now())
            return
        if lost:
            parts.health.note("lost", "the cache disk could not write some chunks; they were dropped", parts.now())
            await self._room.drop([chunk for chunk_id in lost if (chunk := parts.ledger.chunk(chunk_id))])
        if await parts.manifest.sync() is None:
            self.log_failed()
            return
        parts.ledger.apply(told)
        parts.health.clear("sync")
        parts.manifest.append(MarkRecord(sequence, cleared))
        await parts.manifest.flush()
        self._synced = parts.manifest.sequence

    def _log_is_long(self) -> bool:
        """Is it time for a checkpoint?"""
        limit = min(ROLL_BYTES, max(64 * KiB, self._parts.settings.size_bytes // 64))
        return self._parts.manifest.log_bytes > limit

    async def checkpoint(self) -> bool:
        """The next generation of the manifest. False: the disk would not; the old one goes on, if it can."""
        parts = self._parts
        ledger = parts.ledger
        rough = 64 * len(ledger.chunks) + len(ledger.objects.names) + 96 * len(ledger.objects) + 16 * KiB
        needed = -(-rough // PAGE)
        if not await self._room.reserve(needed):
            return False
        with trio.CancelScope(shield=True):
            async with self._committing:
                done = await parts.manifest.checkpoint(ledger, self._worth_keeping())
            parts.space.release(needed)
        parts.show()
        if done:
            parts.health.clear("checkpoint")
        else:
            parts.health.fail("checkpoint", "the cache's manifest could not be written anew", parts.now())
        return done

    def _worth_keeping(self) -> bytearray:
        """A byte an object: those with chunks, handles or pins stay, and the latest known of the others."""
        parts = self._parts
        objects = parts.ledger.objects
        awaited = bool(parts.writing)  # an id under way may be of any object
        keep = bytearray(
            1 if count or flags & PINNED or number in parts.open_counts else 0
            for count, flags, number in zip(objects.counts, objects.flags, objects.numbers, strict=True)
        )
        idle = [row for row, kept in enumerate(keep) if not kept and (awaited or not objects.flags[row] & PASSING)]
        most = max(1000, parts.settings.size_bytes // IDLE_OBJECTS)
        if len(idle) > most:
            idle = sorted(idle, key=objects.validated.__getitem__, reverse=True)[:most]
        for row in idle:
            keep[row] = 1
        return keep

    # -- trouble -----------------------------------------------------------

    async def mend_log(self) -> None:
        """Write a new generation if the log can't be gone on with."""
        parts = self._parts
        if parts.manifest.broken is None or parts.lock_fd == NO_LOCK:
            return
        async with self._mending:
            if parts.manifest.broken is None:
                return
            if await self.checkpoint():
                parts.health.clear("log")
                self._told = IdsRecord(0, 0)
            else:
                self.log_failed()

    async def drop_waiting(self) -> None:
        """What `drop_soon` was told."""
        waiting, self._to_drop = self._to_drop, []
        ledger = self._parts.ledger
        chunks: list[ChunkRow] = [chunk for chunk_id in waiting if (chunk := ledger.chunk(chunk_id)) is not None]
        await self._room.drop(chunks)

    async def close(self) -> None:
        """The last commit; then everything is closed, the lock at the very end."""
        parts = self._parts
        await self.drop_waiting()
        await self.commit()
        await parts.manifest.close()
        parts.shelf.clear()
        if parts.lock_fd != NO_LOCK:
            fd, parts.lock_fd = parts.lock_fd, NO_LOCK
            await parts.threads.run(lambda: parts.disk.close(fd))


def _why_no_space(parts: Parts) -> str:
    """What keeps the cache over its limits though nothing more can go."""
    if parts.space.used_pages > parts.space.limit_pages:
        return "what is pinned takes more than --cache-size"
    return "the cache disk has less free space than --min-free asks for"


def sync_chunks(
    disk: Disk, layout: Layout, chunk_ids: Sequence[int], folders: Sequence[int], parent: bool
) -> list[int]:
    """Chunk data, then the names. Returns chunks whose data the disk lost. Raises `OSError` where names fail."""
    lost = []
    if len(chunk_ids) > SYNC_EACH:
        sync_all_data(disk, layout)
    else:
        lost = [chunk_id for chunk_id in chunk_ids if not _sync_chunk(disk, layout, chunk_id)]
    for number in folders:
        try:
            sync_path(disk, layout.chunk_folder(number << FAN_OUT_BITS))
        except FileNotFoundError:
            parent = True  # emptied and removed meanwhile
    if folders or parent:
        sync_path(disk, layout.chunks)
    return lost


def sync_all_data(disk: Disk, layout: Layout) -> None:
    fd = disk.open(layout.chunks, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.syncfs(fd)
    finally:
        disk.close(fd)


def _sync_chunk(disk: Disk, layout: Layout, chunk_id: int) -> bool:
    """False: the disk lost it. (The descriptor is closed at once: a failed fsync is not asked again.)"""
    try:
        fd = disk.open(layout.chunk(chunk_id), os.O_RDONLY)
    except FileNotFoundError:
        return True  # evicted meanwhile
    try:
        disk.fsync(fd)
    except OSError:
        return False
    finally:
        disk.close(fd)
    return True
