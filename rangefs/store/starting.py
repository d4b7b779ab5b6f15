"""Opening a cache folder: lock, recover, and hand the parts to the store; also a second time, when it was lost."""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import trio

from rangefs import errors
from rangefs.core.columns import LIVE
from rangefs.core.figures import CacheFigures
from rangefs.core.ledger import Ledger
from rangefs.core.records import namespace_digest
from rangefs.core.settings import CacheSettings, Sync
from rangefs.store import aside, listings
from rangefs.store.disk import Disk, write_all
from rangefs.store.health import Health, in_words
from rangefs.store.layout import FAN_OUT_BITS, Layout
from rangefs.store.manifest import Manifest
from rangefs.store.parts import NO_LOCK, Parts
from rangefs.store.recovery import Recovered, make_folders, recover
from rangefs.store.shelf import Shelf
from rangefs.store.space import Space
from rangefs.store.threads import Threads


@dataclass(slots=True)
class Found:
    """A folder that is ours, and what is in it. `lock_fd` is `NO_LOCK` where there is none to be had."""

    lock_fd: int = NO_LOCK
    recovered: Recovered = field(default_factory=Recovered)
    aside: list[aside.AsideEntry] = field(default_factory=list)
    listings: OrderedDict[int, int] = field(default_factory=OrderedDict)


def find(disk: Disk, layout: Layout) -> Found:
    """Blocking. Raises `errors.CacheLocked`, and `OSError` where the disk refuses."""
    make_folders(disk, layout)
    fd = take_lock(disk, layout)
    try:
        return Found(fd, recover(disk, layout), aside.entries(disk, layout), listings.look(disk, layout))
    except BaseException:
        disk.close(fd)
        raise


async def start(settings: CacheSettings, namespace: str, figures: CacheFigures, disk: Disk) -> tuple[Parts, Found]:
    """Everything that a store is made of. Raises `errors.CacheLocked`."""
    began = trio.current_time()
    threads = Threads()
    # The folder may be a link to a larger disk.
    layout = Layout(await threads.run(lambda: Path(os.path.realpath(settings.folder))))
    health = Health()
    try:
        found = await threads.run(lambda: find(disk, layout))
    except OSError as error:
        health.fail("folder", in_words(error), began)
        found = Found()
    parts = Parts(
        settings,
        namespace_digest(namespace),
        namespace,
        disk,
        layout,
        threads,
        found.recovered.ledger,
        Space.of(settings.size_bytes),
        Manifest(disk, layout, threads, sync=settings.sync is not Sync.NONE),
        Shelf(disk, descriptor_limit()),
        health,
        figures,
    )
    figures.limit_bytes = settings.size_bytes
    await adopt(parts, found)
    figures.recovery_s = trio.current_time() - began
    return parts, found


async def adopt(parts: Parts, found: Found) -> None:
    """Make what was found the state of the store."""
    recovered = found.recovered
    parts.ledger = recovered.ledger
    parts.lock_fd = found.lock_fd
    await parts.manifest.abandon()
    if recovered.log is not None:
        parts.manifest.resume(recovered.log, recovered.sequence, recovered.snapshot_pages)
    else:
        parts.manifest.start_after(recovered.generation, recovered.sequence)
    parts.manifest.append(*recovered.records)
    parts.space.chunk_pages = recovered.ledger.chunks.live_pages
    parts.folders = {(False, number) for number in used_folders(recovered.ledger)}
    parts.figures.recovered_chunks += recovered.adopted
    parts.figures.dropped_chunks += recovered.dropped
    for reason in recovered.reasons:
        parts.health.note("start", reason, parts.now())
    parts.show()


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


def used_folders(ledger: Ledger) -> set[int]:
    """Fan-out folders that hold a chunk: one bisection a folder, not a look at each chunk."""
    chunks = ledger.chunks
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
