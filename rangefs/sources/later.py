"""A source that could not be reached when its mount began: whoever asks first connects it.

What `Source.connect` finds out (a folder or a file? redirected to where? in which
region?) must be known before anything else can be asked. So each question
connects first, until that has succeeded once; one attempt is for all who wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from rangefs.core.entries import Entry, Listing
from rangefs.core.versions import Stat, Version
from rangefs.errors import RangefsError
from rangefs.sources.base import Body, Finder, Source, Ticket


class Later:
    """`behind`, whose `connect` has not succeeded yet. Each method also raises what connecting raises."""

    def __init__(self, behind: Source) -> None:
        self.identity = behind.identity
        self._behind = behind
        self._connected = False
        self._connecting = trio.Lock()
        self._failures = 0
        self._failure: RangefsError | None = None

    def __repr__(self) -> str:
        return f"<Later {self._behind!r}, {'connected' if self._connected else 'not connected yet'}>"

    async def connect(self) -> None:
        """Once; at once where that has been done. Nobody gets the listing. Cancelled: whoever waits next tries."""
        if self._connected:
            return
        seen = self._failures
        async with self._connecting:
            if self._connected:
                return
            if self._failure is not None and self._failures != seen:  # somebody has just tried, for us too
                raise self._failure
            try:
                await self._behind.connect()
            except RangefsError as error:
                self._failures, self._failure = self._failures + 1, error
                raise
            self._connected = True

    async def list(self, key: bytes) -> Listing:
        await self.connect()
        return await self._behind.list(key)

    async def stat(self, key: bytes) -> Stat:
        await self.connect()
        return await self._behind.stat(key)

    def fetch(
        self, key: bytes, start: int, end: int, pin: Version | None, ticket: Ticket
    ) -> AbstractAsyncContextManager[Body]:
        if self._connected:
            return self._behind.fetch(key, start, end, pin, ticket)
        return self._first_fetch(key, start, end, pin, ticket)

    @asynccontextmanager
    async def _first_fetch(
        self, key: bytes, start: int, end: int, pin: Version | None, ticket: Ticket
    ) -> AsyncIterator[Body]:
        await self.connect()
        async with self._behind.fetch(key, start, end, pin, ticket) as body:
            yield body

    @asynccontextmanager
    async def fetch_whole(self, key: bytes, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        await self.connect()
        async with self._behind.fetch_whole(key, pin, ticket) as body:
            yield body

    def url(self, key: bytes) -> str:
        return self._behind.url(key)

    async def aclose(self) -> None:
        await self._behind.aclose()


class FindingLater(Later):
    """Where `behind` is a `Finder`."""

    def __init__(self, behind: Source, finder: Finder) -> None:
        super().__init__(behind)
        self._finder = finder

    async def find(self, folder: bytes, name: bytes) -> Entry | None:
        await self.connect()
        return await self._finder.find(folder, name)


def later(behind: Source) -> Source:
    """`behind`, to be connected by the first question that gets through."""
    return FindingLater(behind, behind) if isinstance(behind, Finder) else Later(behind)
