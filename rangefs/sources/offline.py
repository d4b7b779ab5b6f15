"""A source that is never asked: ``--offline``. Only what the cache has is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from rangefs.core.entries import Listing
from rangefs.core.versions import Stat, Version
from rangefs.errors import Unreachable
from rangefs.sources.base import Body, Source, Ticket


class Offline:
    """`behind`, but for its answers: each question raises `Unreachable` at once, and nothing goes out."""

    def __init__(self, behind: Source) -> None:
        self.identity = behind.identity
        self._behind = behind

    async def connect(self) -> None:
        """Nothing to prove."""

    async def list(self, key: bytes) -> Listing:
        self._refuse()

    async def stat(self, key: bytes) -> Stat:
        self._refuse()

    @asynccontextmanager
    async def fetch(self, key: bytes, start: int, end: int, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        self._refuse()
        yield  # never reached: what makes it a generator

    @asynccontextmanager
    async def fetch_whole(self, key: bytes, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        self._refuse()
        yield

    def url(self, key: bytes) -> str:
        return self._behind.url(key)

    async def aclose(self) -> None:
        await self._behind.aclose()

    def _refuse(self) -> NoReturn:
        raise Unreachable("the mount is offline")
