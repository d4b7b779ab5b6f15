"""Listings, compaction, and the commands that work on a cache with no mount running."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import trio
import trio.testing

from rangefs.core.figures import CacheFigures
from rangefs.core.settings import CacheSettings, KiB, MiB, MinFree
from rangefs.core.versions import Level, Stat, Version
from rangefs.store import check
from rangefs.store.store import Store, StoredChunk

A = Version(b"a", Level.STRONG, '"1"', 64 * MiB)
B = Version(b"b", Level.IMMUTABLE, "77", 64 * MiB)


async def open_store(folder: Path, size: int = 64 * MiB) -> tuple[Store, CacheFigures]:
    figures = CacheFigures()
    return await Store.open(CacheSettings(folder, size, MinFree(0.0)), "http://x/", figures), figures


async def test_listings_are_kept_over_a_remount(tmp_path: Path) -> None:
    store, _ = await open_store(tmp_path)
    await store.save_listing(b"dir/", b"payload" * 1000, 12.5)
    await store.save_listing(b"dir/", b"newer", 13.5)
    assert await store.load_listing(b"dir/") == (b"newer", 13.5)
    await store.close()
    store, _ = await open_store(tmp_path)
    assert await store.load_listing(b"dir/") == (b"newer", 13.5)
    assert await store.load_listing(b"other/") is None
    await store.close()


async def test_a_damaged_listing_is_none(tmp_path: Path) -> None:
    store, _ = await open_store(tmp_path)
    await store.save_listing(b"dir/", b"payload" * 1000, 12.5)
    (path,) = (tmp_path / "listings").iterdir()
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert await store.load_listing(b"dir/") is None
    await store.close()


async def test_listings_take_a_tenth_at_most(tmp_path: Path) -> None:
    store, figures = await open_store(tmp_path, 4 * MiB)
    for number in range(100):
        await store.save_listing(b"%d" % number, os.urandom(20_000), 1.0)
    total = sum(path.stat().st_size for path in (tmp_path / "listings").iterdir())
    assert 200 * KiB < total < 410 * KiB
    assert figures.bytes < 600 * KiB
    assert await store.load_listing(b"99") is not None
    assert await store.load_listing(b"0") is None
    await store.close()


async def test_small_neighbours_become_one_chunk(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    store, figures = await open_store(tmp_path)
    replaced: dict[int, StoredChunk] = {}
    store.on_replace = lambda _, ids, chunk: replaced.update(dict.fromkeys(ids, chunk))
    store.on_drop = lambda _, ids: pytest.fail("nothing left")
    data = os.urandom(40 * 64 * KiB)
    ids = []
    for number in reversed(range(40)):
        start = number * 64 * KiB
        chunk = await store.add(A, start, memoryview(data)[start : start + 64 * KiB])
        assert chunk is not None
        ids.append(chunk.id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        with trio.fail_after(60):
            while figures.chunks > 10:
                await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    chunk, *rest = await store.chunks(A)
    assert len(rest) == 40 - len(replaced) == 6
    assert set(replaced) == set(ids[6:])
    assert set(replaced.values()) == {chunk}
    assert await store.read(ids[-1], 0, 64 * KiB) == data[: 64 * KiB]  # a read that was under way
    assert await store.read(chunk.id, 0, chunk.end) == data[: chunk.end]
    assert figures.written_bytes < 2 * len(data)
    await store.close()
    assert len(list((tmp_path / "chunks").glob("*/*"))) == 7
    store, _ = await open_store(tmp_path)
    assert await store.chunks(A) == (chunk, *rest)
    assert await store.read(chunk.id, 0, chunk.end) == data[: chunk.end]
    await store.close()


async def test_merging_stays_within_its_budget(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    store, figures = await open_store(tmp_path)
    added = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        for round_number in range(4):
            for number in range(16):
                start = (round_number * 16 + number) * 16 * KiB
                assert await store.add(A, start, memoryview(os.urandom(16 * KiB)))
                added += 16 * KiB
            await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert figures.chunks < 40
    assert figures.written_bytes < 2 * added
    await store.close()


async def filled(folder: Path) -> list[StoredChunk]:
    store, _ = await open_store(folder)
    await store.note(Stat(A, 5), 100.0)
    chunks = [await store.add(A, number * MiB, memoryview(os.urandom(50_000))) for number in range(4)]
    chunks += [await store.add(B, 0, memoryview(b"b" * 100))]
    await store.pin(B)
    await store.close()
    return [chunk for chunk in chunks if chunk is not None]


async def test_verify_of_a_good_cache_is_clean(tmp_path: Path) -> None:
    await filled(tmp_path)
    report = check.verify(tmp_path)
    assert report.clean
    assert (report.chunks, report.bytes) == (5, 200_100)
    assert check.verify(tmp_path).clean


async def test_verify_finds_and_repairs_damage(tmp_path: Path) -> None:
    first, second, third, *_ = await filled(tmp_path)
    paths = {int(path.name, 16): path for path in (tmp_path / "chunks").glob("*/*")}
    raw = bytearray(paths[first.id].read_bytes())
    raw[-1] ^= 1
    paths[first.id].write_bytes(raw)
    paths[second.id].unlink()
    paths[third.id].with_name("fff").write_bytes(b"what is this")
    report = check.verify(tmp_path)
    assert not report.clean
    assert list(report.bad) == [str(paths[first.id].relative_to(tmp_path))]
    assert report.missing == [second.id]
    assert report.unknown == ["chunks/0/fff"]
    assert not check.verify(tmp_path).clean
    assert check.verify(tmp_path, repair=True).repaired
    assert check.verify(tmp_path).clean
    store, _ = await open_store(tmp_path)
    assert len(await store.chunks(A)) == 2
    await store.close()


def lose(folder: Path, name: str) -> None:
    for path in list(folder.iterdir()):
        if path.name.startswith(name) or (name.startswith("every") and path.name != "chunks"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("loss", ["CURRENT", "snapshot", "log", "everything but the chunks"])
async def test_a_lost_manifest_is_made_anew_from_the_chunks(tmp_path: Path, loss: str) -> None:
    await filled(tmp_path)
    lose(tmp_path, loss)
    assert not check.verify(tmp_path).clean
    report = check.verify(tmp_path, rebuild=True)
    assert report.repaired
    assert report.chunks == 5
    assert check.verify(tmp_path).clean
    assert {(kept.version, kept.cached_bytes) for kept in check.listing(tmp_path)} == {(A, 200_000), (B, 100)}


async def test_listing_names_what_is_kept(tmp_path: Path) -> None:
    await filled(tmp_path)
    one, two = check.listing(tmp_path)
    assert (one.source, one.version, one.mtime_ns, one.validated_at_s, one.chunks) == ("http://x/", A, 5, 100.0, 4)
    assert (two.version, two.cached_bytes, two.pinned) == (B, 100, True)


async def test_gc_removes_what_nobody_names(tmp_path: Path) -> None:
    await filled(tmp_path)
    (tmp_path / "chunks" / "0" / "stray").write_bytes(b"x" * 5000)
    (tmp_path / "aside" / "chunk-9").write_bytes(b"x")
    assert check.gc(tmp_path) == check.Cleared(2, 3 * 4096)
    assert check.verify(tmp_path).clean
