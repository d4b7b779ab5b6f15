"""Who we are to Azure by Microsoft Entra: azure-identity's default credential, refreshed in a worker thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential

from rangefs.errors import Denied
from rangefs.sources.credentials import Credentials, Refusal
from rangefs.sources.refreshed import Expiring, Refreshed
from rangefs.sources.urls import Origin, Url

SCOPE = "https://storage.azure.com/.default"


class EntraBearer:
    """`exchange.Bearer` with a token of Entra's beside what the settings' files say."""

    def __init__(self, settled: Credentials, origin: Origin) -> None:
        self._settled = settled
        self._origin = origin
        self._tokens = Refreshed(_DefaultCredential().fetch)
        self._sent: Mapping[str, str] = {}

    @property
    def identity(self) -> str:
        return "default Azure credential"

    async def headers_for(self, method: str, url: Url, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        if url.origin != self._origin:
            return []
        self._sent = await self._tokens.headers()
        return [*await self._settled.headers_for(method, url, headers), *self._sent.items()]

    async def renew(self, refusal: Refusal) -> bool:
        return refusal.status == 401 and await self._tokens.renew(self._sent)


class _DefaultCredential:
    """Blocking: for worker threads. Made at the first use, as making it looks at files and processes."""

    def __init__(self) -> None:
        self._credential: DefaultAzureCredential | None = None
        self._lock = threading.Lock()

    def fetch(self) -> Expiring:
        """A token with some life left (azure-identity keeps and renews it). Raises `Denied`."""
        try:
            with self._lock:
                if self._credential is None:
                    self._credential = DefaultAzureCredential()
                token = self._credential.get_token(SCOPE)
        except AzureError as error:
            raise Denied(
                f"no credentials from azure-identity: {_words(error)}; try az login, or AZURE_STORAGE_KEY"
            ) from error
        return Expiring({"authorization": f"Bearer {token.token}"}, float(token.expires_on))


def _words(error: AzureError) -> str:
    """The first line: the rest is a list of everything that was tried."""
    return " ".join(str(error.message).partition("\n")[0].split())[:200]
