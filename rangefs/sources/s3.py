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

from rangefs.core.figures import UpstreamFigures
from rangefs.core.listing.objects import Page
from rangefs.core.listing.s3 import parse_s3_page
from rangefs.core.ranges import Forbidden, Verdict
from rangefs.core.settings import UpstreamSettings
from rangefs.core.validators import Headers, stored_stat_of, version_id_of
from rangefs.core.versions import Level, Stat, Version
from rangefs.errors import BadAnswer, UsageError
from rangefs.sources.answers import Answer
from rangefs.sources.aws import AwsBearer, Chain, Profile, bearer_name
from rangefs.sources.base import Ticket
from rangefs.sources.buckets import BucketSource
from rangefs.sources.credentials import Credentials, Refusal
from rangefs.sources.exchange import Ask, Exchange
from rangefs.sources.urls import Origin, Url, parse_url

DEFAULT_REGION = "us-east-1"
PAGE_KEYS = 1000  #: S3's own largest page (API Reference, ListObjectsV2, max-keys)
MAX_MOVES = 3  #: between regions, before we believe that they send us in circles
# Bucket names that can be a host's first label under a wildcard certificate: no dots, no capitals, no underscores.
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")

_stat_of_stored = stored_stat_of("x-amz-version-id", listed_by_tag=True)


class S3Source(BucketSource):
    """The objects of a bucket under a prefix.

    spec  ``s3://bucket/prefix``: the prefix is taken as it stands, without any decoding
    """

    def __init__(self, spec: str, settings: UpstreamSettings, figures: UpstreamFigures) -> None:
        self._bucket, prefix = _parse_spec(spec)
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
        self._reads_versions = True
        exchange = Exchange(settings, figures, root, bearer=self._bearer)
        super().__init__(settings, exchange, f"s3://{self._bucket}", prefix)
        who = self._bearer.identity or bearer_name(settings, profile)
        self.identity = f"{self._shown(self._prefix)} at {root.origin} as {who}"

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
        target = bucket.target + b"/" + quote(self._name(key), safe="/~").encode()
        if pin is not None and pin.level is Level.IMMUTABLE and self._reads_versions:
            target += b"?versionId=" + quote(version_id_of(pin), safe="").encode()
        return Url(bucket.origin, target)

    async def _page(self, prefix: bytes, token: str, most: int | None) -> Page:
        """By ListObjectsV2, on from `token`; the query's fields in the order that a signature has them."""
        fields = [("continuation-token", token.encode())] if token else []
        fields += [("delimiter", b"/"), ("encoding-type", b"url"), ("list-type", b"2")]
        fields += [("max-keys", b"%d" % (most or PAGE_KEYS)), ("prefix", prefix)]
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields)
        bucket = self._bucket_at(self._bearer.region)
        url = Url(bucket.origin, (bucket.target or b"/") + b"?" + query.encode())
        return await self._parsed(Ask("GET", url), parse_s3_page, f"listing {self._shown(prefix)}")

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


def _parse_spec(spec: str) -> tuple[str, bytes]:
    """Bucket and prefix. Raises `UsageError`."""
    bucket, _, prefix = spec.partition("://")[2].partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError("expected s3://BUCKET/PREFIX with a bucket's name of letters, digits, '-' and '.'")
    return bucket, os.fsencode(prefix)
