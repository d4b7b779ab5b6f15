"""``az://account/container/prefix``: Azure Blob Storage by its REST API.

A version is the ETag, which the service makes anew at each write, and asks
are bound to it by If-Match; where the account keeps versions, it is the
version id, pinned in the query. Answers are compared all the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NoReturn
from urllib.parse import quote, unquote_to_bytes

from rangefs.core.figures import UpstreamFigures
from rangefs.core.listing.azure import parse_azure_page
from rangefs.core.listing.objects import Page
from rangefs.core.ranges import Bad, Forbidden, Verdict
from rangefs.core.settings import UpstreamSettings
from rangefs.core.validators import Headers, stored_stat_of
from rangefs.core.versions import Level, Stat, Version
from rangefs.errors import Denied, UsageError
from rangefs.sources.answers import Answer
from rangefs.sources.azure_credentials import API_VERSION, AzureAccount, account_of
from rangefs.sources.base import Ticket
from rangefs.sources.buckets import BucketSource
from rangefs.sources.exchange import Ask, Exchange
from rangefs.sources.urls import Url

PAGE_BLOBS = 5000  #: the service's own largest page ("List Blobs", maxresults)
# Microsoft, "Naming rules and restrictions": an account is a host name's first label, a container may be $root...
_ACCOUNT = re.compile(r"[a-z0-9-]{3,63}")
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}|\$(?:root|web|logs)")

_SHORTENED = {b"", b".", b".."}
# Azure answers 409 to a read of what has to be brought back from the archive first.
_ARCHIVED = {"BlobArchived", "BlobBeingRehydrated"}

_stat_of_stored = stored_stat_of("x-ms-version-id")


class AzureSource(BucketSource):
    """The blobs of a container under a prefix.

    spec  ``az://account/container/prefix``, the prefix percent-encoded where it must be
    """

    def __init__(self, spec: str, settings: UpstreamSettings, figures: UpstreamFigures) -> None:
        name, _, rest = spec.partition("://")[2].partition("/")
        container, _, prefix = rest.partition("/")
        if not _ACCOUNT.fullmatch(name) or not _CONTAINER.fullmatch(container):
            raise UsageError("expected az://ACCOUNT/CONTAINER/PREFIX, with the names of an account and a container")
        self._account: AzureAccount = account_of(name, settings)
        endpoint = self._account.endpoint
        self._container = endpoint.path.rstrip(b"/") + b"/" + container.encode()
        self._origin = endpoint.origin
        self._reads_versions = True
        exchange = Exchange(settings, figures, endpoint, bearer=self._account.bearer)
        super().__init__(settings, exchange, f"az://{name}/{container}", unquote_to_bytes(os.fsencode(prefix)))

    # -- listings ----------------------------------------------------------------

    async def _page(self, prefix: bytes, token: str, most: int | None) -> Page:
        fields = {
            "restype": b"container",
            "comp": b"list",
            "delimiter": b"/",
            "maxresults": b"%d" % (most or PAGE_BLOBS),
            "prefix": prefix,
            "marker": token.encode(),
        }
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items() if value)
        ask = Ask("GET", Url(self._origin, self._container + b"?" + query.encode()), self._headers(None))
        return await self._parsed(ask, parse_azure_page, f"listing {self._shown(prefix)}")

    # -- objects -----------------------------------------------------------------

    def _at(self, key: bytes, pin: Version | None = None) -> Url:
        name = self._name(key)
        # Nothing on the way may take a/../x or a//x for a path that it can shorten.
        plain = _SHORTENED.isdisjoint(name.split(b"/"))
        target = self._container + b"/" + quote(name, safe="/~" if plain else "~").encode()
        if pin is not None and pin.level is Level.IMMUTABLE and self._reads_versions:
            target += b"?versionid=" + quote(pin.validator, safe="").encode()
        return Url(self._origin, target)

    def _headers(self, pin: Version | None) -> dict[str, str]:
        return {**super()._headers(pin), "x-ms-version": API_VERSION}

    def _stat_of(self, key: bytes, headers: Headers, size: int | None, now: float) -> Stat:
        return _stat_of_stored(key, headers, size, now)

    @asynccontextmanager
    async def _open(self, ask: Ask, ticket: Ticket) -> AsyncIterator[Answer]:
        """As `Exchange.open`, with the SAS that is current; where it was replaced meanwhile, once more."""
        sas = self._account.sas
        if sas is None:
            async with self._exchange.open(ask, ticket) as answer:
                yield answer
            return
        async with self._exchange.open(_with_query(ask, await sas.query()), ticket) as answer:
            if answer.status != 403 or not await sas.renew():
                yield answer
                return
        async with self._exchange.open(_with_query(ask, await sas.query()), ticket) as answer:
            yield answer

    async def _another_way(self, verdict: Verdict, key: bytes, pin: Version | None) -> bool:
        """Reading a version by its id needs a permission of its own: without it, ids are compared instead."""
        if isinstance(verdict, Forbidden | Bad) and pin is not None and pin.level is Level.IMMUTABLE:
            had_asked, self._reads_versions = self._reads_versions, False
            return had_asked
        return await super()._another_way(verdict, key, pin)

    def _refuse(self, verdict: Verdict, where: str, answer: Answer) -> NoReturn:
        if answer.problem is not None and answer.problem.code in _ARCHIVED:
            raise Denied(f"{where}: archived{answer.words}")
        super()._refuse(verdict, where, answer)


def _with_query(ask: Ask, query: bytes) -> Ask:
    mark = b"&" if b"?" in ask.url.target else b"?"
    return replace(ask, url=Url(ask.url.origin, ask.url.target + mark + query))
