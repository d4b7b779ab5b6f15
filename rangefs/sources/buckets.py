"""Flat stores seen as folders: what Google's and Azure's have in common.

A key of ours is what an object's name has after the mount's prefix. A mount of
``bucket/a/b`` is the folder ``a/b/``, or, where there is none, the object ``a/b``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import trio

from rangefs.core import names
from rangefs.core.entries import Entry, Listing
from rangefs.core.listing.folder import MAX_ENTRIES
from rangefs.core.listing.objects import Page, listing_of
from rangefs.core.ranges import Missing, Part, Verdict
from rangefs.core.settings import KiB, MiB, UpstreamSettings
from rangefs.core.versions import Level, Version
from rangefs.errors import BadAnswer, NotAListing, NotFound, RangefsError, TooLarge, Unreachable
from rangefs.sources.answers import Answer
from rangefs.sources.base import Ticket, read_all
from rangefs.sources.bodies import ExchangeBody
from rangefs.sources.exchange import Ask, Exchange
from rangefs.sources.objects import ObjectSource
from rangefs.sources.urls import Url

# A name has 1,024 bytes, six times as many in JSON at worst; the rest of an entry some 200 (Google) to 900 (Azure).
PAGE_LIMIT_BYTES = 64 * MiB
# Parsing more than this takes some 10 milliseconds, in which nobody else would be served.
_ASIDE_BYTES = 256 * KiB
# A page may be empty though others follow (a store that skips deleted objects); for ever, it would be a broken one.
_EMPTY_PAGES = 1000
# A listing that was cut off is gone on with for so long; its first pages are then as old as metadata may get.
GOES_ON_S = 120.0


@dataclass(slots=True)
class _Walk:
    """A listing under way: the pages so far, and the token that asks for the next."""

    began: float
    pages: list[Page] = field(default_factory=list)
    token: str = ""
    done: bool = False
    _seen: set[str] = field(default_factory=lambda: {""})
    _entries: int = 0
    _empty: int = 0

    def take(self, page: Page, where: str) -> None:
        """The next page. Raises `BadAnswer`, `TooLarge` where there must not be another after it."""
        count = len(page.objects) + len(page.prefixes)
        self.pages.append(page)
        self._entries, self._empty = self._entries + count, 0 if count else self._empty + 1
        self.token, self.done = page.next_token, not page.next_token
        if self.done:
            return
        if self.token in self._seen or self._empty >= _EMPTY_PAGES:
            raise BadAnswer(f"{where}: the pages of this listing have no end")
        if self._entries > MAX_ENTRIES:
            raise TooLarge(f"{where} has more than {MAX_ENTRIES} entries: mount one below it")
        self._seen.add(self.token)


class BucketSource(ObjectSource):
    """A prefix of a bucket (or container) as a tree.

    place   the bucket as users write it, without a final slash: ``gs://bucket``
    prefix  of the object names that are shown, as given; a final slash says that it is a folder
    """

    def __init__(self, settings: UpstreamSettings, exchange: Exchange, place: str, prefix: bytes) -> None:
        super().__init__(settings, exchange)
        self._place = place
        self._given = prefix
        self._prefix = prefix if not prefix or prefix.endswith(b"/") else prefix + b"/"
        self._walks: dict[bytes, _Walk] = {}  # one at most
        who = exchange.credentials.identity
        self.identity = f"{place}/{shown(self._prefix)}" + (f" as {who}" if who else "")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url(self._file_key or b'')}>"

    # -- what children say -----------------------------------------------------

    def _shown(self, name: bytes) -> str:
        """The object or prefix of this name, for people."""
        return f"{self._place}/{shown(name)}"

    async def _page(self, prefix: bytes, token: str, most: int | None) -> Page:
        """One page of what begins with `prefix`, deeper names as prefixes; `most` entries, None for the store's own.

        token  of the page before, "" for the first
        """
        raise NotImplementedError

    # -- where things are --------------------------------------------------------

    def _name(self, key: bytes) -> bytes:
        """The object's name in its bucket."""
        return self._prefix + key

    def url(self, key: bytes) -> str:
        return self._shown(self._name(key))

    def _who(self, url: Url, key: bytes) -> str:
        return self.url(key)

    async def _refuse_pinned(self, verdict: Verdict, key: bytes, pin: Version | None, answer: Answer) -> NoReturn:
        """A version that is not found under its own number does not mean that there is no other."""
        if isinstance(verdict, Missing) and pin is not None and pin.level is Level.IMMUTABLE:
            self._stale(key, await self._there_now(key))
        await super()._refuse_pinned(verdict, key, pin, answer)

    # -- folders -----------------------------------------------------------------

    async def connect(self) -> None:
        """Proves that the bucket answers, and finds out whether the prefix is a folder or an object."""
        if await self._has_any(self._prefix) or self._prefix == self._given:
            return
        folder, slash, name = self._given.rpartition(b"/")
        as_folder, self._prefix = self._prefix, folder + slash
        try:
            await self.stat(name)
        except BaseException as error:
            self._prefix = as_folder  # it may be tried again
            if not isinstance(error, NotFound):
                raise
            where = self._shown(self._given)
            raise NotFound(f"{where}: no such object; end it with a slash to mount a folder that is empty") from error
        self._file_key = name

    async def _has_any(self, prefix: bytes) -> bool:
        page = await self._first(prefix)
        return bool(page.objects or page.prefixes)

    async def _first(self, prefix: bytes) -> Page:
        """A page with the first entry below `prefix`, an empty one where there is none: stores may begin with such."""
        token = ""
        for _ in range(_EMPTY_PAGES):
            page = await self._page(prefix, token, 1)
            if page.objects or page.prefixes or page.next_token in ("", token):
                return page
            token = page.next_token
        raise BadAnswer(f"{self._shown(prefix)}: the pages of this listing have no end")

    async def list(self, key: bytes) -> Listing:
        if self._file_key is not None:
            return await self._list_one_file(self._file_key)
        folder = key if not key or key.endswith(b"/") else key + b"/"
        pages = await self._pages(self._name(folder))
        if len(pages) == 1:
            return listing_of(pages, self._name(folder), folder)
        # 100,000 names take a third of a second
        return await trio.to_thread.run_sync(listing_of, pages, self._name(folder), folder, abandon_on_cancel=True)

    async def _parsed(self, ask: Ask, parse: Callable[[bytes], Page], where: str) -> Page:
        """The page that answers `ask`. Raises what its refusal means, `NotAListing` and `TooLarge`."""
        async with self._open(ask, Ticket()) as answer:
            verdict = self._judge_whole(answer, b"", None)
            if not isinstance(verdict, Part):
                self._refuse(verdict, where, answer)
            body = await read_all(ExchangeBody(answer, verdict.stat, 0, verdict.end), PAGE_LIMIT_BYTES)
        if body is None:
            raise TooLarge(f"{where}: a page of the listing is over {PAGE_LIMIT_BYTES // MiB} MiB")
        try:
            if len(body) > _ASIDE_BYTES:
                return await trio.to_thread.run_sync(parse, body, abandon_on_cancel=True)
            return parse(body)
        except NotAListing as error:
            raise NotAListing(f"{where}: {error}") from error

    async def _pages(self, prefix: bytes) -> Sequence[Page]:
        """All pages. Raises `BadAnswer` where they would go round in circles, `TooLarge` where there are too many.

        Cut off by a deadline or by the network, it goes on from there when it is asked for again soon: a folder that
        takes longer than anyone waits would never be shown else.
        """
        walk = self._walks.pop(prefix, None)
        if walk is None or trio.current_time() - walk.began >= GOES_ON_S:
            walk = _Walk(trio.current_time())
        try:
            while not walk.done:
                walk.take(await self._page(prefix, walk.token, None), self._shown(prefix))
        except (trio.Cancelled, Unreachable):
            self._walks = {prefix: walk}
            raise
        return walk.pages

    async def find(self, folder: bytes, name: bytes) -> Entry | None:
        """`base.Finder`: by two small listings side by side, which say of it what the folder's own would."""
        if self._file_key is not None:
            return (await self.list(folder)).by_name.get(name)
        key, prefix = self._name(folder) + names.unescape(name), self._name(folder)
        found: list[Page] = []
        failures: list[RangefsError] = []

        async def look(beginning: bytes) -> None:
            try:
                found.append(await self._first(beginning))
            except RangefsError as error:
                failures.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, key)  # of all keys that begin so, it is the first
            nursery.start_soon(look, key + b"/")
        if failures:
            raise failures[0]
        objects = [stored for page in found for stored in page.objects]
        prefixes = [below for page in found for below in page.prefixes]
        itself = Page(tuple(stored for stored in objects if stored.key == key or stored.key.startswith(key + b"/")))
        below = Page((), tuple(below for below in prefixes if below.startswith(key + b"/")))
        return listing_of((itself, below), prefix, folder).by_name.get(name)

    def _name_of(self, key: bytes) -> bytes:
        return key


def shown(name: bytes) -> str:
    """An object's name on one line, for people."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"%{ord(c):02X}" for c in text)
