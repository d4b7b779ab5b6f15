"""``webdav://`` and ``webdavs://``: a tree on a WebDAV server, listed by PROPFIND (RFC 4918), read by GET.

Keys are percent-encoded paths relative to the root folder, byte for byte as
the server's hrefs spell them.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from rangefs.core import ranges
from rangefs.core.entries import Listing
from rangefs.core.figures import UpstreamFigures
from rangefs.core.listing.webdav import parse_multistatus
from rangefs.core.redact import redact_url
from rangefs.core.settings import KiB, MiB, UpstreamSettings
from rangefs.core.versions import Version
from rangefs.errors import BadAnswer, NotADirectory, NotAListing, NotFound, RangefsError, TooLarge, UsageError
from rangefs.sources.base import Ticket
from rangefs.sources.exchange import Ask, Exchange
from rangefs.sources.objects import ObjectSource
from rangefs.sources.urls import Url, encode_target, parse_url, same_place

# Some 1,000 bytes an entry where a server tells all its properties: 100,000 names in a folder.
PAGE_LIMIT_BYTES = 128 * MiB
# A page above this is parsed in a thread: some 1,000 names, 10 ms.
PARSE_INLINE_BYTES = 512 * KiB
# No body: that asks for all properties (RFC 4918 section 9.1), which every server answers. Never "infinity": a
# server may walk its whole disk for it.
DEPTH_ONE = {"depth": "1"}
MULTISTATUS = 207
NOT_DAV = frozenset({405, 501})


@dataclass(frozen=True, slots=True)
class _Found:
    """A folder's listing, and its URL after redirects."""

    listing: Listing
    url: Url


class WebDavSource(ObjectSource):
    """A folder, or one file, of a WebDAV server.

    spec  its URL, as the user wrote it
    """

    def __init__(self, spec: str, settings: UpstreamSettings, figures: UpstreamFigures) -> None:
        scheme, _, rest = spec.partition("://")
        root = parse_url(f"{'https' if scheme.lower() == 'webdavs' else 'http'}://{rest}")
        if b"?" in root.target:
            raise UsageError("a WebDAV folder's URL has no '?'")
        super().__init__(settings, Exchange(settings, figures, root))
        self._root = root
        self._base = root.path if root.path.endswith(b"/") else root.path + b"/"
        who = self._exchange.credentials.identity
        self.identity = redact_url(str(root)) + (f" as {who}" if who else "")

    def _at(self, key: bytes, pin: Version | None = None) -> Url:
        return Url(self._root.origin, self._base + encode_target(key))

    # -- the root --------------------------------------------------------------------

    async def connect(self) -> Listing | None:
        """Proves that the root is a folder and answers PROPFIND; else that it is a file."""
        try:
            found = await self._propfind(self._at(b""), b"")
        except (NotFound, NotADirectory, BadAnswer) as error:
            if self._root.path.endswith(b"/"):
                raise
            await self._connect_file(error)
            return None
        self._root, self._base = found.url, found.url.path
        return found.listing

    async def _connect_file(self, no_folder: RangefsError) -> None:
        """Takes the root for a file. Raises `no_folder` where it is none either."""
        try:
            learned = await self._learn(self._root, b"")
        except NotFound:
            raise no_folder from None
        if learned.url.path.endswith(b"/"):
            raise no_folder
        self._base, self._file_key = self._root.folder, self._root.target[len(self._root.folder) :]

    # -- folders ---------------------------------------------------------------------

    async def list(self, key: bytes) -> Listing:
        if self._file_key is not None:
            return await self._list_one_file(self._file_key)
        folder = key if not key or key.endswith(b"/") else key + b"/"
        url = self._at(folder)
        found = await self._propfind(url, folder)
        if not same_place(url, found.url):
            raise NotAListing(f"{redact_url(str(url))} redirects away, to {redact_url(str(found.url))}")
        return found.listing

    async def _propfind(self, url: Url, folder: bytes) -> _Found:
        where = redact_url(str(url))
        async with self._exchange.open(Ask("PROPFIND", url, DEPTH_ONE), Ticket()) as answer:
            body = await answer.read(PAGE_LIMIT_BYTES) if answer.status == MULTISTATUS else b""
        if answer.status in NOT_DAV:
            raise BadAnswer(f"{where}: no WebDAV there (status {answer.status}); mount it by http:// or https://")
        if answer.status != MULTISTATUS:
            self._refuse(ranges.judge_whole(answer.status, answer.headers, b"", None, 0), where, answer)
        if body is None:
            raise TooLarge(f"{where}: the listing is over {PAGE_LIMIT_BYTES // MiB} MiB")
        try:
            if len(body) <= PARSE_INLINE_BYTES:
                listing = parse_multistatus(body, str(answer.url), folder)
            else:
                listing = await trio.to_thread.run_sync(parse_multistatus, body, str(answer.url), folder)
        except NotAListing as error:
            raise NotAListing(f"{where}: {error}") from error
        return _Found(listing, answer.url)
