"""A process that owns a store is killed with SIGKILL at random moments: nothing older than its last answer is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from rangefs.core.figures import CacheFigures
from rangefs.core.settings import CacheSettings, MiB, MinFree
from rangefs.core.versions import Level, Version
from rangefs.store.store import Store

VICTIM = """
import random, sys, time, trio
from pathlib import Path
from rangefs.core.figures import CacheFigures
from rangefs.core.settings import CacheSettings, MinFree
from rangefs.core.versions import Level, Stat, Version
from rangefs.store.store import Store

folder, seed, cap = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

async def worker(store, draw, name):
    version = Version(name, Level.STRONG, '"1"', 1 << 40)
    at = draw.randrange(1 << 20) << 20
    while True:
        length = draw.choice([1, 4096, 65536, 300_000])
        data = draw.randbytes(length)
        chunk = await store.add(version, at, memoryview(data))
        if chunk is not None:
            sys.stdout.buffer.write(b"%s %d %d %d %s\\n" % (name, chunk.id, at, at + length, data[:8].hex().encode()))
            sys.stdout.buffer.flush()
        at += length
        if draw.random() < 0.05:
            await store.note(Stat(version, 1), time.time())

async def main():
    store = await Store.open(CacheSettings(folder, cap, MinFree(0.0)), "http://x/", CacheFigures())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        for number in range(4):
            nursery.start_soon(worker, store, random.Random(seed * 10 + number), b"k%d" % number)

trio.run(main)
"""

KILLS = 200 if os.environ.get("RANGEFS_LONG") else 20


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(KILLS // 5))
def test_what_was_answered_survives_sigkill(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "cache"
    draw = random.Random(seed)
    cap = draw.choice([8 * MiB, 512 * MiB])
    known: dict[int, tuple[bytes, int, int, str]] = {}
    for kill in range(5):
        victim = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(folder), str(seed * 100 + kill), str(cap)], stdout=subprocess.PIPE
        )
        assert victim.stdout is not None
        first = victim.stdout.readline()
        time.sleep(draw.random() * 0.2)
        victim.send_signal(signal.SIGKILL)
        rest = victim.stdout.read()
        victim.wait()
        victim.stdout.close()
        for line in (first + rest).split(b"\n")[:-1]:
            name, chunk_id, start, end, front = line.split()
            known[int(chunk_id)] = (name, int(start), int(end), front.decode())
        trio.run(verify, folder, cap, known)


async def verify(folder: Path, cap: int, known: dict[int, tuple[bytes, int, int, str]]) -> None:
    figures = CacheFigures()
    store = await Store.open(CacheSettings(folder, cap, MinFree(0.0)), "http://x/", figures)
    found = {}
    for name in {entry[0] for entry in known.values()}:
        for chunk in await store.chunks(Version(name, Level.STRONG, '"1"', 1 << 40)):
            data = await store.read(chunk.id, chunk.start, chunk.end)
            assert data is not None
            found[chunk.id] = (name, chunk.start, chunk.end, bytes(data[:8]).hex())
    assert figures.corrupt_chunks == 0
    assert figures.dropped_chunks == 0
    for chunk_id, entry in found.items():
        assert known.get(chunk_id, entry) == entry
    if cap > 100 * MiB:
        assert set(known) <= set(found)
    check_files(folder, set(found), figures.bytes, cap)
    await store.close()


def check_files(folder: Path, chunk_ids: set[int], booked: int, cap: int) -> None:
    """No file that the books don't know, and no byte."""
    assert {int(path.name, 16) for path in (folder / "chunks").glob("*/*")} == chunk_ids
    total = sum(-(-path.lstat().st_size // 4096) * 4096 for path in folder.rglob("*"))
    assert total + 4096 <= booked <= cap
