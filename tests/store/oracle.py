"""Which bytes each version has, and what must hold of a cache folder after recovery."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import trio

from rangefs.core.chunkfile import ChunkName
from rangefs.core.versions import Level, Version
from rangefs.store import shelf
from rangefs.store.disk import pages
from rangefs.store.layout import Layout, hex_name
from rangefs.store.recovery import recover
from rangefs.store.threads import Threads
from tests.store.memory_disk import MemoryDisk

CACHE = Path("/cache")
SOURCE = "http://x/"
VERSIONS = [Version(b"k%d" % number, Level.STRONG, f'"{number}"', 1 << 30) for number in range(4)]

Range = tuple[int, int, int]  # index of the version, start, end


@cache
def content(index: int) -> bytes:
    return random.Random(index).randbytes(1 << 20)


async def run_inline(self: Threads, work: Callable[[], object], *, for_reader: bool = False) -> object:
    """In the place of `Threads.run`: the same work at once, so that a run takes no longer than it must, and is the
    same each time."""
    await trio.lowlevel.checkpoint()
    return work()


class Broken(AssertionError):
    """A promise does not hold in some state."""


def examine(disk: MemoryDisk, must_have: frozenset[Range], strict: bool = True) -> None:
    """Recover on `disk` and hold it to the promises. Raises `Broken`."""
    layout = Layout(CACHE)
    if disk._find(CACHE) is None:
        if must_have:
            raise Broken("the folder is gone")
        return
    for name in ("chunks", "passing", "staging", "listings", "aside"):
        if disk._find(CACHE / name) is None:
            disk.mkdir(CACHE / name)
    found = recover(disk, layout)
    ledger = found.ledger
    ledger.check()
    have: dict[int, list[tuple[int, int]]] = {}
    booked = 0
    for row in range(len(ledger.objects)):
        version = ledger.objects.version(row)
        for chunk in list(ledger.chunks_of(row)):
            booked += chunk.pages
            name = ChunkName(chunk.chunk_id, SOURCE, version, None, chunk.start, chunk.length)
            try:
                opened = shelf.open_chunk(disk, layout, name)
                data = shelf.read_chunk(disk, opened, opened.start, opened.end)
            except (shelf.BadChunk, OSError):
                continue
            index = VERSIONS.index(version)
            if data != content(index)[chunk.start : chunk.start + chunk.length]:
                raise Broken(f"wrong bytes in chunk {chunk.chunk_id}")
            have.setdefault(index, []).append((chunk.start, chunk.start + chunk.length))
    if must_have and found.reasons:
        raise Broken(f"not recovered but made anew: {found.reasons}")
    for index, start, end in must_have:
        if not covered(have.get(index, []), start, end):
            raise Broken(f"{start}-{end} of {index} is lost")
    if strict:
        known = {chunk_id for chunk_id in ledger.chunks.ids if ledger.chunk(chunk_id)}
        check_files(disk, ledger.next_id, booked, known)


def check_files(disk: MemoryDisk, next_id: int, booked: int, known: set[int]) -> None:
    on_disk = 0
    for path, data in disk.files(CACHE).items():
        if path.parts[0] == "chunks":
            chunk_id = hex_name(path.name)
            assert chunk_id is not None
            if chunk_id not in known:
                raise Broken(f"nobody knows of {path}")
            if chunk_id >= next_id:
                raise Broken(f"the id of {path} would be given out again")
            on_disk += pages(len(data))
        elif path.parts[0] in ("staging", "passing"):
            raise Broken(f"{path} was left behind")
    if on_disk > booked:
        raise Broken(f"{on_disk} pages on disk, {booked} in the books")


def covered(ranges: list[tuple[int, int]], start: int, end: int) -> bool:
    for low, high in sorted(ranges):
        if low <= start < high:
            start = high
    return start >= end
