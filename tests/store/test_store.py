"""The store on a real folder: what a reader relies on."""

from __future__ import annotations

import errno
import mmap
import os
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import xxhash

from rangefs import errors
from rangefs.core.figures import CacheFigures
from rangefs.core.settings import CacheSettings, MiB, MinFree
from rangefs.core.versions import Level, Stat, Version
from rangefs.store.disk import Disk
from rangefs.store.store import Store

A = Version(b"a/file", Level.STRONG, '"one"', 40 * MiB)
B = Version(b"b", Level.DATE, "Mon, 23 Nov 2026 10:00:00 GMT", 10 * MiB)
WEAK = Version(b"w", Level.WEAK, 'W/"x"', 1000)


def pattern(version: Version, start: int, length: int) -> bytes:
    """The bytes that `version` has at ``[start, start + length)``: each tells where it is from."""
    seed = xxhash.xxh3_64_intdigest(repr(version).encode())
    first, last = start // 8, (start + length) // 8 + 1
    words = array("Q", ((seed + at * 0x9E3779B97F4A7C15) & 0xFFFF_FFFF_FFFF_FFFF for at in range(first, last)))
    return words.tobytes()[start - first * 8 :][:length]


@asynccontextmanager
async def opened(
    folder: Path, size: int = 64 * MiB, run: bool = False, disk: Disk | None = None
) -> AsyncIterator[tuple[Store, CacheFigures]]:
    figures = CacheFigures()
    settings = CacheSettings(folder, size, MinFree(0.0))
    store = await Store.open(settings, "http://x/", figures, disk)
    async with trio.open_nursery() as nursery:
        if run:
            nursery.start_soon(store.run)
        yield store, figures
        nursery.cancel_scope.cancel()
    await store.close()


def on_disk(folder: Path) -> tuple[int, int]:
    """Sizes and blocks of everything in the folder, bytes."""
    found = [folder.lstat()] + [path.lstat() for path in folder.rglob("*")]
    return sum(-(-stat.st_size // 4096) * 4096 for stat in found), sum(stat.st_blocks * 512 for stat in found)


async def test_added_bytes_are_read_back(tmp_path: Path) -> None:
    async with opened(tmp_path / "cache") as (store, figures):
        data = pattern(A, 100_000, 70_000)
        chunk = await store.add(A, 100_000, [memoryview(data[:5]), memoryview(data[5:])])
        assert chunk is not None
        assert (chunk.start, chunk.end) == (100_000, 170_000)
        for start, end in [(100_000, 170_000), (100_001, 100_002), (169_999, 170_000), (116_384, 132_768)]:
            wanted = data[start - 100_000 : end - 100_000]
            assert bytes(await store.read(chunk.id, start, end) or b"") == wanted
            assert bytes(store.read_nowait(chunk.id, start, end) or b"") == wanted
        assert figures.chunks == 1
        assert figures.objects == 1


class NoHints(Disk):
    """A file system that takes no hints."""

    def will_need(self, fd: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")


@pytest.mark.parametrize("disk", [Disk, NoHints])
async def test_chunks_brought_near_are_read_without_waiting_and_a_bad_one_is_left_to_who_reads_it(
    tmp_path: Path, disk: type[Disk]
) -> None:
    data = pattern(A, 0, 300_000)
    async with opened(tmp_path / "cache") as (store, _):
        added = [await store.add(A, at, memoryview(data)[at : at + 100_000]) for at in (0, 100_000, 200_000)]
    ids = [chunk.id for chunk in added if chunk is not None]
    next((tmp_path / "cache" / "chunks").glob(f"*/{ids[1]:x}")).write_bytes(b"rot")
    async with opened(tmp_path / "cache", disk=disk()) as (store, figures):
        dropped: list[int] = []
        store.on_drop = lambda _, gone: dropped.extend(gone)
        assert store.read_nowait(ids[0], 0, 1000) is None
        await store.bring_near([*ids, 999_999])
        assert bytes(store.read_nowait(ids[0], 0, 1000) or b"") == data[:1000]
        assert not store.was_read_out(ids[2])
        assert bytes(store.read_nowait(ids[2], 299_000, 300_000) or b"") == data[299_000:]
        assert store.was_read_out(ids[2])
        assert store.read_nowait(ids[1], 100_000, 101_000) is None
        assert (dropped, figures.corrupt_chunks) == ([], 0)
        assert await store.read(ids[1], 100_000, 101_000) is None
        assert (dropped, figures.corrupt_chunks) == ([ids[1]], 1)


class NothingDirect(Disk):
    """A file system without direct writes."""

    def set_direct(self, fd: int, direct: bool) -> None:
        if direct:
            raise OSError(errno.EINVAL, "Invalid argument")


@pytest.mark.parametrize("disk", [Disk, NothingDirect])
@pytest.mark.parametrize("shift", [0, 1])  # 1: memory that is not aligned
@pytest.mark.parametrize("length", [4096, 4097, 300_000, 1 << 20])
async def test_a_chunk_written_past_the_page_cache_is_the_same_chunk(
    tmp_path: Path, length: int, shift: int, disk: type[Disk]
) -> None:
    memory = memoryview(mmap.mmap(-1, length + shift))[shift:]
    memory[:] = pattern(A, 0, length)
    async with opened(tmp_path / "cache", disk=disk()) as (store, _):
        direct = await store.add(A, 0, memory, direct=True)
        assert direct is not None
        assert bytes(await store.read(direct.id, 0, length) or b"") == memory
    async with opened(tmp_path / "plain", disk=disk()) as (store, _):
        assert await store.add(A, 0, memory) is not None
    one, other = (next((tmp_path / folder).rglob("chunks/*/*")).read_bytes() for folder in ("cache", "plain"))
    assert one == other


async def test_bytes_are_there_after_a_remount(tmp_path: Path) -> None:
    data = pattern(A, 0, 300_000)
    async with opened(tmp_path / "cache") as (store, _):
        await store.note(Stat(A, 77), 1000.0)
        added = await store.add(A, 0, memoryview(data))
    async with opened(tmp_path / "cache") as (store, figures):
        found = await store.find(A.key)
        assert found is not None
        assert added is not None
        assert (found.version, found.mtime_ns, found.validated_at_s) == (A, 77, 1000.0)
        assert found.chunks == (added,)
        assert bytes(await store.read(added.id, 5, 299_999) or b"") == data[5:299_999]
        assert figures.corrupt_chunks == 0
        assert await store.find(b"other") is None


async def test_another_source_does_not_see_them(tmp_path: Path) -> None:
    async with opened(tmp_path / "cache") as (store, _):
        await store.add(A, 0, memoryview(b"x" * 100))
    store = await Store.open(CacheSettings(tmp_path / "cache"), "http://other/", CacheFigures())
    assert await store.find(A.key) is None
    assert await store.chunks(A) == ()
    await store.close()


async def test_a_second_owner_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    async with opened(tmp_path / "cache"):
        with pytest.raises(errors.CacheLocked, match=str(os.getpid())):
            await Store.open(CacheSettings(tmp_path / "cache"), "x", CacheFigures())


async def test_a_link_to_a_folder_is_a_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "real")
    async with opened(tmp_path / "cache") as (store, _):
        assert store.reasons == ()
        assert await store.add(A, 0, memoryview(b"x" * 100))
    async with opened(tmp_path / "real") as (store, _):
        assert len(await store.chunks(A)) == 1


async def test_folder_and_files_are_private(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o755)
    async with opened(tmp_path / "cache") as (store, _):
        await store.add(A, 0, memoryview(b"x" * 100))
        for path in [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]:
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("cap", [1 * MiB, 4 * MiB, 16 * MiB, 64 * MiB])
async def test_the_cap_holds(tmp_path: Path, cap: int) -> None:
    folder = tmp_path / "cache"
    dropped: list[int] = []
    async with opened(folder, cap) as (store, figures):
        store.on_drop = lambda _, ids: dropped.extend(ids)
        kept = 0
        for number in range(100):
            chunk = await store.add(A, number * cap // 20, memoryview(os.urandom(cap // 20)))
            kept += chunk is not None
            assert max(on_disk(folder)) <= cap
            assert figures.bytes <= cap
        assert kept == 100
        assert figures.chunks == 100 - len(dropped)
        assert figures.chunks > 10


async def test_ephemeral_bytes_go_with_the_last_handle(tmp_path: Path) -> None:
    async with opened(tmp_path / "cache", run=True) as (store, figures):
        store.opened(WEAK)
        chunk = await store.add(WEAK, 0, memoryview(b"w" * 1000))
        assert chunk is not None
        assert await store.read(chunk.id, 0, 1000) == b"w" * 1000
        store.closed(WEAK)
        with trio.fail_after(5):
            while figures.chunks:
                await trio.sleep(0.05)
    assert not [path for path in (tmp_path / "cache" / "passing").rglob("*") if path.is_file()]


async def test_ephemeral_bytes_are_gone_after_a_crash(tmp_path: Path) -> None:
    async with opened(tmp_path / "cache") as (store, _):
        store.opened(WEAK)
        assert await store.add(WEAK, 0, memoryview(b"w" * 1000))
    async with opened(tmp_path / "cache") as (store, _):
        assert await store.chunks(WEAK) == ()
        assert not [path for path in (tmp_path / "cache" / "passing").rglob("*") if path.is_file()]


async def test_a_new_version_puts_the_old_one_out(tmp_path: Path) -> None:
    newer = Version(A.key, Level.STRONG, '"two"', A.size)
    async with opened(tmp_path / "cache") as (store, figures):
        await store.note(Stat(A, None), 1.0)
        old = await store.add(A, 0, memoryview(b"old"))
        await store.note(Stat(newer, None), 10.0)
        assert figures.chunks == 0
        assert old is not None
        assert await store.read(old.id, 0, 3) is None
        found = await store.find(A.key)
        assert found is not None
        assert found.version == newer


async def test_pinned_chunks_stay_whatever_comes(tmp_path: Path) -> None:
    async with opened(tmp_path / "cache", 4 * MiB) as (store, figures):
        await store.pin(B)
        pinned = await store.add(B, 0, memoryview(os.urandom(MiB)))
        assert pinned is not None
        for number in range(20):
            assert await store.add(A, number * MiB, memoryview(os.urandom(MiB)))
        assert await store.read(pinned.id, 0, 10) is not None
        assert figures.pinned_bytes >= MiB
    async with opened(tmp_path / "cache", 4 * MiB) as (store, _):
        for number in range(20):
            await store.add(A, number * MiB, memoryview(os.urandom(MiB)))
        assert await store.read(pinned.id, 0, 10) is not None
        await store.unpin(B)
        for _ in range(2):
            store.opened(A)  # what is used again moves the hand on, round to the oldest
            for number in range(20):
                await store.add(A, number * MiB, memoryview(os.urandom(MiB)))
            store.closed(A)
        assert await store.read(pinned.id, 0, 10) is None


Damage = Callable[[Path], None]


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-5000] ^= 1
    path.write_bytes(raw)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [flip, cut, zero, empty, remove])
@pytest.mark.parametrize("remount", [True, False])
async def test_a_damaged_chunk_is_never_served(tmp_path: Path, damage: Damage, remount: bool) -> None:
    folder = tmp_path / "cache"
    data = os.urandom(50_000)
    dropped: list[int] = []
    async with opened(folder) as (store, figures):
        chunk = await store.add(A, 0, memoryview(data))
        assert chunk is not None
        if not remount:
            (path,) = (folder / "chunks").glob("*/*")
            damage(path)
            store.on_drop = lambda _, ids: dropped.extend(ids)
            found = await store.read(chunk.id, 0, 50_000)
            assert found is None or (damage is remove and found == data)
            assert figures.corrupt_chunks == (damage is not remove)
            return
    (path,) = (folder / "chunks").glob("*/*")
    damage(path)
    async with opened(folder) as (store, figures):
        store.on_drop = lambda _, ids: dropped.extend(ids)
        assert store.read_nowait(chunk.id, 0, 50_000) is None
        assert await store.read(chunk.id, 0, 50_000) is None
        assert dropped == [chunk.id]
        assert await store.chunks(A) == ()
        again = await store.add(A, 0, memoryview(data))
        assert again is not None
        assert await store.read(again.id, 0, 50_000) == data
