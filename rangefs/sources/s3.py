"""``s3://bucket/prefix``: Amazon S3 and everything that speaks it.

Keys are the bytes that objects were put under, relative to the prefix; in
URLs they are encoded as AWS signs them, and nothing normalises the path.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import quote

import trio

from rangefs.core import ranges
from rangefs.core.entries import Listing
from rangefs.core.figures import UpstreamFigures
from rangefs.core.listing.folder import MAX_ENTRIES
from rangefs.core.listing.objects import Page, listing_of
from rangefs.core.listing.s3 import parse_s3_page
from rangefs.core.ranges import Forbidden, Verdict
from rangefs.core.settings import MiB, UpstreamSettings
from rangefs.core.validators import Headers, stored_stat_of
from rangefs.core.versions import Level, Stat, Version
from rangefs.errors import BadAnswer, NotAListing, NotFound, TooLarge, UsageError
from rangefs.sources.answers import Answer
from rangefs.sources.aws import AwsBearer, Chain, Profile, bearer_name
from rangefs.sources.base import Ticket
from rangefs.sources.credentials import Credentials, Refusal
from rangefs.sources.exchange import Ask, Exchange
from rangefs.sources.objects import ObjectSource
from rangefs.sources.urls import Origin, Url, parse_url

DEFAULT_REGION = "us-east-1"
PAGE_KEYS = 1000  #: S3's own largest page (API Reference, ListObjectsV2, max-keys)
# A key has 1,024 bytes, three times as many when url-encoded; the rest of an entry some 500.
PAGE_LIMIT_BYTES = 16 * MiB
# Pages may be short, even empty (many delete markers), so their number is bounded, too.
MAX_PAGES = 20_000
MAX_MOVES = 3
# Bucket names that can be a host's first label under a wildcard certificate: no dots, no capitals, no underscores.
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")

_stat_of_stored = stored_stat_of("x-amz-version-id")


class S3Source(ObjectSource):
    """The objects of a bucket under a prefix.

    spec  ``s3://bucket/prefix``: the prefix is taken as it stands, without any decoding
    """

    def __init__(self, spec: str, settings: UpstreamSettings, figures: UpstreamFigures) -> None:
        self._bucket, self._prefix = _parse_spec(spec)
        profile = Profile(settings.profile)
        endpoint = settings.endpoint_url or profile.endpoint_url
        self._endpoint = None if endpoint is None else parse_url(endpoint)
        region = settings.region or profile.region or DEFAULT_REGION
        root = self._bucket_at(region)
        self._bearer = AwsBearer(
            Credentials(settings, root.origin),
            None if settings.anonymous else Chain(settings.profile),
            region,
            self._is_ours,
            settings.requester_pays,
        )
        super().__init__(settings, Exchange(settings, figures, root, bearer=self._bearer))
        self._file_name: bytes | None = None
        self._reads_versions = True
        who = self._bearer.identity or bearer_name(settings, profile)
        self.identity = f"{self.url(b'')} at {root.origin} as {who}"

    def url(self, key: bytes) -> str:
        """``s3://…`` as other tools take it."""
        return f"s3://{self._bucket}/{(self._prefix + key).decode('utf-8', 'backslashreplace')}"

    # -- where things are ------------------------------------------------------------

    def _bucket_at(self, region: str) -> Url:
        """The bucket's URL without a final slash: below the endpoint's path, or at AWS under its own host name."""
        if self._endpoint is not None:
            return Url(self._endpoint.origin, self._endpoint.path.rstrip(b"/") + b"/" + self._bucket.encode())
        domain = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
        if _LABEL.fullmatch(self._bucket):
            return Url(Origin("https", f"{self._bucket}.{domain}", 443), b"")
        return Url(Origin("https", domain, 443), b"/" + self._bucket.encode())

    def _is_ours(self, origin: Origin) -> bool:
        """AWS redirects to hosts of other regions; an endpoint that was given is the only one that it is."""
        if self._endpoint is not None:
            return origin == self._endpoint.origin
        return origin.scheme == "https" and origin.host.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    def _at(self, key: bytes, pin: Version | None = None) -> Url:
        bucket = self._bucket_at(self._bearer.region)
        target = bucket.target + b"/" + quote(self._prefix + key, safe="/~").encode()
        if pin is not None and pin.level is Level.IMMUTABLE and self._reads_versions:
            target += b"?versionId=" + quote(pin.validator, safe="").encode()
        return Url(bucket.origin, target)

    def _page_at(self, prefix: bytes, token: str, count: int) -> Url:
        """ListObjectsV2 of the folder `prefix`, on from `token`; the query in the order that a signature has it."""
        fields = [("continuation-token", token.encode())] if token else []
        fields += [("delimiter", b"/"), ("encoding-type", b"url"), ("list-type", b"2")]
        fields += [("max-keys", b"%d" % count), ("prefix", prefix)]
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields)
        bucket = self._bucket_at(self._bearer.region)
        return Url(bucket.origin, (bucket.target or b"/") + b"?" + query.encode())

    # -- the root ----------------------------------------------------------------------

    async def connect(self) -> None:
        """A prefix without its slash is a folder if anything is below it, else one object."""
        if not self._prefix or self._prefix.endswith(b"/"):
            await self._page(self._prefix, "", 1)
            return
        page = await self._page(self._prefix + b"/", "", 1)
        if page.objects or page.prefixes:
            self._prefix += b"/"
            return
        try:
            await self.stat(b"")
        except NotFound as error:
            raise NotFound(f"{error}; end it with a slash to mount a folder that is still empty") from error
        head, _, self._file_name = self._prefix.rpartition(b"/")
        self._prefix = head + b"/" if head else b""

    # -- folders -----------------------------------------------------------------------

    async def list(self, key: bytes) -> Listing:
        prefix = self._prefix + key
        if self._file_name is not None:
            return await self._list_one_file(self._file_name)
        pages = [page async for page in self._pages(prefix)]
        if len(pages) == 1:
            return listing_of(pages, prefix, key)
        return await trio.to_thread.run_sync(listing_of, pages, prefix, key)  # 100,000 names take a third of a second

    async def _pages(self, prefix: bytes) -> AsyncIterator[Page]:
        """All pages of a folder, in order. Raises `BadAnswer` where a broken store would make it endless."""
        token, seen, entries = "", set[str](), 0
        for _ in range(MAX_PAGES):
            page = await self._page(prefix, token, PAGE_KEYS)
            yield page
            entries += len(page.objects) + len(page.prefixes)
            if entries > MAX_ENTRIES:
                raise TooLarge(f"s3://{self._bucket}: a folder of more than {MAX_ENTRIES} entries; mount one below it")
            token = page.next_token
            if not token:
                return
            if token in seen:
                raise BadAnswer(f"s3://{self._bucket}: the listing goes in circles (a continuation token came twice)")
            seen.add(token)
        raise BadAnswer(f"s3://{self._bucket}: the listing does not end (after {MAX_PAGES} pages)")

    async def _page(self, prefix: bytes, token: str, count: int) -> Page:
        where = f"s3://{self._bucket}/{prefix.decode('utf-8', 'backslashreplace')}"
        async with self._open(Ask("GET", self._page_at(prefix, token, count)), Ticket()) as answer:
            if answer.status == 200:
                body = await answer.read(PAGE_LIMIT_BYTES)
                if body is None:
                    raise TooLarge(f"{where}: a page of the listing is over {PAGE_LIMIT_BYTES // MiB} MiB")
        if answer.status != 200:
            verdict = ranges.judge_whole(answer.status, answer.headers, b"", None, 0)
            self._refuse(verdict, f"listing {where}", answer)
        try:
            return parse_s3_page(body or b"")
        except NotAListing as error:
            raise NotAListing(f"{where}: {error}") from error

    # -- objects -----------------------------------------------------------------------

    @asynccontextmanager
    async def _open(self, ask: Ask, ticket: Ticket) -> AsyncIterator[Answer]:
        """As `Exchange.open`; a bucket in another region than thought is asked for there."""
        for _ in range(1 + MAX_MOVES):
            async with self._exchange.open(ask, ticket) as answer:
                if answer.status == 301:
                    await self._bearer.renew(Refusal(answer.status, answer.headers, answer.problem))
                origin = self._bucket_at(self._bearer.region).origin
                if origin == ask.url.origin or answer.status < 300:
                    yield answer
                    return
            ask = replace(ask, url=Url(origin, ask.url.target))
        raise BadAnswer(f"s3://{self._bucket}: each region says that the bucket is in another one; give --region")

    def _stat_of(self, key: bytes, headers: Headers, size: int | None, now: float) -> Stat:
        return _stat_of_stored(key, headers, size, now)

    async def _another_way(self, verdict: Verdict, key: bytes, pin: Version | None) -> bool:
        """Reading a version by its id needs a permission of its own: without it, ids are compared instead."""
        if isinstance(verdict, Forbidden) and pin is not None and pin.level is Level.IMMUTABLE:
            had_asked, self._reads_versions = self._reads_versions, False
            return had_asked
        return await super()._another_way(verdict, key, pin)

    def _name_of(self, key: bytes) -> bytes:
        return key

    def _who(self, url: Url, key: bytes) -> str:
        return self.url(key)


def _parse_spec(spec: str) -> tuple[str, bytes]:
    """Bucket and prefix. Raises `UsageError`."""
    bucket, _, prefix = spec.partition("://")[2].partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError("expected s3://BUCKET/PREFIX with a bucket's name of letters, digits, '-' and '.'")
    return bucket, os.fsencode(prefix)
