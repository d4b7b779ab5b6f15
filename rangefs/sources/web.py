"""``http://`` and ``https://``: a folder whose index pages are the listing, or a single file.

Keys are percent-encoded paths relative to the root folder, byte for byte as
the links on the index pages spell them.
"""

from __future__ import annotations

import time
from functools import partial

import trio

from rangefs.core import ranges, validators
from rangefs.core.entries import Listing
from rangefs.core.figures import UpstreamFigures
from rangefs.core.listing.index import parse_index
from rangefs.core.ranges import Part, Verdict
from rangefs.core.redact import redact_url
from rangefs.core.settings import KiB, MiB, UpstreamSettings
from rangefs.core.versions import Version
from rangefs.errors import IsADirectory, NotAListing, NotFound, TooLarge, UsageError
from rangefs.sources.answers import Answer
from rangefs.sources.base import Ticket, read_all
from rangefs.sources.bodies import ExchangeBody
from rangefs.sources.exchange import STALL_TIMEOUT_S, Ask, Exchange
from rangefs.sources.kinds import Kinds
from rangefs.sources.objects import ObjectSource
from rangefs.sources.urls import Url, encode_target, parse_url, same_place

# 64 MiB of index page are some 400,000 names; more is not a folder that anyone lists over HTML.
PAGE_LIMIT_BYTES = 64 * MiB
# A larger page takes more than some 20 ms to read.
THREAD_PAGE_BYTES = 256 * KiB
# JSON first: it is exact. Caddy answers it to whoever names it; everyone else sends what they have.
LISTING_ACCEPT = "application/json, text/html;q=0.9, */*;q=0.5"


class WebSource(ObjectSource):
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
        super().__init__(settings, Exchange(settings, figures, root, stall_timeout_s))
        self._root = root
        self._base = root.folder
        self._kinds = Kinds(self.stat)
        who = self._exchange.credentials.identity
        self.identity = redact_url(str(root)) + (f" as {who}" if who else "")

    def __repr__(self) -> str:
        return f"<WebSource {self.url(self._file_key or b'')}>"

    # -- the root --------------------------------------------------------------

    async def connect(self) -> Listing | None:
        """Finds out whether the root is a folder or a file, and that it answers."""
        if self._root.path.endswith(b"/"):
            return await self._connect_folder(self._root)
        try:
            url = (await self._learn(self._root, b"")).url
        except NotFound:
            if b"?" in self._root.target:
                raise
            # rclone's server says 404 to a folder without its slash
            return await self._connect_folder(Url(self._root.origin, self._root.target + b"/"))
        if url.path.endswith(b"/"):
            return await self._connect_folder(url)
        self._base, self._file_key = self._root.folder, self._root.target[len(self._root.folder) :]
        return None

    async def _connect_folder(self, url: Url) -> Listing | None:
        """Takes `url`, or where it redirects to, as the root folder; its page must be a listing.

        Returns it, unless its names' kinds have to be asked for: no mount waits for that.
        """
        async with self._exchange.open(Ask("GET", url, {"accept": LISTING_ACCEPT}), Ticket()) as answer:
            page = await self._page(answer, url)
        if not answer.url.path.endswith(b"/"):
            raise NotAListing(f"{redact_url(str(url))} leads to a file, {redact_url(str(answer.url))}; mount that")
        listing = await _parsed(page, answer, b"")
        self._root = Url(answer.url.origin, answer.url.path)
        self._base = answer.url.path
        return None if listing.unmarked else listing

    def _at(self, key: bytes, pin: Version | None = None) -> Url:
        return Url(self._root.origin, self._base + encode_target(key))

    def url(self, key: bytes) -> str:
        if self._root.path.endswith(b"/") or self._file_key is not None:
            return super().url(key)
        file = self._root.target[len(self._root.folder) :]  # not connected: a file, or a folder without its slash
        below = "" if key in (b"", file) else "/" + encode_target(key).decode("ascii")
        return redact_url(str(self._root) + below)

    # -- folders ---------------------------------------------------------------

    async def list(self, key: bytes) -> Listing:
        if self._file_key is not None:
            return await self._list_one_file(self._file_key)
        folder = key if not key or key.endswith(b"/") else key + b"/"
        try:
            return await self._kinds.told(await self._listed(folder))
        except (NotFound, NotAListing):
            self._kinds.no_folder(folder)
            raise

    async def _listed(self, folder: bytes) -> Listing:
        url = self._at(folder)
        async with self._exchange.open(Ask("GET", url, {"accept": LISTING_ACCEPT}), Ticket()) as answer:
            if not same_place(url, answer.url):
                raise NotAListing(f"{redact_url(str(url))} redirects away, to {redact_url(str(answer.url))}")
            page = await self._page(answer, url)
        return await _parsed(page, answer, folder)

    async def _page(self, answer: Answer, url: Url) -> bytes:
        """The body of an index page, whole."""
        verdict = ranges.judge_whole(answer.status, answer.headers, b"", None, time.time())
        if not isinstance(verdict, Part):
            self._refuse(verdict, redact_url(str(url)), answer)
        if validators.content_encoding(answer.headers):
            raise NotAListing(f"{redact_url(str(url))}: the page is encoded, though identity was asked for")
        page = await read_all(ExchangeBody(answer, verdict.stat, 0, verdict.end), PAGE_LIMIT_BYTES)
        if page is None:
            raise TooLarge(f"{redact_url(str(url))}: the index page is over {PAGE_LIMIT_BYTES // MiB} MiB")
        return page

    # -- files -----------------------------------------------------------------

    def _judge(self, answer: Answer, key: bytes, start: int, end: int, pin: Version | None) -> Verdict:
        self._refuse_folder(answer, key)
        return super()._judge(answer, key, start, end, pin)

    def _judge_whole(self, answer: Answer, key: bytes, pin: Version | None) -> Verdict:
        self._refuse_folder(answer, key)
        return super()._judge_whole(answer, key, pin)

    def _refuse_folder(self, answer: Answer, key: bytes) -> None:
        """Who is sent on to the same place with a slash has asked for a folder. Raises `IsADirectory`."""
        if answer.url.path.endswith(b"/") and answer.url.path == self._at(key).path + b"/":
            self._kinds.folder(key)
            raise IsADirectory(f"{self.url(key)} is a folder")


async def _parsed(page: bytes, answer: Answer, folder: bytes) -> Listing:
    """The listing; a large page is read in a thread: the loop has readers to serve. Cancelled: it reads on alone."""
    parse = partial(parse_index, page, answer.headers.get("content-type", ""), str(answer.url), folder)
    if len(page) <= THREAD_PAGE_BYTES:
        return parse()
    return await trio.to_thread.run_sync(parse, abandon_on_cancel=True)
