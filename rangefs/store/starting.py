"""Opening a cache folder: lock, recover, and hand the parts to the store."""

from __future__ import annotations

import os
import resource

import trio

from rangefs import errors
from rangefs.core.columns import LIVE
from rangefs.core.figures import CacheFigures
from rangefs.core.records import namespace_digest
from rangefs.core.settings import CacheSettings, Sync
from rangefs.store import aside
from rangefs.store.disk import Disk, write_all
from rangefs.store.health import Health, in_words
from rangefs.store.layout import FAN_OUT_BITS, Layout
from rangefs.store.manifest import Manifest
from rangefs.store.parts import Parts
from rangefs.store.recovery import Recovered, make_folders, recover
from rangefs.store.room import Room
from rangefs.store.shelf import Shelf
from rangefs.store.space import Space
from rangefs.store.threads import Threads

NO_LOCK = -1


async def start(settings: CacheSettings, namespace: str, figures: CacheFigures, disk: Disk) -> tuple[Parts, Room, int]:
    """Everything a store is made of, and the descriptor that holds the lock (`NO_LOCK` without a usable folder).

    Raises `errors.CacheLocked`.
    """
    began = trio.current_time()
    threads = Threads()
    layout = Layout(settings.folder)
    health = Health()
    found = Recovered()
    lock_fd = NO_LOCK
    entries: list[aside.AsideEntry] = []

    def prepare() -> tuple[int, Recovered, list[aside.AsideEntry]]:
        make_folders(disk, layout)
        fd = take_lock(disk, layout)
        try:
            return fd, recover(disk, layout), aside.entries(disk, layout)
        except BaseException:
            disk.close(fd)
            raise

    try:
        lock_fd, found, entries = await threads.run(prepare)
    except OSError as error:
        health.fail("write", in_words(error), trio.current_time())
    for reason in found.reasons:
        health.fail("start", reason, trio.current_time())
    manifest = Manifest(disk, layout, threads, sync=settings.sync is not Sync.NONE)
    if found.log is not None:
        manifest.resume(found.log, found.sequence, found.snapshot_pages)
    else:
        manifest.start_after(found.generation, found.sequence)
    manifest.append(*found.records)
    space = Space.of(settings.size_bytes)
    space.chunk_pages = found.ledger.chunks.live_pages
    parts = Parts(
        settings,
        namespace_digest(namespace),
        namespace,
        disk,
        layout,
        threads,
        found.ledger,
        space,
        manifest,
        Shelf(disk, descriptor_limit()),
        health,
        figures,
    )
    parts.folders = {(False, number) for number in used_folders(found)}
    figures.limit_bytes = settings.size_bytes
    figures.recovered_chunks += found.adopted
    figures.dropped_chunks += found.dropped
    room = Room(parts, entries)
    await room.look_at_disk()
    parts.show()
    figures.recovery_s = trio.current_time() - began
    return parts, room, lock_fd


def take_lock(disk: Disk, layout: Layout) -> int:
    """The descriptor of the locked lock file, which says our pid. Raises `errors.CacheLocked`, `OSError`."""
    fd = disk.open(layout.lock, os.O_RDWR | os.O_CREAT)
    try:
        refusal = None if disk.lock(fd) else _locked(disk, layout, fd)
        if refusal is None:
            disk.ftruncate(fd, 0)
            write_all(disk, fd, (b"%d\n" % os.getpid(),), 0)
    except BaseException:
        disk.close(fd)
        raise
    if refusal is not None:
        disk.close(fd)
        raise refusal
    return fd


def _locked(disk: Disk, layout: Layout, fd: int) -> errors.CacheLocked:
    buffer = bytearray(32)
    owner = bytes(buffer[: disk.preadv(fd, buffer, 0)]).split(b"\n")[0].decode("ascii", "replace")
    return errors.CacheLocked(
        f"the cache folder {layout.root} is in use by process {owner or '(unknown)'}: "
        "unmount that, or choose another --cache-dir"
    )


def used_folders(found: Recovered) -> set[int]:
    """Fan-out folders that hold a chunk: one bisection a folder, not a look at each chunk."""
    chunks = found.ledger.chunks
    folders = set()
    row = 0
    while row < len(chunks):
        number = chunks.ids[row] >> FAN_OUT_BITS
        after = chunks.row_at_or_after((number + 1) << FAN_OUT_BITS)
        if any(chunks.flags[at] & LIVE for at in range(row, after)):
            folders.add(number)
        row = after
    return folders


def descriptor_limit() -> int:
    """How many chunks may stay open: a quarter of the descriptors that this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(1024, soft // 4))
