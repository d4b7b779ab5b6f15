"""Reader, flights, budget and store against an oracle that knows each version's bytes.

A drawn run opens, reads, closes, evicts, changes the file, cuts and refuses bodies, in any order and side by side.
Each read gives bytes of its handle's own version, all of them, or an error; and when all is quiet no memory is held.
"""

from __future__ import annotations

import gc
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from rangefs.core.versions import Level, Version
from rangefs.errors import BadAnswer, Broken, RangefsError, Stale, Unreachable
from rangefs.read.blob import Blob
from rangefs.read.flight import Flight
from tests.read.conftest import Bench, MiB, bench

SIZE = 3 * MiB + 77
MEMORY = 2 * MiB
VERSIONS = [random.Random(seed).randbytes(SIZE) for seed in range(4)]


@dataclass(slots=True)
class Handle:
    """An open handle: its blob, and which versions' bytes it may show."""

    blob: Blob
    version: Version | None = None


offsets = st.integers(0, SIZE - 1) | st.sampled_from([0, 1 * MiB - 1, 1 * MiB, 2 * MiB, SIZE - 1])
lengths = st.integers(1, 300_000) | st.sampled_from([1, 4096, 65536, MiB, SIZE])
steps = st.one_of(
    st.tuples(st.just("open"), st.just(0), st.just(0)),
    st.tuples(st.just("read"), offsets, lengths),
    st.tuples(st.just("read"), offsets, lengths),
    st.tuples(st.just("several"), offsets, lengths),
    st.tuples(st.just("give up"), offsets, lengths),
    st.tuples(st.just("close"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("evict"), st.integers(0, 7), st.just(0)),
    st.tuples(st.just("change"), st.just(0), st.just(0)),
    st.tuples(st.just("cut"), offsets, st.just(0)),
    st.tuples(st.just("refuse"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("later"), st.integers(1, 5), st.just(0)),
    st.tuples(st.just("ranges"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("doubt"), st.integers(0, 3), st.just(0)),
)


class Run:
    """One drawn run over one bench."""

    def __init__(self, b: Bench) -> None:
        self.b = b
        self.handles: list[Handle] = []
        self.blobs: list[Blob] = []  # of handles that were closed, too: their last chunk may still be being written
        self.shown = 0

    async def step(self, what: str, first: int, second: int) -> None:
        await getattr(self, "do_" + what.replace(" ", "_"))(first, second)

    async def do_open(self, _: int, __: int) -> None:
        self.blobs.append(self.b.blob())
        self.handles.append(Handle(self.blobs[-1]))

    async def do_read(self, start: int, length: int, handle: Handle | None = None) -> None:
        if handle is None:
            if not self.handles:
                await self.do_open(0, 0)
            handle = self.handles[start % len(self.handles)]
        blob, end = handle.blob, min(start + length, SIZE)
        try:
            seen = await self.b.read(blob, start, end)
        except Broken:
            raise
        except RangefsError as error:
            if isinstance(error, Stale):
                self.b.reader.supersede(blob)
            return
        assert blob.version is not None, "bytes came from a version"
        if handle.version is None:
            handle.version = blob.version
            if blob.version.level.durable:
                self.b.store.opened(blob.version)
        assert blob.version == handle.version, "a handle is pinned to one version"
        wanted = VERSIONS[int(blob.version.validator.strip('"'))][start:end]
        assert seen == wanted, f"wrong bytes in [{start}, {end}) of {blob!r}"

    async def do_several(self, start: int, length: int) -> None:
        async with trio.open_nursery() as nursery:
            for n in range(4):
                nursery.start_soon(self.do_read, min(start + n * length // 2, SIZE - 1), length)

    async def do_give_up(self, start: int, length: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.do_read, start, length)
            for _ in range(start % 7):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    async def do_close(self, which: int, _: int) -> None:
        if self.handles:
            handle = self.handles.pop(which % len(self.handles))
            self.b.reader.close(handle.blob)
            if handle.version is not None:
                self.b.store.closed(handle.version)

    async def do_evict(self, which: int, _: int) -> None:
        for handle in self.handles:
            if handle.blob.version is not None:
                chunks = await self.b.store.chunks(handle.blob.version)
                await self.b.store.discard([chunk.id for chunk in chunks[which : which + 3]])

    async def do_change(self, _: int, __: int) -> None:
        self.shown = min(self.shown + 1, len(VERSIONS) - 1)
        self.b.source.data, self.b.source.tag = VERSIONS[self.shown], f'"{self.shown}"'

    async def do_cut(self, offset: int, _: int) -> None:
        self.b.source.cut_at = offset

    async def do_refuse(self, kind: int, _: int) -> None:
        self.b.source.refuse.append([Unreachable("down"), BadAnswer("odd"), Unreachable("busy")][kind])

    async def do_later(self, seconds: int, _: int) -> None:
        self.b.later_s += seconds

    async def do_ranges(self, has: int, _: int) -> None:
        self.b.source.ranges = bool(has)

    async def do_doubt(self, which: int, _: int) -> None:
        if self.handles:
            self.b.reader.doubt(self.handles[which % len(self.handles)].blob)

    def check(self) -> None:
        """What holds at every moment."""
        assert 0 <= self.b.figures.memory.buffers_bytes <= max(MEMORY, SIZE)
        held = 0
        for handle in self.handles:
            index = handle.blob.index
            index._check()
            for segment in index:
                assert 0 <= segment.start < segment.end <= SIZE
                if isinstance(segment.value, Flight):
                    assert segment.value.start <= segment.start
                    assert segment.end <= segment.value.end
                    held += 1
        assert held == 0 or self.b.figures.memory.buffers_bytes >= 0

    async def settle(self) -> None:
        """All that is under way has ended: nothing is held."""
        with trio.fail_after(20):
            while any(not blob.quiet for blob in self.blobs):
                await trio.sleep(0.002)
            for handle in list(self.handles):
                await self.do_close(0, 0)
                assert handle.blob.quiet
            await wait_all_tasks_blocked(0.01)
        assert self.b.figures.memory.buffers_bytes == 0, "memory is held though all is quiet and closed"
        self.blobs.clear()
        self.b.flights.buffers.take_back()
        assert self.b.flights.buffers.leased_bytes == 0, "garbage holds buffers until it is collected"


async def play(drawn: list[tuple[str, int, int]], level: Level, cache_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with bench(Path(folder), VERSIONS[0], memory_bytes=MEMORY, cache_bytes=cache_bytes) as b:
            b.source.tag, b.source.level = '"0"', level
            run = Run(b)
            for step in drawn:
                with trio.fail_after(30):
                    await run.step(*step)
                run.check()
            await run.settle()


@pytest.mark.parametrize("cache_bytes", [64 * MiB, 0])
@pytest.mark.parametrize("level", [Level.STRONG, Level.WEAK])
@settings(max_examples=20, deadline=None, database=None, print_blob=True)
@given(drawn=st.lists(steps, max_size=25))
def test_each_read_is_of_its_handles_version_and_nothing_is_held_in_the_end(
    drawn: list[tuple[str, int, int]], level: Level, cache_bytes: int
) -> None:
    gc.disable()
    try:
        trio.run(play, drawn, level, cache_bytes)
    finally:
        gc.enable()
