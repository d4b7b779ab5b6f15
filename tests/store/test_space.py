"""The cap at every instant, what others take from the disk, and a folder that goes away."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from rangefs.core.figures import CacheFigures
from rangefs.core.settings import CacheSettings, KiB, MiB, MinFree
from rangefs.core.versions import Level, Version
from rangefs.store.compaction import Waiting
from rangefs.store.disk import PAGE, Disk, DiskSpace, pages
from rangefs.store.store import Store
from rangefs.store.threads import Threads
from tests.store.memory_disk import MemoryDisk
from tests.store.oracle import CACHE, VERSIONS, content, run_inline

FILES = [Version(b"f%d" % number, Level.STRONG, '"1"', 1 << 40) for number in range(6)]


class Sampler(threading.Thread):
    """Sums up a folder every 20 ms, as ``du`` would: file sizes in whole pages, and blocks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.most = 0
        self.samples = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.02):
            sizes = blocks = 0
            seen: set[int] = set()
            for path in [self.folder, *self._paths()]:
                with suppress(FileNotFoundError):
                    found = path.lstat()
                    if found.st_ino not in seen:
                        seen.add(found.st_ino)
                        sizes += pages(found.st_size) * PAGE
                        blocks += found.st_blocks * 512
            self.most = max(self.most, sizes, blocks)
            self.samples += 1

    def _paths(self) -> Iterator[Path]:
        for folder, folders, files in os.walk(self.folder):
            for name in [*folders, *files]:
                yield Path(folder, name)


async def reader(store: Store, version: Version, draw: random.Random, until: float) -> None:
    """Adds and reads, as a file larger than the cache is read."""
    data = memoryview(content(1))
    at = 0
    store.opened(version)
    while time.monotonic() < until:
        length = draw.choice([4 * KiB, 64 * KiB, MiB])
        chunk = await store.add(version, at, [data[:length]] * draw.choice([1, 1, 4]))
        if chunk is not None:
            found = await store.read(chunk.id, chunk.start, chunk.start + length)
            assert found is None or bytes(found) == data[:length]
        at += length * 4
    store.closed(version)


@pytest.mark.parametrize("cap", [3 * MiB, 64 * MiB])
async def test_six_readers_never_pass_the_cap(tmp_path: Path, cap: int) -> None:
    folder = tmp_path / "cache"
    figures = CacheFigures()
    store = await Store.open(CacheSettings(folder, cap, MinFree(0.0)), "http://x/", figures)
    sampler = Sampler(folder)
    sampler.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        async with trio.open_nursery() as readers:
            for number, version in enumerate(FILES):
                readers.start_soon(reader, store, version, random.Random(number), time.monotonic() + 3)
        nursery.cancel_scope.cancel()
    sampler.done.set()
    await trio.to_thread.run_sync(sampler.join)
    await store.close()
    assert sampler.samples > 5
    assert sampler.most <= cap
    assert figures.evicted_bytes > 0
    assert figures.bytes > cap // 2


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "add", "drop", "pin", "listing", "commit", "checkpoint", "merge"]),
              st.integers(0, 3), st.integers(0, 50)),
    max_size=30,
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(ACTIONS, st.sampled_from([192 * KiB, 2 * MiB]))
def test_the_books_of_space_equal_the_disk(actions: list[tuple[str, int, int]], cap: int) -> None:
    disk = MemoryDisk()
    with patch.object(Threads, "run", run_inline):
        trio.run(keep_books, disk, actions, cap)


async def keep_books(disk: MemoryDisk, actions: list[tuple[str, int, int]], cap: int) -> None:
    figures = CacheFigures()
    store = await Store.open(CacheSettings(CACHE, cap, MinFree(0.0)), "http://x/", figures, disk)
    for what, index, number in actions:
        version = VERSIONS[index]
        if what == "add":
            await store.add(version, number * 900, memoryview(content(index))[number * 900 :][: number * 900 + 1])
        elif what == "drop":
            await store.discard([chunk.id for chunk in await store.chunks(version)][:2])
        elif what == "pin":
            await (store.pin if number % 2 else store.unpin)(version)
        elif what == "listing":
            await store.save_listing(version.key, content(index)[: number * 100], 1.0)
        elif what == "commit":
            await store._keeper.commit()
        elif what == "checkpoint":
            await store._keeper.checkpoint()
        else:
            store._compaction._waiting[index + 1] = Waiting(-100.0)
            await store._compaction.work()
        compare_books(disk, store, figures, cap)
    store._parts.ledger.check()
    await store.close()


def compare_books(disk: MemoryDisk, store: Store, figures: CacheFigures, cap: int) -> None:
    found = disk.files(CACHE)
    chunk_pages = sum(pages(len(data)) for path, data in found.items() if path.parts[0] == "chunks")
    assert store._parts.space.chunk_pages == chunk_pages
    assert store._parts.space.reserved_pages == 0
    assert store._parts.listing_pages == sum(
        pages(len(data)) for path, data in found.items() if path.parts[0] == "listings"
    )
    folders = sum(1 for inode in disk.inodes.values() if inode.is_folder)
    total = sum(pages(len(data)) for data in found.values())
    assert (total + min(folders, 6 + len(store._parts.folders))) * PAGE <= figures.bytes <= cap


class SmallDisk(Disk):
    """A real folder on a disk that says it is nearly full."""

    free_bytes = 1 << 40

    def space(self, path: Path) -> DiskSpace:
        return DiskSpace(1 << 30, self.free_bytes)


async def test_min_free_is_restored(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    disk = SmallDisk()
    figures = CacheFigures()
    store = await Store.open(CacheSettings(tmp_path, 64 * MiB, MinFree(0.1)), "x", figures, disk)
    for number in range(8):
        assert await store.add(FILES[0], number * MiB, memoryview(content(0))[:MiB])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        await trio.sleep(1)
        assert figures.chunks == 8
        disk.free_bytes = (1 << 30) // 10 - 3 * MiB  # someone else wrote: three MiB too much
        await trio.sleep(2)
        assert figures.chunks <= 5
        disk.free_bytes = 0
        await trio.sleep(2)
        assert figures.chunks == 0
        assert await store.add(FILES[0], 0, memoryview(b"x")) is None
        disk.free_bytes = 1 << 40
        await trio.sleep(2)
        assert await store.add(FILES[0], 0, memoryview(b"x"))
        nursery.cancel_scope.cancel()
    await store.close()


async def test_a_removed_folder_is_made_again(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    folder = tmp_path / "cache"
    figures = CacheFigures()
    store = await Store.open(CacheSettings(folder, 64 * MiB, MinFree(0.0)), "x", figures)
    dropped: list[int] = []
    store.on_drop = lambda _, ids: dropped.extend(ids)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        store.opened(FILES[0])
        chunk = await store.add(FILES[0], 0, memoryview(b"x" * 1000))
        assert chunk is not None
        shutil.rmtree(folder)
        await trio.sleep(3)
        assert dropped == [chunk.id]
        assert await store.chunks(FILES[0]) == ()
        again = await store.add(FILES[0], 0, memoryview(b"x" * 1000))
        assert again is not None
        assert await store.read(again.id, 0, 1000) == b"x" * 1000
        assert store.reasons == ()
        store.closed(FILES[0])
        nursery.cancel_scope.cancel()
    await store.close()
    store = await Store.open(CacheSettings(folder, 64 * MiB, MinFree(0.0)), "x", figures)
    assert await store.chunks(FILES[0]) == (again,)
    await store.close()


async def test_a_folder_that_can_not_be_made_is_no_cache_until_it_can(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.02
    folder = tmp_path / "missing" / "cache"
    store = await Store.open(CacheSettings(folder, 64 * MiB, MinFree(0.0)), "x", CacheFigures())
    assert store.reasons
    assert await store.add(FILES[0], 0, memoryview(b"x")) is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        folder.parent.mkdir()
        await trio.sleep(5)
        assert store.reasons == ()
        assert await store.add(FILES[0], 0, memoryview(b"x")) is not None
        nursery.cancel_scope.cancel()
    await store.close()


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "x", folder]).returncode:
        pytest.skip("needs to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def test_a_disk_smaller_than_the_cap_is_lived_with(small_tmpfs: Path) -> None:
    figures = CacheFigures()
    store = await Store.open(CacheSettings(small_tmpfs / "cache", 64 * MiB, MinFree(0.0)), "x", figures)
    kept = 0
    for number in range(100):
        chunk = await store.add(FILES[0], number * MiB, memoryview(content(0))[:MiB])
        if chunk is not None:
            kept += 1
            assert await store.read(chunk.id, chunk.start, chunk.end) == content(0)[:MiB]
    assert kept > 90
    (small_tmpfs / "others").write_bytes(bytes(os.statvfs(small_tmpfs).f_bavail * 4096))
    for number in range(100, 110):
        await store.add(FILES[0], number * MiB, memoryview(content(0))[:MiB])
    await store.close()
    store = await Store.open(CacheSettings(small_tmpfs / "cache", 64 * MiB, MinFree(0.0)), "x", figures)
    for chunk in await store.chunks(FILES[0]):
        found = await store.read(chunk.id, chunk.start, chunk.end)  # None: evicted while no record could be written
        assert found is None or found == content(0)[:MiB]
    assert figures.corrupt_chunks == 0
    await store.close()
