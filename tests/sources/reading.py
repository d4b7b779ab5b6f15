"""What tests of sources ask for again and again: an open source, a whole body, a tree walked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from rangefs.core.entries import Entry, Kind
from rangefs.core.figures import UpstreamFigures
from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Version
from rangefs.sources.base import Body, Source, Ticket, read_all
from rangefs.sources.registry import open_source


@asynccontextmanager
async def opened(
    url: str, settings: UpstreamSettings | None = None, figures: UpstreamFigures | None = None, connect: bool = True
) -> AsyncIterator[Source]:
    source = open_source(url, settings or UpstreamSettings(), figures or UpstreamFigures())
    try:
        if connect:
            await source.connect()
        yield source
    finally:
        await source.aclose()


async def read_body(opening: AbstractAsyncContextManager[Body]) -> bytes:
    async with opening as body:
        found = await read_all(body, 1 << 40)
        assert found is not None
        return found


async def read_range(source: Source, key: bytes, start: int, end: int, pin: Version | None = None) -> bytes:
    return await read_body(source.fetch(key, start, end, pin, Ticket()))


async def read_whole(source: Source, key: bytes, pin: Version | None = None) -> bytes:
    return await read_body(source.fetch_whole(key, pin, Ticket()))


async def walked(
    source: Source, folder: bytes = b"", skip: bytes | None = None
) -> AsyncIterator[tuple[tuple[bytes, ...], Entry]]:
    """Every file below `folder`: its path as names, and its entry. Folders named `skip` are left out."""
    for entry in (await source.list(folder)).entries:
        if entry.name == skip:
            continue
        if entry.kind is Kind.FOLDER:
            async for path, file in walked(source, entry.key, skip):
                yield (entry.name, *path), file
        else:
            yield (entry.name,), entry
