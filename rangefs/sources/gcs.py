"""``gs://bucket/prefix``: Google Cloud Storage by its JSON API.

A version is an object's generation, a number that is never used again: reads
are pinned to it in the query, and the answer's is compared all the same.
An object that is stored as gzip is asked for, and served, as it is stored.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote_to_bytes

from rangefs.core.figures import UpstreamFigures
from rangefs.core.listing.gcs import parse_gcs_page
from rangefs.core.listing.objects import Page
from rangefs.core.settings import UpstreamSettings
from rangefs.core.validators import Headers, stored_stat_of
from rangefs.core.versions import Level, Stat, Version
from rangefs.errors import BadAnswer, UsageError
from rangefs.sources.buckets import BucketSource
from rangefs.sources.credentials import Bearer, Credentials
from rangefs.sources.exchange import Ask, Exchange
from rangefs.sources.urls import Origin, Url, parse_url

ENDPOINT = "https://storage.googleapis.com"
_FIELDS = "name,size,updated,generation,contentEncoding"
PAGE_OBJECTS = 1000  #: the service's own largest page ("Objects: list", maxResults)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")  # Google Cloud Storage, "Bucket names"

_stat_of_stored = stored_stat_of("x-goog-generation")


class GcsSource(BucketSource):
    """The objects of a bucket under a prefix.

    spec  ``gs://bucket/prefix``, the prefix percent-encoded where it must be
    """

    def __init__(self, spec: str, settings: UpstreamSettings, figures: UpstreamFigures) -> None:
        bucket, _, prefix = spec.partition("://")[2].partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise UsageError("expected gs://BUCKET/PREFIX, with the name of a bucket")
        endpoint = parse_url(settings.endpoint_url or ENDPOINT)
        self._api = endpoint.path.rstrip(b"/") + f"/storage/v1/b/{bucket}/o".encode()
        self._origin = endpoint.origin
        exchange = Exchange(settings, figures, endpoint, bearer=_bearer(settings, endpoint.origin))
        super().__init__(settings, exchange, f"gs://{bucket}", unquote_to_bytes(os.fsencode(prefix)))

    # -- listings ----------------------------------------------------------------

    async def _page(self, prefix: bytes, token: str, most: int | None) -> Page:
        fields = {
            "delimiter": b"/",
            "prefix": prefix,
            "maxResults": b"%d" % (most or PAGE_OBJECTS),
            "fields": f"items({_FIELDS}),prefixes,nextPageToken".encode(),
            "pageToken": token.encode(),
        }
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items() if value)
        url = Url(self._origin, self._api + b"?" + query.encode())
        return await self._parsed(Ask("GET", url), parse_gcs_page, f"listing {self._shown(prefix)}")

    # -- objects -----------------------------------------------------------------

    def _at(self, key: bytes, pin: Version | None = None) -> Url:
        query = b"?alt=media"
        if pin is not None and pin.level is Level.IMMUTABLE:
            query += b"&generation=" + quote(pin.validator, safe="").encode()
        return Url(self._origin, self._object(key) + query)

    def _object(self, key: bytes) -> bytes:
        return self._api + b"/" + quote(self._name(key), safe="").encode()

    def _headers(self, pin: Version | None) -> dict[str, str]:
        """Without gzip here, an object stored so is decompressed on the way: no ranges, another size."""
        return {**super()._headers(pin), "accept-encoding": "gzip"}

    def _stat_of(self, key: bytes, headers: Headers, size: int | None, now: float) -> Stat:
        return _stat_of_stored(key, headers, size, now)

    async def stat(self, key: bytes) -> Stat:
        """From the object's metadata: they have the stored size, whatever the encoding."""
        ask = Ask("GET", Url(self._origin, self._object(key) + b"?fields=" + quote(_FIELDS).encode()), fresh=True)
        page = await self._parsed(ask, _one_object, self.url(key))
        stored = page.objects[0]
        if stored.key != self._name(key) or stored.size is None or not stored.validator:
            raise BadAnswer(f"{self.url(key)}: its metadata lack the name, the size or the generation")
        encoding = "" if stored.encoding.lower() == "identity" else stored.encoding.lower()
        version = Version(key, Level.IMMUTABLE, stored.validator, stored.size, encoding)
        return Stat(version, stored.mtime_ns)


def _one_object(body: bytes) -> Page:
    """An object's metadata are what a listing has of it."""
    return parse_gcs_page(b'{"items":[' + body + b"]}")


def _bearer(settings: UpstreamSettings, origin: Origin) -> Bearer:
    """Credentials of the settings' own first; then Google's, for Google or where the environment names them."""
    settled = Credentials(settings, origin)
    google = origin.host == "googleapis.com" or origin.host.endswith(".googleapis.com")
    named = bool(os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"))
    if settings.anonymous or settled.authorizes or not (google or named):
        return settled
    settled.require_privacy()
    try:
        from rangefs.sources.google import google_bearer
    except ImportError as error:
        raise UsageError(
            f"gs:// needs {error.name or 'google-auth[requests]'} to sign in, "
            "which comes with: pip install 'rangefs[gcs]' (or use --anonymous)"
        ) from error
    return google_bearer(settled, origin, settings.requester_pays)
