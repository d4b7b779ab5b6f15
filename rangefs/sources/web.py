"""``http://`` and ``https://``: a folder whose index pages are the listing, or a single file.

Keys are percent-encoded paths relative to the root folder, byte for byte as
the links on the index pages spell them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from rangefs.core import ranges, validators
from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.figures import UpstreamFigures
from rangefs.core.listing.index import parse_index
from rangefs.core.ranges import Bad, Changed, Forbidden, Missing, Part, PastEnd, Refused, Verdict, Whole
from rangefs.core.redact import redact_url
from rangefs.core.settings import MiB, UpstreamSettings
from rangefs.core.versions import Stat, Version
from rangefs.errors import (
    BadAnswer,
    Denied,
    NotAListing,
    NotFound,
    RangesIgnored,
    Stale,
    TooLarge,
    Unreachable,
    UsageError,
)
from rangefs.sources.base import Body, Ticket
from rangefs.sources.bodies import EmptyBody, ExchangeBody
from rangefs.sources.exchange import STALL_TIMEOUT_S, Answer, Ask, Exchange
from rangefs.sources.habits import Habits
from rangefs.sources.urls import Url, encode_target, parse_url

# 64 MiB of index page are some 400,000 names; more is not a folder that anyone lists over HTML.
PAGE_LIMIT_BYTES = 64 * MiB
# JSON first: it is exact. Caddy answers it to whoever names it; everyone else sends what they have.
LISTING_ACCEPT = "application/json, text/html;q=0.9, */*;q=0.5"


class WebSource:
    """A tree on a web server.

    spec  its URL, as the user wrote it
    stall_timeout_s  see `Exchange`
    """

    def __init__(
        self,
        spec: str,
        settings: UpstreamSettings,
        figures: UpstreamFigures,
        stall_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        root = parse_url(spec)
        if root.path.endswith(b"/") and b"?" in root.target:
            raise UsageError("a folder's URL has no '?'; give the folder alone, or one file's URL")
        self._settings = settings
        self._root = root
        self._file_key: bytes | None = None
        self._base = root.folder
        self._exchange = Exchange(settings, figures, root, stall_timeout_s)
        self._habits = Habits()
        who = self._exchange.credentials.identity
        self.identity = redact_url(str(root)) + (f" as {who}" if who else "")

    def __repr__(self) -> str:
        return f"<WebSource {self.url(self._file_key or b'')}>"

    def url(self, key: bytes) -> str:
        return redact_url(str(self._at(key)))

    async def aclose(self) -> None:
        await self._exchange.aclose()

    # -- the root --------------------------------------------------------------

    async def connect(self) -> None:
        """Finds out whether the root is a folder or a file, and that it answers."""
        if self._root.path.endswith(b"/"):
            await self._connect_folder(self._root)
            return
        try:
            _, url = await self._learn(self._root, b"")
        except NotFound:
            if b"?" in self._root.target:
                raise
            # rclone's server says 404 to a folder without its slash
            await self._connect_folder(Url(self._root.origin, self._root.target + b"/"))
            return
        if url.path.endswith(b"/"):
            await self._connect_folder(url)
        else:
            self._base, self._file_key = self._root.folder, self._root.target[len(self._root.folder) :]

    async def _connect_folder(self, url: Url) -> None:
        """Takes `url`, or where it redirects to, as the root folder; its page must be a listing."""
        async with self._exchange.open(Ask("GET", url, {"accept": LISTING_ACCEPT}), Ticket()) as answer:
            page = await self._page(answer, url)
        if not answer.url.path.endswith(b"/"):
            raise NotAListing(f"{redact_url(str(url))} leads to a file, {redact_url(str(answer.url))}; mount that")
        parse_index(page, answer.headers.get("content-type", ""), str(answer.url), b"")
        self._root = Url(answer.url.origin, answer.url.path)
        self._base = answer.url.path

    def _at(self, key: bytes) -> Url:
        return Url(self._root.origin, self._base + encode_target(key))

    # -- folders ---------------------------------------------------------------

    async def list(self, key: bytes) -> Listing:
        if self._file_key is not None:
            return await self._list_the_file(self._file_key)
        folder = key if not key or key.endswith(b"/") else key + b"/"
        url = self._at(folder)
        async with self._exchange.open(Ask("GET", url, {"accept": LISTING_ACCEPT}), Ticket()) as answer:
            if not _same_place(url, answer.url):
                raise NotAListing(f"{redact_url(str(url))} redirects away, to {redact_url(str(answer.url))}")
            page = await self._page(answer, url)
        return parse_index(page, answer.headers.get("content-type", ""), str(answer.url), folder)

    async def _list_the_file(self, key: bytes) -> Listing:
        stat = await self.stat(key)
        validator = stat.version.validator
        entry = Entry(
            name=unquote_to_bytes(key.partition(b"?")[0]).replace(b"/", b"%2F"),
            kind=Kind.FILE,
            key=key,
            size=stat.version.size,
            mtime_ns=stat.mtime_ns,
            etag=validator if validators.is_etag(validator) else "",
        )
        return Listing((entry,))

    async def _page(self, answer: Answer, url: Url) -> bytes:
        """The body of an index page, whole."""
        verdict = ranges.judge_whole(answer.status, answer.headers, b"", None, time.time())
        if not isinstance(verdict, Part):
            self._refuse(verdict, url)
        if validators.content_encoding(answer.headers):
            raise NotAListing(f"{redact_url(str(url))}: the page is encoded, though identity was asked for")
        body = ExchangeBody(answer, verdict.stat, 0, verdict.end)
        parts, size_bytes = [], 0
        async for piece in body:
            parts.append(piece)
            size_bytes += len(piece)
            if size_bytes > PAGE_LIMIT_BYTES:
                raise TooLarge(f"{redact_url(str(url))}: the index page is over {PAGE_LIMIT_BYTES // MiB} MiB")
        return b"".join(parts)

    # -- files -----------------------------------------------------------------

    async def stat(self, key: bytes) -> Stat:
        url = self._at(key)
        stat, final = await self._learn(url, key)
        if final.path == url.path + b"/":
            raise NotFound(f"{redact_url(str(url))} is a folder")
        return stat

    async def _learn(self, url: Url, key: bytes) -> tuple[Stat, Url]:
        """What is at `url` now, and the URL that told it: by HEAD, else by one byte, else by a plain GET's headers."""
        if not self._habits.refuses_head:
            async with self._exchange.open(Ask("HEAD", url, fresh=True), Ticket()) as answer:
                verdict = self._judge_whole(answer, key, None)
                if isinstance(verdict, Part) and (verdict.end is not None or self._habits.ignores_ranges(key)):
                    return verdict.stat, answer.url
                self._habits.refuses_head = answer.status in (405, 501)
            if not isinstance(verdict, Part) and answer.status not in (403, 405, 501):
                self._refuse(verdict, url)
        ask = Ask("GET", url, {"range": ranges.range_header(0, 1)}, fresh=True)
        async with self._exchange.open(ask, Ticket()) as answer:
            verdict = ranges.judge(answer.status, answer.headers, key, 0, 1, None, time.time())
        if isinstance(verdict, PastEnd):
            async with self._exchange.open(Ask("GET", url, fresh=True), Ticket()) as answer:
                verdict = self._judge_whole(answer, key, None)
        if not isinstance(verdict, Part | Whole):
            self._refuse(verdict, url)
        return verdict.stat, answer.url

    @asynccontextmanager
    async def fetch(self, key: bytes, start: int, end: int, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        fits = start == 0 and pin is not None and pin.size is not None and pin.size <= end
        if self._habits.ignores_ranges(key) and not fits:
            raise RangesIgnored(f"{self.url(key)}: this server has no ranges")
        headers = {"range": ranges.range_header(start, end), **self._preconditions(pin)}
        async with self._exchange.open(Ask("GET", self._at(key), headers), ticket) as answer:
            verdict = ranges.judge(answer.status, answer.headers, key, start, end, pin, time.time())
            if isinstance(verdict, Part):
                if answer.status == 206:
                    self._habits.answered_a_range(key)
                yield ExchangeBody(answer, verdict.stat, verdict.start, verdict.end)
                return
        if isinstance(verdict, Whole):
            self._habits.answered_whole(key)
            raise RangesIgnored(f"{self.url(key)}: the server answered a range with the whole file")
        if isinstance(verdict, PastEnd) and pin is None:
            stat = await self.stat(key)
            if stat.version.size is None or stat.version.size > start:
                raise BadAnswer(f"{self.url(key)}: refuses a range inside its {stat.version.size} bytes")
            yield EmptyBody(stat, start)
            return
        if isinstance(verdict, Refused) and await self._lied_about_the_match(key, pin):
            async with self.fetch(key, start, end, pin, ticket) as body:
                yield body
            return
        await self._refuse_pinned(verdict, key, pin)

    @asynccontextmanager
    async def fetch_whole(self, key: bytes, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        ask = Ask("GET", self._at(key), self._preconditions(pin))
        async with self._exchange.open(ask, ticket) as answer:
            verdict = self._judge_whole(answer, key, pin)
            if isinstance(verdict, Part):
                yield ExchangeBody(answer, verdict.stat, 0, verdict.end)
                return
        if isinstance(verdict, Refused) and await self._lied_about_the_match(key, pin):
            async with self.fetch_whole(key, pin, ticket) as body:
                yield body
            return
        await self._refuse_pinned(verdict, key, pin)

    # -- verdicts become errors --------------------------------------------------

    def _judge_whole(self, answer: Answer, key: bytes, pin: Version | None) -> Verdict:
        return ranges.judge_whole(answer.status, answer.headers, key, pin, time.time())

    def _preconditions(self, pin: Version | None) -> dict[str, str]:
        return {} if self._habits.lies_about_matches else validators.preconditions(pin)

    async def _lied_about_the_match(self, key: bytes, pin: Version | None) -> bool:
        """After a 412: does the origin still show the very version that it denied to have? Then it isn't asked so."""
        stat = await self.stat(key)
        if pin is None or not validators.compatible(pin, stat):
            self._stale(key, stat)
        self._habits.lies_about_matches = True
        return True

    async def _refuse_pinned(self, verdict: Verdict, key: bytes, pin: Version | None) -> NoReturn:
        """Raises what `verdict` means for a fetch."""
        match verdict:
            case Changed(stat):
                self._stale(key, stat)
            case Missing() if pin is not None:
                self._stale(key, None)
            case PastEnd() if pin is not None:
                stat = await self.stat(key)
                if not validators.compatible(pin, stat):
                    self._stale(key, stat)
                raise BadAnswer(f"{self.url(key)}: refuses a range inside its {pin.size} bytes")
        self._refuse(verdict, self._at(key))

    def _stale(self, key: bytes, stat: Stat | None) -> NoReturn:
        raise Stale(f"{self.url(key)} {'is gone' if stat is None else 'has changed'} upstream", stat)

    def _refuse(self, verdict: Verdict, url: Url) -> NoReturn:
        """Raises the error for a `verdict` that is no answer."""
        where = redact_url(str(url))
        match verdict:
            case Missing():
                raise NotFound(f"{where}: not found")
            case Forbidden(403) if self._settings.forbidden_as_missing:
                raise NotFound(f"{where}: not found (403)")
            case Forbidden(status):
                raise Denied(f"{where}: access denied (status {status})")
            case ranges.Again(status):
                raise Unreachable(f"{where}: status {status}")
            case Bad(reason):
                raise BadAnswer(f"{where}: {reason}")
        raise BadAnswer(f"{where}: {type(verdict).__name__} where none of it was asked")


def _same_place(asked: Url, answered: Url) -> bool:
    """Is it the same folder, perhaps spelled in another way?"""
    return asked.origin == answered.origin and unquote_to_bytes(asked.path) == unquote_to_bytes(answered.path)
