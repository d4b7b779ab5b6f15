"""The list behind a catalog: read when it is first needed, and again when it has changed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import trio

from rangefs.core import ranges
from rangefs.core.entries import Listing
from rangefs.core.listing.catalog import Catalog, parse_catalog
from rangefs.core.listing.moments import ZONELESS_NS
from rangefs.core.ranges import Part, Verdict
from rangefs.core.redact import redact_url
from rangefs.core.settings import MiB
from rangefs.errors import Denied, NotAListing, NotFound, TooLarge
from rangefs.sources.answers import Answer
from rangefs.sources.base import Ticket, read_all
from rangefs.sources.bodies import ExchangeBody
from rangefs.sources.exchange import Ask, Exchange
from rangefs.sources.urls import Url

# A million files at 500 bytes; some 2 GB as objects.
LIMIT_BYTES = 512 * MiB
# All folders of a catalog become old at the same time: one look answers for all who ask within this.
LOOK_AGAIN_S = 5.0
# A list that takes long to read is looked at less often: reading may take a twentieth of the time.
REST_FACTOR = 20


@dataclass(frozen=True, slots=True)
class Edition:
    """One reading of the list.

    tag  what makes a later look cheap: changes when the list does, None where that can't be told
    """

    catalog: Catalog
    tag: object | None


Look = Callable[[Edition | None], Awaitable[Edition]]
Refuse = Callable[[Verdict, str, Answer], NoReturn]


class CatalogList:
    """The current catalog. `look` reads it, or gives back the edition that it was given, if nothing has changed."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._edition: Edition | None = None
        self._look_at = float("-inf")
        self._lock = trio.Lock()

    @property
    def known(self) -> Catalog:
        """As last read; empty before."""
        return self._edition.catalog if self._edition else Catalog({}, {})

    async def current(self) -> Catalog:
        """As it is now, or was a few seconds ago. Raises what reading it raises; cancelled, the next one reads."""
        async with self._lock:
            began = trio.current_time()
            if self._edition is None or began >= self._look_at:
                self._edition = await self._look(self._edition)
                now = trio.current_time()
                self._look_at = now + max(LOOK_AGAIN_S, REST_FACTOR * (now - began))
            return self._edition.catalog


def listed_in_file(path: Path) -> CatalogList:
    """A catalog on this machine, and no larger than `LIMIT_BYTES`."""

    def read(before: Edition | None) -> Edition:
        try:
            with path.open("rb") as file:
                status = path.stat()
                tag = (status.st_mtime_ns, status.st_size, status.st_ino)
                if before is not None and before.tag == tag:
                    return before
                body = file.read(LIMIT_BYTES + 1)
        except FileNotFoundError as error:
            raise NotFound(f"{path}: there is no such file") from error
        except OSError as error:
            raise Denied(f"can't read {path}: {error.strerror}") from error
        return Edition(_parsed(body, path.as_uri(), str(path)), tag)

    async def look(before: Edition | None) -> Edition:
        return await trio.to_thread.run_sync(read, before)

    return CatalogList(look)


def listed_on_web(url: Url, exchange: Exchange, refuse: Refuse) -> CatalogList:
    """A catalog at `url`; `refuse` raises what a verdict that is no answer means."""
    where = redact_url(str(url))

    async def look(before: Edition | None) -> Edition:
        tag = before.tag if before is not None else None
        headers = {"if-none-match": tag} if isinstance(tag, str) else {}
        async with exchange.open(Ask("GET", url, headers, fresh=True), Ticket()) as answer:
            if answer.status == 304 and before is not None:
                return before
            verdict = ranges.judge_whole(answer.status, answer.headers, b"", None, time.time())
            if not isinstance(verdict, Part):
                refuse(verdict, where, answer)
            if verdict.stat.version.encoding:
                raise NotAListing(f"{where}: the catalog is encoded, though identity was asked for")
            body = await read_all(ExchangeBody(answer, verdict.stat, 0, verdict.end), LIMIT_BYTES)
        catalog = await trio.to_thread.run_sync(_parsed, body, str(answer.url), where)
        return Edition(catalog, answer.headers.get("etag"))

    return CatalogList(look)


def _parsed(body: bytes | None, url: str, where: str) -> Catalog:
    if body is None or len(body) > LIMIT_BYTES:
        raise TooLarge(f"{where}: the catalog is over {LIMIT_BYTES // MiB} MiB")
    try:
        catalog = parse_catalog(body, url)
    except NotAListing as error:
        raise NotAListing(f"{where}: {error}") from error
    return replace(catalog, folders={key: _shown(folder) for key, folder in catalog.folders.items()})


def _shown(folder: Listing) -> Listing:
    """Times are the catalog's to show, and not what servers say: none of theirs tells that a file has changed."""
    entries = tuple(
        entry if entry.mtime_ns is None else replace(entry, mtime_precision_ns=ZONELESS_NS) for entry in folder.entries
    )
    return replace(folder, entries=entries)
