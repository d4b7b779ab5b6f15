"""A reader over a scripted source and a real store."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from rangefs.core.entries import Entry, Kind
from rangefs.core.figures import Figures
from rangefs.core.settings import CacheSettings, MinFree
from rangefs.read.blob import Blob
from rangefs.read.flights import Flights
from rangefs.read.reader import Reader
from rangefs.store.store import Store
from tests.read.scripted import ScriptedSource

MiB = 1 << 20


@dataclass
class Bench:
    source: ScriptedSource
    store: Store
    flights: Flights
    reader: Reader
    figures: Figures
    nursery: trio.Nursery
    later_s: float = 0.0  # how far the reader's clock is ahead of the loop's

    def clock(self) -> float:
        return trio.current_time() + self.later_s

    def blob(self) -> Blob:
        """The file, as a listing has it."""
        return Blob(Entry(b"file", Kind.FILE, b"file", size=len(self.source.data)), None)

    async def read(self, blob: Blob, start: int, end: int) -> bytes:
        """As the mount does: what is here at once, else wait."""
        data = self.reader.read_nowait(blob, start, end)
        return bytes(data if data is not None else await self.reader.read(blob, start, end))


@asynccontextmanager
async def bench(
    folder: Path, data: bytes, memory_bytes: int = 64 * MiB, cache_bytes: int = 256 * MiB, timeout_s: float = 20
) -> AsyncIterator[Bench]:
    figures, source = Figures(), ScriptedSource(data)
    settings = CacheSettings(folder, size_bytes=cache_bytes, min_free=MinFree(0.0, 0))
    store = await Store.open(settings, "test", figures.cache)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run)
            flights = Flights(source, store, nursery, figures, memory_bytes, timeout_s)
            reader = Reader(flights, store, nursery, figures, timeout_s, max_full_bytes=64 * MiB)
            bench = Bench(source, store, flights, reader, figures, nursery)
            flights.clock = reader._clock = bench.clock
            yield bench
            nursery.cancel_scope.cancel()
    finally:
        await store.close()


@pytest.fixture(scope="session")
def content() -> bytes:
    return random.Random(1).randbytes(12 * MiB + 123)
