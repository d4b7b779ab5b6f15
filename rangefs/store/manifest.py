"""The manifest's files: the log that is appended to, and the checkpoint that begins the next one.

Writing goes: `append` queues a record (no await, so a change of the books and
its record can't be parted), `flush` writes everything queued as one frame and
returns when the kernel has it (from then on SIGKILL can't take it), `sync`
puts it on the disk. A checkpoint starts log n+1 *before* snapshot n+1 exists;
until CURRENT names n+1, a start reads snapshot n, log n, log n+1 in a row.

A log that failed once is not written again: `broken` says so, and the next
`checkpoint` makes a new one from memory. (After a failed fsync the kernel has
thrown the dirty pages away; asking the same descriptor again answers success.)
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import trio

from rangefs.core.ledger import Ledger
from rangefs.core.records import LOG_HEADER_BYTES, Record, encode, encode_frame, encode_log_header
from rangefs.core.snapshot import encode_current, encode_snapshot, squeeze
from rangefs.store.disk import Disk, pages, write_all
from rangefs.store.layout import Layout, generation_of
from rangefs.store.threads import Threads

LOG_AHEAD_PAGES = 4  #: counted before they are written, so that a log may grow between two looks at the cap


@dataclass(slots=True)
class LogFile:
    """One log, open for appending at `end`.

    dirty  something was written since it was last synced
    named  its name in the folder is on the disk
    """

    generation: int
    fd: int
    end: int
    dirty: bool = False
    named: bool = True


class Manifest:
    """The write side. Belongs to the event loop's thread."""

    def __init__(self, disk: Disk, layout: Layout, threads: Threads, sync: bool) -> None:
        self._disk = disk
        self._layout = layout
        self._threads = threads
        self._sync = sync
        self._queue: list[bytes] = []
        self._queued = 0  # records, ever; `_settled` of them are written, or need not be any more
        self._settled = 0
        self._writing = trio.Lock()
        self._writer_is_done = trio.Event()
        self._syncing = trio.Lock()  # a log is not closed while it is synced
        self._logs: list[LogFile] = []  # the last one is written to; older ones belong to a checkpoint under way
        self._snapshot_pages = 0
        self.sequence = 0  #: of the last frame that the kernel has
        self.broken: OSError | None = None
        self.written_bytes = 0

    @property
    def pages(self) -> int:
        """What snapshot and logs take on disk."""
        return self._snapshot_pages + sum(pages(log.end) + LOG_AHEAD_PAGES for log in self._logs)

    @property
    def log_bytes(self) -> int:
        return sum(log.end for log in self._logs)

    @property
    def generation(self) -> int:
        return self._logs[-1].generation if self._logs else 0

    def resume(self, log: LogFile, sequence: int, snapshot_pages: int) -> None:
        """Go on with a log that recovery has read to its end."""
        self._logs = [log]
        self.sequence = sequence
        self._snapshot_pages = snapshot_pages

    def start_after(self, generation: int, sequence: int) -> None:
        """There is no log to go on with: generations up to `generation` are used, a `checkpoint` must follow."""
        self._logs = []
        self._first_generation = generation
        self.sequence = sequence
        self.broken = OSError("no log yet")

    async def abandon(self) -> None:
        """Close the logs and forget what is queued: the folder is not ours any more, or not yet."""
        async with self._turn(), self._syncing:
            logs, self._logs = self._logs, []
            self._forget_queue()
            self.broken = None
            for log in logs:
                self._disk.close(log.fd)

    _first_generation = 0

    def append(self, *records: Record) -> None:
        """Queue records for the next frame."""
        self._queue += map(encode, records)
        self._queued += len(records)

    async def flush(self) -> bool:
        """Write what is queued. True: the kernel has all that was queued before; False: the log is broken.

        Callers that come together share one write. Cancellation leaves the records queued, or written.
        """
        mine = self._queued
        while self._settled < mine:
            if self._writing.locked():  # by one that may write mine with its own
                await self._writer_is_done.wait()
                continue
            async with self._turn():
                if not await self._write_queue():
                    return False
        return self.broken is None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """To write, or to change what is written to. All who wait for it look again at once, not one after another."""
        async with self._writing:
            try:
                yield
            finally:
                done, self._writer_is_done = self._writer_is_done, trio.Event()
                done.set()

    def _forget_queue(self) -> None:
        self._queue.clear()
        self._settled = self._queued

    async def _write_queue(self) -> bool:
        if self.broken is not None or not self._logs:
            return False
        if not self._queue:
            return True
        payload, upto = b"".join(self._queue), self._queued
        self._queue.clear()
        log = self._logs[-1]
        frame = encode_frame(log.generation, self.sequence + 1, payload)
        try:
            with trio.CancelScope(shield=True):  # others are told by `_settled` that theirs are out
                await self._threads.run(lambda: write_all(self._disk, log.fd, (frame,), log.end))
        except OSError as error:
            # The records are in the books; the checkpoint that mends the log will carry them.
            self.broken = error
            return False
        finally:
            self._settled = upto
        log.end += len(frame)
        log.dirty = True
        self.sequence += 1
        self.written_bytes += len(frame)
        return True

    async def sync(self) -> int | None:
        """Put all logs on the disk; the sequence that is safe now, None where that failed (the log is broken then)."""
        async with self._syncing:
            sequence = self.sequence
            logs = [log for log in self._logs if log.dirty]
            unnamed = [log for log in self._logs if not log.named]
            for log in logs:
                log.dirty = False

            def sync() -> None:
                for log in logs:
                    self._disk.fsync(log.fd)
                if unnamed:
                    sync_folder(self._disk, self._layout)

            try:
                await self._threads.run(sync)
            except OSError as error:
                self.broken = error
                return None
            for log in unnamed:
                log.named = True
            return None if self.broken else sequence

    async def checkpoint(self, ledger: Ledger, keep_object: bytearray | None) -> bool:
        """Write the next generation from memory and retire the older ones. False: the disk would not.

        Not to be cancelled half-way: shield it. What a crash leaves at any step is a generation that works.
        """
        generation = max(self.generation, self._first_generation) + 1
        self._first_generation = generation
        async with self._turn():
            await self._write_queue()
            was_broken = self.broken is not None
            if was_broken:
                # Leave a gap, so that no start goes on from the older log, which lacks records, to this one.
                self.sequence += 1
            sequence = self.sequence
            try:
                fd = await self._threads.run(lambda: begin_log(self._disk, self._layout, generation, sequence + 1))
            except OSError:
                return False
            # From here to the switch there is no await: the snapshot is the books as this log begins.
            squeeze(ledger, keep_object)
            pieces = encode_snapshot(ledger, generation, sequence + 1)
            retired = self._logs
            log = LogFile(generation, fd, LOG_HEADER_BYTES, dirty=True, named=False)
            if was_broken:
                self._forget_queue()  # it is in the snapshot
                self._logs = [log]
                self.broken = None
            else:
                self._logs = [*retired, log]
        size = sum(map(len, pieces))
        try:
            await self._threads.run(lambda: publish(self._disk, self._layout, generation, fd, pieces, self._sync))
        except OSError as error:
            if was_broken:
                async with self._turn(), self._syncing:
                    self._logs = retired
                    self._disk.close(fd)
                    self.broken = error
            return False
        log.named = True
        self._logs = [log]
        self._snapshot_pages = pages(size)
        self.written_bytes += size + LOG_HEADER_BYTES
        async with self._syncing:
            for old in retired:
                self._disk.close(old.fd)
        await self._threads.run(lambda: remove_generations(self._disk, self._layout, below=generation))
        return True

    async def close(self) -> None:
        """Write what is queued and close. Does not sync."""
        await self.flush()
        async with self._syncing:
            logs, self._logs = self._logs, []
            for log in logs:
                self._disk.close(log.fd)


def write_file(disk: Disk, path: os.PathLike[str], pieces: Sequence[bytes], sync: bool) -> None:
    """A small file, whole. Raises `OSError`."""
    fd = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # type: ignore[arg-type]
    try:
        write_all(disk, fd, pieces, 0)
        if sync:
            disk.fsync(fd)
    finally:
        disk.close(fd)


def sync_folder(disk: Disk, layout: Layout) -> None:
    """Put the names in the cache's top folder on the disk."""
    sync_path(disk, layout.root)


def sync_path(disk: Disk, folder: os.PathLike[str]) -> None:
    fd = disk.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # type: ignore[arg-type]
    try:
        disk.fsync(fd)
    finally:
        disk.close(fd)


def remove_generations(disk: Disk, layout: Layout, below: int) -> None:
    """Snapshots and logs of older generations, as far as the disk lets us: recovery knows not to read them."""
    try:
        names = sorted(disk.listdir(layout.root))
    except OSError:
        return
    for name in names:
        generation = generation_of(name)
        if generation is not None and generation < below:
            try:
                disk.unlink(layout.root / name)
            except OSError:
                continue


def begin_log(disk: Disk, layout: Layout, generation: int, first_sequence: int) -> int:
    """A new log with nothing but its header; returns its descriptor. Raises `OSError`."""
    fd = disk.open(layout.log(generation), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(disk, fd, (encode_log_header(generation, first_sequence),), 0)
    except BaseException:
        disk.close(fd)
        raise
    return fd


def publish(disk: Disk, layout: Layout, generation: int, log_fd: int, pieces: Sequence[bytes], sync: bool) -> None:
    """Snapshot, then CURRENT. Raises `OSError`; the older generation is then still the current one."""
    try:
        write_file(disk, layout.snapshot(generation), pieces, sync)
    except OSError:
        with suppress(OSError):
            disk.unlink(layout.snapshot(generation))
        raise
    if sync:
        disk.fsync(log_fd)
        sync_folder(disk, layout)
    write_file(disk, layout.current_staged, [encode_current(generation)], sync)
    disk.rename(layout.current_staged, layout.current)
    if sync:
        sync_folder(disk, layout)
