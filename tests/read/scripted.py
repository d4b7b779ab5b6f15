"""A source in memory whose every answer a test can hold, cut, change or refuse."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import trio

from rangefs.core.entries import Listing
from rangefs.core.versions import Level, Stat, Version
from rangefs.errors import NotFound, RangefsError, RangesIgnored, Stale, Unreachable
from rangefs.sources.base import Ticket

PIECE = 64 << 10


@dataclass
class ScriptedBody:
    stat: Stat
    start: int
    end: int | None
    pieces: AsyncIterator[bytes]
    rest: bytes = b""

    async def readinto(self, buffer: memoryview) -> int:
        self.rest = self.rest or await anext(self.pieces, b"")
        count = min(len(buffer), len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


@dataclass
class ScriptedSource:
    """One file, `data`, whose version is `tag`.

    hold     bodies stop before this offset until `release` is set
    cut_at   the next body that passes this offset is cut off there, once
    refuse   the next fetches raise these, first one first
    ranges   False: the whole body whatever is asked
    bug      what reading a body raises, though no source should
    """

    data: bytes
    tag: str = '"1"'
    level: Level = Level.STRONG
    identity: str = "scripted"
    hold: int | None = None
    cut_at: int | None = None
    ranges: bool = True
    bug: Exception | None = None
    refuse: list[RangefsError] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)
    sent_bytes: int = 0
    release: trio.Event = field(default_factory=trio.Event)

    def version(self) -> Version:
        return Version(b"file", self.level, self.tag, len(self.data))

    async def connect(self) -> None:
        """Always there."""

    async def list(self, key: bytes) -> Listing:
        raise NotFound("no folders here")

    async def stat(self, key: bytes) -> Stat:
        return Stat(self.version(), None)

    def url(self, key: bytes) -> str:
        return "scripted://file"

    async def aclose(self) -> None:
        """Nothing is open."""

    @asynccontextmanager
    async def fetch(
        self, key: bytes, start: int, end: int, pin: Version | None, ticket: Ticket
    ) -> AsyncIterator[ScriptedBody]:
        self.asked.append((start, end))
        await trio.lowlevel.checkpoint()
        if self.refuse:
            failure = self.refuse.pop(0)
            raise failure  # held by its own frame, as in any real source that tries more than once
        if not self.ranges:
            raise RangesIgnored("no ranges")
        if pin is not None and pin != self.version():
            raise Stale("changed", Stat(self.version(), None))
        end = min(end, len(self.data))
        async with aclosing(self._pieces(self.data, start, end)) as pieces:
            yield ScriptedBody(Stat(self.version(), None), start, end, pieces)

    @asynccontextmanager
    async def fetch_whole(self, key: bytes, pin: Version | None, ticket: Ticket) -> AsyncIterator[ScriptedBody]:
        self.asked.append((0, len(self.data)))
        await trio.lowlevel.checkpoint()
        async with aclosing(self._pieces(self.data, 0, len(self.data))) as pieces:
            yield ScriptedBody(Stat(self.version(), None), 0, len(self.data), pieces)

    async def _pieces(self, data: bytes, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """A body is of the version that its head was of, however long its reader waits for memory first."""
        if self.bug is not None:
            raise self.bug
        while start < end:
            if self.hold is not None and start >= self.hold:
                await self.release.wait()
            stop = min(start + PIECE, end)
            if self.hold is not None and start < self.hold:
                stop = min(stop, self.hold)
            if self.cut_at is not None and start <= self.cut_at < stop:
                stop, self.cut_at = self.cut_at, None
                yield data[start:stop]
                raise Unreachable("cut off")
            await trio.lowlevel.checkpoint()
            self.sent_bytes += stop - start
            yield data[start:stop]
            start = stop
