"""Who we are to Google: google-auth's application default credentials, refreshed in a worker thread.

Bound to the endpoint's origin, as all credentials are. Everything that blocks (reading files, asking the metadata
server or a token endpoint) happens at the first request, in a thread.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC

import google.auth
from google.auth.credentials import Credentials as GoogleCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request

from rangefs.errors import Denied, Unreachable
from rangefs.sources.credentials import Credentials
from rangefs.sources.refreshed import Expiring, TokenBearer
from rangefs.sources.urls import Origin

SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
# Tokens without an expiry (a plain access token from the environment of a build) are looked at again after this.
UNKNOWN_LIFE_S = 3600.0


def google_bearer(settled: Credentials, origin: Origin, requester_pays: bool) -> TokenBearer:
    """Speaks for the application default credentials; `requester_pays`: and bills their project."""
    fetch = _DefaultCredentials(requester_pays).fetch
    return TokenBearer(settled, origin, "application default credentials", fetch)


class _DefaultCredentials:
    """Blocking: for worker threads."""

    def __init__(self, requester_pays: bool) -> None:
        self._requester_pays = requester_pays
        self._credentials: GoogleCredentials | None = None
        self._project: str | None = None
        self._lock = threading.Lock()  # a thread whose waiters have gone may still be at it

    def fetch(self) -> Expiring:
        """A fresh token. Raises `Denied`, and `Unreachable` where nobody could be asked for one."""
        try:
            with self._lock:
                return self._fetched()
        except TransportError as error:
            raise Unreachable(f"can't get credentials: {_words(error)}") from error
        except GoogleAuthError as error:
            raise Denied(f"no credentials from google-auth: {_words(error)}") from error

    def _fetched(self) -> Expiring:
        if self._credentials is None:
            self._credentials, self._project = google.auth.default(scopes=[SCOPE])
        self._credentials.refresh(Request())
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        if self._requester_pays and self._project:
            headers.setdefault("x-goog-user-project", self._project)
        expiry = self._credentials.expiry  # naive, UTC
        expires_at = time.time() + UNKNOWN_LIFE_S if expiry is None else expiry.replace(tzinfo=UTC).timestamp()
        return Expiring({name.lower(): value for name, value in headers.items()}, expires_at)


def _words(error: GoogleAuthError) -> str:
    """The first argument is for people; a second one may be a whole answer of the token endpoint."""
    text = str(error.args[0]) if error.args else type(error).__name__
    return " ".join(text.split())[:300]
