"""A fault at every call of the store, one by one: reads stay right, nothing is raised, and it comes back by itself."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
import trio
import trio.testing

from rangefs.core.figures import CacheFigures
from rangefs.core.settings import CacheSettings, MiB, MinFree, Sync
from rangefs.core.versions import Level, Stat, Version
from rangefs.store.compaction import Waiting
from rangefs.store.disk import DiskSpace
from rangefs.store.store import Store
from rangefs.store.threads import Threads
from tests.store.memory_disk import MemoryDisk
from tests.store.oracle import CACHE, VERSIONS, content, examine, run_inline

LONG = bool(os.environ.get("RANGEFS_LONG"))
WEAK = Version(b"w", Level.WEAK, "", 1 << 30)


def data_of(version: Version) -> bytes:
    return content(VERSIONS.index(version) if version in VERSIONS else 9)


CALLS = (
    "open", "preadv", "pwritev", "ftruncate", "fsync", "fdatasync", "syncfs", "rename", "unlink", "mkdir", "rmdir",
    "listdir", "info", "same_file", "space",
)  # fmt: skip


class FaultyDisk(MemoryDisk):
    """`fault` hits the calls of `name` number `first` to `last` (from 0): an errno, or 0 for a short transfer."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = dict.fromkeys(CALLS, 0)
        self.name = ""
        self.first = self.last = -1
        self.fault = 0

    def _hit(self, name: str) -> bool:
        """True: make this transfer short. Raises the fault, if it is this call's turn."""
        number = self.counts[name]
        self.counts[name] += 1
        if name != self.name or not self.first <= number <= self.last:
            return False
        if self.fault:
            raise OSError(self.fault, "injected")
        return True

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        self._hit("open")
        return super().open(path, flags, mode)

    def preadv(self, fd: int, buffer: memoryview | bytearray, offset: int, flags: int = 0) -> int:
        if self._hit("preadv"):
            return super().preadv(fd, memoryview(buffer)[: len(buffer) // 2], offset, flags)
        return super().preadv(fd, buffer, offset, flags)

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        if self._hit("pwritev"):
            return super().pwritev(fd, [b"".join(buffers)[:1]], offset)
        return super().pwritev(fd, buffers, offset)

    def ftruncate(self, fd: int, length: int) -> None:
        self._hit("ftruncate")
        super().ftruncate(fd, length)

    def fsync(self, fd: int) -> None:
        self._hit("fsync")
        super().fsync(fd)

    def fdatasync(self, fd: int) -> None:
        self._hit("fdatasync")
        super().fdatasync(fd)

    def syncfs(self, fd: int) -> None:
        self._hit("syncfs")
        super().syncfs(fd)

    def rename(self, source: Path, target: Path) -> None:
        self._hit("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._hit("unlink")
        super().unlink(path)

    def mkdir(self, path: Path, mode: int = 0o700) -> None:
        self._hit("mkdir")
        super().mkdir(path, mode)

    def rmdir(self, path: Path) -> None:
        self._hit("rmdir")
        super().rmdir(path)

    def listdir(self, path: Path) -> list[str]:
        self._hit("listdir")
        return super().listdir(path)

    def info(self, path: Path):  # type: ignore[no-untyped-def]
        self._hit("info")
        return super().info(path)

    def same_file(self, fd: int, path: Path) -> bool:
        self._hit("same_file")
        return super().same_file(fd, path)

    def space(self, path: Path) -> DiskSpace:
        self._hit("space")
        return super().space(path)


async def add_and_read(store: Store, version: Version, start: int, length: int) -> bool:
    """Was it kept? What is kept must read right, or be given up."""
    chunk = await store.add(version, start, memoryview(data_of(version))[start : start + length])
    if chunk is not None:
        check(version, store.read_nowait(chunk.id, start, start + length), start)
        check(version, await store.read(chunk.id, start, start + length), start)
    return chunk is not None


def check(version: Version, found: memoryview | None, start: int) -> None:
    assert found is None or bytes(found) == data_of(version)[start : start + found.nbytes]


async def everything(disk: FaultyDisk, clock: trio.testing.MockClock, sync: Sync = Sync.BATCH) -> None:
    """A run that makes each call of the seam, and then sees that the store is well again."""
    settings = CacheSettings(CACHE, 1 * MiB, MinFree(0.0), sync)
    for _ in range(2):
        store = await Store.open(settings, "http://x/", CacheFigures(), disk)
        for number in range(3):
            await store.note(Stat(VERSIONS[number], 1), 1.0)
            store.opened(VERSIONS[number])
            for start in range(5):
                await add_and_read(store, VERSIONS[number], start * 4000, 4000)
            await store._keeper.commit()
            clock.jump(1)
        store.opened(WEAK)
        await add_and_read(store, WEAK, 0, 5000)
        await store.pin(VERSIONS[1])
        await store.save_listing(b"folder", b"payload", 5.0)
        assert await store.load_listing(b"folder") in (None, (b"payload", 5.0))
        for number in range(3):
            store._compaction._waiting[number + 1] = Waiting(-100.0)
        await store._compaction.work()
        for number in range(12):
            await add_and_read(store, VERSIONS[3], number * 1000, 100_000)
            for version in VERSIONS:
                for chunk in await store.chunks(version):
                    check(version, await store.read(chunk.id, chunk.start, chunk.end), chunk.start)
        await store._keeper.checkpoint()
        store.closed(WEAK)
        for version in VERSIONS[:3]:
            store.closed(version)
        await store._keeper.drop_waiting()
        clock.jump(1)
        await store._keeper.look_after()
        await store._keeper.commit()
        if _ == 0:
            await store.close()
    disk.first = disk.last = -1  # the disk is well again: so must be the store, in a while
    for _ in range(4):
        clock.jump(20)
        await store._keeper.look_after()
        await store._keeper.commit()
        kept = await add_and_read(store, VERSIONS[2], 90_000, 1000)
    assert kept
    assert store.reasons == ()
    await store.close()


def play(disk: FaultyDisk, sync: Sync = Sync.BATCH) -> None:
    clock = trio.testing.MockClock()
    with patch.object(Threads, "run", run_inline):
        trio.run(everything, disk, clock, sync, clock=clock)


def cases() -> Iterator[tuple[str, int]]:
    for name in CALLS:
        for fault in (errno.EIO, errno.ENOSPC):
            yield name, fault
    for fault in (errno.EMFILE, errno.EROFS, errno.EACCES, errno.EDQUOT):
        yield "open", fault
        yield "pwritev", fault
    yield "preadv", 0
    yield "pwritev", 0


@pytest.mark.parametrize(("name", "fault"), list(cases()), ids=lambda case: errno.errorcode.get(case, str(case)))
def test_a_fault_at_each_call_is_survived(name: str, fault: int) -> None:
    counting = FaultyDisk()
    play(counting)
    total = counting.counts[name]
    step = 1 if LONG else max(1, total // 4)
    for first in range(0, total, step):
        disk = FaultyDisk()
        disk.name, disk.fault, disk.first, disk.last = name, fault, first, first
        play(disk)
        examine(disk, frozenset(), strict=False)


@pytest.mark.parametrize(
    ("name", "fault"),
    list(itertools.product(("open", "pwritev", "fsync", "rename", "unlink"), (errno.EIO, errno.ENOSPC))),
)
def test_a_disk_that_fails_for_good_is_passed_by(name: str, fault: int) -> None:
    for first in (0, 1, 3, 10, 30):
        disk = FaultyDisk()
        disk.name, disk.fault, disk.first, disk.last = name, fault, first, 1 << 60
        play(disk)


def test_every_call_of_the_seam_is_made() -> None:
    disk = FaultyDisk()
    play(disk)
    play(disk, Sync.ALWAYS)
    assert [name for name in CALLS if not disk.counts[name] and name != "syncfs"] == []
