"""Who we are to a catalog's many hosts: to its own origin what the settings say, to others what netrc says of them.

A ``default`` entry of a netrc file is for the catalog's origin alone: no list of addresses may be able to collect it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import trio

from rangefs.core.settings import UpstreamSettings
from rangefs.errors import Denied, UsageError
from rangefs.sources.credentials import Credentials, Refusal
from rangefs.sources.urls import Origin, Url


class CatalogBearer:
    """`exchange.Bearer` for many origins.

    home  the catalog's origin; None for a file, to which no server's secrets belong

    Raises `UsageError` for secrets that could go nowhere.
    """

    def __init__(self, settings: UpstreamSettings, home: Origin | None) -> None:
        if home is None and (settings.headers or settings.header_file or settings.bearer_token_file):
            raise UsageError("headers and tokens are for the catalog's server, and this catalog is a file: use --netrc")
        self._home = home
        self._at_home = Credentials(settings, home) if home is not None else None
        self._elsewhere = replace(settings, headers=(), header_file=None, bearer_token_file=None)
        self._others: dict[Origin, Credentials] = {}

    @property
    def identity(self) -> str:
        return self._at_home.identity if self._at_home is not None else ""

    async def headers_for(self, method: str, url: Url, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """Raises `Denied` where a secret would have to cross a network in the clear."""
        if url.origin == self._home and self._at_home is not None:
            return await self._at_home.headers_for(method, url, headers)
        if self._elsewhere.netrc is None:
            return []
        if url.origin not in self._others:
            self._others[url.origin] = await trio.to_thread.run_sync(self._credentials_of, url.origin)
        return await self._others[url.origin].headers_for(method, url, headers)

    def _credentials_of(self, origin: Origin) -> Credentials:
        try:
            return Credentials(self._elsewhere, origin, stranger=True)
        except UsageError as error:
            raise Denied(str(error)) from error

    async def renew(self, refusal: Refusal) -> bool:
        return self._at_home is not None and await self._at_home.renew(refusal)
