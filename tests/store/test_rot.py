"""Bits rot, files are swapped, formats change: never a wrong byte, and the cache mends itself."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import pytest
import xxhash

from rangefs.core.figures import CacheFigures
from rangefs.core.settings import CacheSettings, MiB, MinFree
from rangefs.core.versions import Level, Version
from rangefs.store import check
from rangefs.store.layout import Layout
from rangefs.store.recovery import recover
from rangefs.store.store import Store
from tests.store.memory_disk import MemoryDisk, PowerLoss
from tests.store.oracle import CACHE, VERSIONS, content, examine
from tests.store.test_power_loss import record

A = Version(b"a", Level.STRONG, '"1"', 64 * MiB)
STEPS = [("add", number % 3, number * 7) for number in range(8)]


async def open_store(folder: Path) -> tuple[Store, CacheFigures]:
    figures = CacheFigures()
    return await Store.open(CacheSettings(folder, 64 * MiB, MinFree(0.0)), "http://x/", figures), figures


def copy_of(disk: MemoryDisk) -> MemoryDisk:
    loss = PowerLoss(disk.journal)
    for _ in loss.points():
        pass
    return loss.state(random.Random(0), 1.0)


@pytest.mark.parametrize("name", ["CURRENT", "snapshot-00000002", "log-00000002"])
def test_each_byte_of_the_manifest_may_rot(name: str) -> None:
    """Whatever is changed, all chunks are there afterwards (from the log, or from their own headers) and are right."""
    disk = record([*STEPS, ("commit", 0, 0), ("checkpoint", 0, 0), ("add", 3, 1), ("commit", 0, 0)])
    good = disk.files(CACHE)
    everything = readable(copy_of(disk))
    in_snapshot = frozenset(one for one in everything if one[0] != 3)
    (path,) = [path for path in good if path.name == name]
    for at in range(len(good[path])):
        damaged = copy_of(disk)
        inode = damaged._find(CACHE / path)
        assert inode is not None
        inode.data[at] ^= 0x41
        try:
            examine(damaged, frozenset(), strict=not name.startswith("log"))
        except AssertionError as error:
            raise AssertionError(f"byte {at} of {name}") from error
        version_field = name.startswith("snapshot") and at in (8, 9)  # then it is another format's, and set aside
        if not version_field:
            assert readable(damaged) >= (in_snapshot if name.startswith("log") else everything)


def readable(disk: MemoryDisk) -> frozenset[tuple[int, int, int]]:
    """What the books have after recovery, as ranges."""
    ledger = recover(disk, Layout(CACHE)).ledger
    return frozenset(
        (VERSIONS.index(ledger.objects.version(row)), chunk.start, chunk.start + chunk.length)
        for row in range(len(ledger.objects))
        for chunk in ledger.chunks_of(row)
    )


@pytest.mark.parametrize("name", ["CURRENT", "snapshot-", "log-"])
async def test_another_format_is_set_aside_never_misread(tmp_path: Path, name: str) -> None:
    store, _ = await open_store(tmp_path)
    assert await store.add(A, 0, memoryview(content(0))[:5000])
    await store.close()
    make_format_2(tmp_path, name)
    store, figures = await open_store(tmp_path)
    assert await store.chunks(A) == ()
    assert "set aside" in store.reasons[0]
    assert figures.chunks == 0
    assert kept_chunks(tmp_path) == 1
    chunk = await store.add(A, 0, memoryview(content(0))[:5000])
    assert chunk is not None
    await store.close()
    store, _ = await open_store(tmp_path)
    assert await store.read(chunk.id, 0, 5000) == content(0)[:5000]
    assert store.reasons == ()
    await store.close()


def make_format_2(folder: Path, name: str) -> None:
    if name == "CURRENT":
        text = re.sub(rb"cache 1", b"cache 2", (folder / name).read_bytes().split(b" xxh3")[0])
        (folder / name).write_bytes(text + b" xxh3 %016x\n" % xxhash.xxh3_64_intdigest(text))
        return
    (path,) = folder.glob(name + "*")
    raw = bytearray(path.read_bytes())
    raw[8] = 2
    if name == "log-":
        raw[24:32] = xxhash.xxh3_64_intdigest(bytes(raw[:24])).to_bytes(8, "little")
    path.write_bytes(raw)


def kept_chunks(folder: Path) -> int:
    return len(list((folder / "aside").glob("cache-*/chunks/*/*")))


async def test_swapped_chunk_files_are_refused(tmp_path: Path) -> None:
    store, _ = await open_store(tmp_path)
    data = content(1)
    chunks = [await store.add(A, start, memoryview(data)[start : start + 5000]) for start in (0, 5000)]
    await store.close()
    swap(*sorted((tmp_path / "chunks").glob("*/*")))
    store, figures = await open_store(tmp_path)
    for chunk in chunks:
        assert chunk is not None
        assert await store.read(chunk.id, chunk.start, chunk.end) is None
    assert figures.corrupt_chunks == 2
    await store.close()


def swap(one: Path, other: Path) -> None:
    third = one.with_name("third")
    one.rename(third)
    other.rename(one)
    third.rename(other)


async def test_another_folders_chunks_are_refused(tmp_path: Path) -> None:
    """The same names, ids and lengths, of another source: only the headers tell."""
    for name, source in (("one", "http://x/"), ("two", "http://y/")):
        store = await Store.open(CacheSettings(tmp_path / name, 64 * MiB, MinFree(0.0)), source, CacheFigures())
        chunk = await store.add(A, 0, memoryview(b"1" * 5000 if name == "one" else b"2" * 5000))
        await store.close()
    shutil.rmtree(tmp_path / "one" / "chunks")
    shutil.copytree(tmp_path / "two" / "chunks", tmp_path / "one" / "chunks")
    store, _ = await open_store(tmp_path / "one")
    assert chunk is not None
    assert await store.read(chunk.id, 0, 5000) is None
    await store.close()


async def test_bad_chunks_set_aside_are_few(tmp_path: Path) -> None:
    store, figures = await open_store(tmp_path)
    ids = [await store.add(A, number * 5000, memoryview(content(1))[:5000]) for number in range(10)]
    await store.close()
    spoil(tmp_path)
    store, figures = await open_store(tmp_path)
    for chunk in ids:
        assert chunk is not None
        assert await store.read(chunk.id, chunk.start, chunk.end) is None
    assert figures.corrupt_chunks == 10
    await store.close()
    assert len(list((tmp_path / "aside").glob("*"))) == 4
    assert check.verify(tmp_path).clean


def spoil(folder: Path) -> None:
    for path in (folder / "chunks").glob("*/*"):
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 0x80
        path.write_bytes(raw)
