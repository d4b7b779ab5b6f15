"""Who we are to Azure by Microsoft Entra: azure-identity's default credential, refreshed in a worker thread."""

from __future__ import annotations

import threading

from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError
from azure.identity import DefaultAzureCredential

from rangefs.errors import Denied, Unreachable
from rangefs.sources.credentials import Credentials
from rangefs.sources.refreshed import Expiring, TokenBearer
from rangefs.sources.urls import Origin

SCOPE = "https://storage.azure.com/.default"


def entra_bearer(settled: Credentials, origin: Origin) -> TokenBearer:
    """Speaks for whom azure-identity finds."""
    return TokenBearer(settled, origin, "default Azure credential", _DefaultCredential().fetch)


class _DefaultCredential:
    """Blocking: for worker threads. Made at the first use, as making it looks at files and processes."""

    def __init__(self) -> None:
        self._credential: DefaultAzureCredential | None = None
        self._lock = threading.Lock()

    def fetch(self) -> Expiring:
        """A token with some life left (azure-identity keeps and renews it). Raises `Denied`, `Unreachable`."""
        try:
            with self._lock:
                if self._credential is None:
                    self._credential = DefaultAzureCredential()
                token = self._credential.get_token(SCOPE)
        except (ServiceRequestError, ServiceResponseError) as error:
            raise Unreachable(f"can't get credentials: {_words(error)}") from error
        except AzureError as error:
            raise Denied(
                f"no credentials from azure-identity: {_words(error)}; try az login, or AZURE_STORAGE_KEY"
            ) from error
        return Expiring({"authorization": f"Bearer {token.token}"}, float(token.expires_on))


def _words(error: AzureError) -> str:
    """The first line: the rest is a list of everything that was tried."""
    return " ".join(str(error.message).partition("\n")[0].split()).rstrip(".")[:200]
