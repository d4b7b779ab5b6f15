"""``catalog+https://…`` and ``catalog+file:///…``: a list of files, wherever they are, as one tree.

What a catalog says of a file is what is shown, and an answer that contradicts
its size or ETag is an error, not a newer version: the list is the truth here.

A given hash is checked over the whole file, before a byte of it is served: a
file of up to `VERIFY_BYTES` is fetched whole for that, once, and its version is
the hash itself, so that any mirror may answer. A larger file is read by ranges
under its server's own validator, and its hash is not checked.

A catalog is somebody's list of addresses: it can't send us to private ones
unless it is from such a place itself, and secrets go to its own origin, those
of ``--netrc`` to the hosts that are named there.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote_to_bytes

import trio

from rangefs.core.digests import Digest, name_of
from rangefs.core.entries import Listing
from rangefs.core.figures import UpstreamFigures
from rangefs.core.listing.catalog import CatalogFile
from rangefs.core.redact import redact_url
from rangefs.core.settings import MiB, UpstreamSettings
from rangefs.core.validators import is_etag
from rangefs.core.versions import Level, Stat, Version
from rangefs.errors import BadAnswer, Denied, NotFound, RangefsError, RangesIgnored, Stale, Unreachable
from rangefs.sources.base import Body, Ticket
from rangefs.sources.catalog_credentials import CatalogBearer
from rangefs.sources.catalog_list import CatalogList, listed_in_file, listed_on_web
from rangefs.sources.exchange import Exchange
from rangefs.sources.objects import ObjectSource
from rangefs.sources.redirects import Doors
from rangefs.sources.urls import Origin, Url, parse_url
from rangefs.sources.verified import SpooledBody, spool

T = TypeVar("T")

# Whole before the first byte: so much has to come within the read's deadline (60 s: 4.5 Mbit/s), and the space of
# some at a time is there on any disk.
VERIFY_BYTES = 32 * MiB
SPOOLS = 4
# A list on this machine is at home here and in the network around; not at the addresses of a cloud's metadata.
AROUND_HERE = frozenset({"loopback", "private"})
_NOWHERE = Url(Origin("https", "catalog.invalid", 443), b"/")
# Another mirror may do better after these.
_MIRROR_FAILED = (Unreachable, NotFound, Denied, BadAnswer)


class CatalogSource(ObjectSource):
    """The files that a catalog lists.

    spec  ``catalog+`` and the http(s) or file URL of the list
    """

    def __init__(self, spec: str, settings: UpstreamSettings, figures: UpstreamFigures) -> None:
        address = spec.partition("+")[2]
        local = address.startswith("file:")
        root = _NOWHERE if local else parse_url(address)
        bearer = CatalogBearer(settings, None if local else root.origin)
        doors = Doors("", AROUND_HERE) if local else Doors(root.origin.host)
        super().__init__(settings, Exchange(settings, figures, root, bearer=bearer, doors=doors))
        self._address = redact_url(address)
        self._list: CatalogList = (
            listed_in_file(Path(os.fsdecode(unquote_to_bytes(address.removeprefix("file://")))))
            if local
            else listed_on_web(root, self._exchange, self._refuse)
        )
        self._mirrors: dict[bytes, int] = {}
        self._sizes: dict[bytes, int] = {}
        self._spools = trio.CapacityLimiter(SPOOLS)
        self.identity = f"catalog {self._address}" + (f" as {bearer.identity}" if bearer.identity else "")

    def __repr__(self) -> str:
        return f"<CatalogSource {self._address}>"

    @property
    def failing(self) -> bool:
        """One host of many that does not answer says nothing of the others."""
        return False

    # -- the list ------------------------------------------------------------------

    async def connect(self) -> None:
        await self._list.current()

    async def list(self, key: bytes) -> Listing:
        catalog = await self._list.current()
        folder = catalog.folders.get(key if not key or key.endswith(b"/") else key + b"/")
        if folder is None:
            raise NotFound(f"{self._address} has no folder {key!r} any more")
        return folder

    def _file(self, key: bytes) -> CatalogFile:
        file = self._list.known.files.get(key)
        if file is None:
            raise NotFound(f"{self._address} has no file {key!r} any more")
        return file

    # -- files ---------------------------------------------------------------------

    def _at(self, key: bytes, pin: Version | None = None) -> Url:
        urls = self._file(key).urls
        return parse_url(urls[self._mirrors.get(key, 0) % len(urls)])

    def url(self, key: bytes) -> str:
        """A file's; the catalog's own for folders, and for files while the catalog has not been read."""
        return super().url(key) if key in self._list.known.files else f"catalog+{self._address}"

    async def stat(self, key: bytes) -> Stat:
        """Of a file with a hash and a size, what the catalog says: there is nothing to ask."""
        file = await self._sized(key)
        if _is_verified(file):
            return _named_by_hash(file)
        ask = super().stat
        return await self._by_any_mirror(file, lambda: _held(file, ask(key)))

    @asynccontextmanager
    async def fetch(self, key: bytes, start: int, end: int, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        file = await self._sized(key)
        if _is_verified(file) and (start > 0 or end < (file.size or 0)):
            raise RangesIgnored(f"{self.url(key)}: fetched whole, to check its hash")
        async with AsyncExitStack() as stack:
            if _is_verified(file):
                yield await stack.enter_async_context(self.fetch_whole(key, pin, ticket))
                return
            opening = super().fetch
            yield await self._opened(
                file, pin, lambda: stack.enter_async_context(opening(key, start, end, pin, ticket))
            )

    @asynccontextmanager
    async def fetch_whole(self, key: bytes, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        file = await self._sized(key)
        opening = super().fetch_whole
        async with AsyncExitStack() as stack:
            if not _is_verified(file):
                yield await self._opened(file, pin, lambda: stack.enter_async_context(opening(key, pin, ticket)))
                return
            stat = _named_by_hash(file)
            if pin is not None and pin != stat.version:
                raise Stale(f"{self.url(key)} has another hash in the catalog now", stat)
            await stack.enter_async_context(self._spools)
            yield await self._by_any_mirror(file, lambda: self._checked(file, ticket, stack))

    async def _opened(self, file: CatalogFile, pin: Version | None, opening: Callable[[], Awaitable[Body]]) -> Body:
        """A body of the version that the catalog means; from another mirror, if none has been read from yet."""

        async def open_one() -> Body:
            body = await opening()
            body.stat = _as_listed(file, body.stat)
            return body

        return await (self._by_any_mirror(file, open_one) if pin is None else open_one())

    async def _checked(self, file: CatalogFile, ticket: Ticket, stack: AsyncExitStack) -> Body:
        """The whole file from the current mirror, its hash checked. Raises `BadAnswer` where it is another."""
        filled = await stack.enter_async_context(spool(Digest(file.xxh3, file.sha256)))
        where = self.url(file.path)
        async with super().fetch_whole(file.path, None, ticket) as body:
            if body.end is not None and body.end != file.size:
                raise BadAnswer(f"{where} has {body.end} bytes, its catalog says {file.size}")
            await filled.fill(body, file.size or 0)
        if filled.size_bytes != file.size or (wrong := filled.wrong()):
            kind = "size" if filled.size_bytes != file.size else wrong
            raise BadAnswer(f"{where} does not have the {kind} that its catalog says")
        await filled.rewind()
        return SpooledBody(filled, _named_by_hash(file))

    async def _by_any_mirror(self, file: CatalogFile, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` comes to with the first mirror that answers, which is kept. Raises the first mirror's error."""
        error: RangefsError | None = None
        for _ in file.urls:
            asked = self._mirrors.get(file.path, 0)
            try:
                return await ask()
            except _MIRROR_FAILED as failure:
                error = error or failure
                if self._mirrors.get(file.path, 0) == asked:  # nobody else has seen it fail
                    self._mirrors[file.path] = asked + 1
        assert error is not None
        raise error

    async def _sized(self, key: bytes) -> CatalogFile:
        """The file; one with a hash, but no size, has been asked for it: what can be checked depends on it."""
        file = self._file(key)
        if file.size is not None or not name_of(file.xxh3, file.sha256):
            return file
        if key not in self._sizes:
            ask = super().stat
            size = (await self._by_any_mirror(file, lambda: ask(key))).version.size
            if size is None:
                raise BadAnswer(f"{self.url(key)} does not say its size, without which its hash is not checked")
            self._sizes[key] = size
        return replace(file, size=self._sizes[key])


def _is_verified(file: CatalogFile) -> bool:
    """Is the file's hash checked before it is served?"""
    return bool(name_of(file.xxh3, file.sha256)) and file.size is not None and file.size <= VERIFY_BYTES


def _named_by_hash(file: CatalogFile) -> Stat:
    """The version that is the content itself."""
    return Stat(Version(file.path, Level.IMMUTABLE, name_of(file.xxh3, file.sha256), file.size), file.mtime_ns)


async def _held(file: CatalogFile, asked: Awaitable[Stat]) -> Stat:
    return _as_listed(file, await asked)


def _as_listed(file: CatalogFile, stat: Stat) -> Stat:
    """`stat` with the catalog's time, where it gives one. Raises `BadAnswer` where it contradicts the catalog."""
    where, version = redact_url(file.urls[0]), stat.version
    if file.size is not None and version.size is not None and file.size != version.size:
        raise BadAnswer(f"{where} has {version.size} bytes, its catalog says {file.size}")
    tags = (file.etag.removeprefix("W/"), version.validator.removeprefix("W/"))
    if is_etag(tags[0]) and is_etag(tags[1]) and tags[0] != tags[1]:
        raise BadAnswer(f"{where} has the ETag {tags[1]}, its catalog says {tags[0]}")
    return stat if file.mtime_ns is None else replace(stat, mtime_ns=file.mtime_ns)
