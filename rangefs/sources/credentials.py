"""Who we are to upstream: secrets read from files of the user's own, given to one exact origin and no other.

Secrets never come from the command line, where every user of the machine can
read them (INTERFACE, SEMANTICS section 7).
"""

from __future__ import annotations

import hashlib
import netrc
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

import trio

from rangefs.core.listing.store_errors import StoreError
from rangefs.core.redact import is_secret_header
from rangefs.core.settings import UpstreamSettings
from rangefs.core.validators import Headers
from rangefs.errors import Denied, UsageError
from rangefs.sources.urls import Origin, Url

# How often a token file is looked at: tokens live for minutes, a look is one stat(2) in a thread.
LOOK_AGAIN_S = 5.0
_SECRET_FILE_BYTES = 1 << 20  # a token or header file larger than this is a mistake


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that says no, as far as credentials may be the reason.

    problem  the store's own words, where it has any
    """

    status: int
    headers: Headers
    problem: StoreError | None


class Bearer(Protocol):
    """Whoever speaks for us to upstream: proves who we are, to the right origins only."""

    @property
    def identity(self) -> str:
        """Names the bearer without telling a secret; "" for nobody."""

    async def headers_for(self, method: str, url: Url, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """What to add to this very request, which has Host and `headers`, and no body. Called anew on each try.

        Raises `Denied` where credentials can't be had.
        """

    async def renew(self, refusal: Refusal) -> bool:
        """Is another try worth it, because something has been learned from the refusal, or renewed since?"""


class Credentials:
    """The headers that `origin`, and only it, is sent beside those of each request.

    stranger  the user did not name `origin`, a catalog did: no default entry of a netrc file is for it

    Raises `UsageError` at once for what can be seen to be wrong: a secret on the command line, a file that
    others may read, a secret that would cross a plain connection.
    """

    def __init__(self, settings: UpstreamSettings, origin: Origin, stranger: bool = False) -> None:
        self._origin = origin
        for name, _ in settings.headers:
            if is_secret_header(name):
                raise UsageError(f"{name} is a secret: put the line into a file and use --header-file FILE")
        self._fixed = [_checked(name, value) for name, value in settings.headers]
        secret = _read_header_file(settings.header_file) + _read_netrc(
            settings.netrc, origin.host, stranger or settings.stranger
        )
        self._token_file = settings.bearer_token_file
        self._token = read_secret(self._token_file).strip() if self._token_file else ""
        self._token_stamp = stamp_of(self._token_file) if self._token_file else None
        self._looked_at = float("-inf")
        self._insecure_auth = settings.insecure_auth
        if any(is_secret_header(name) for name, _ in secret) or self._token_file:
            self.require_privacy()
        self._fixed += secret

    @property
    def identity(self) -> str:
        """Names the bearer without telling the secret: a salted digest, "" for nobody. Stable while tokens rotate."""
        parts = [f"{name}:{value}" for name, value in self._fixed if is_secret_header(name)]
        if self._token_file:
            parts.append(f"bearer-file:{self._token_file}")
        if not parts:
            return ""
        return hashlib.sha256("\n".join(["rangefs identity", str(self._origin), *sorted(parts)]).encode()).hexdigest()[
            :16
        ]

    @property
    def authorizes(self) -> bool:
        """Do the user's files already say who we are?"""
        return self._token_file is not None or any(name == "authorization" for name, _ in self._fixed)

    def require_privacy(self) -> None:
        """Raises `UsageError` where a secret would cross a network in the clear, unasked."""
        _require_privacy(self._origin, self._insecure_auth)

    async def headers_for(self, method: str, url: Url, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """What to add to a request to `url`; nothing unless its origin is the very one these were given for."""
        if url.origin != self._origin:
            return []
        if self._token_file is None:
            return self._fixed
        await self._look_again(self._token_file)
        return [*self._fixed, ("authorization", f"Bearer {self._token}")]

    async def renew(self, refusal: Refusal) -> bool:
        """After a 401: looks at the token file now. True if there is another token in it."""
        if refusal.status != 401:
            return False
        before = self._token
        self._looked_at = float("-inf")
        if self._token_file is not None:
            await self._look_again(self._token_file)
        return self._token != before

    async def _look_again(self, path: Path) -> None:
        now = trio.current_time()
        if now - self._looked_at < LOOK_AGAIN_S:
            return
        self._looked_at = now
        # Abandoned where a deadline passes: the file may be on a network that is down.
        stamp = await trio.to_thread.run_sync(stamp_of, path, abandon_on_cancel=True)
        if stamp is not None and stamp != self._token_stamp:
            self._token = (await trio.to_thread.run_sync(read_secret, path, abandon_on_cancel=True)).strip()
            self._token_stamp = stamp


def _require_privacy(origin: Origin, insecure_auth: bool) -> None:
    if origin.scheme == "https" or insecure_auth or _is_loopback(origin.host):
        return
    raise UsageError(f"{origin} is not encrypted: use https, or --insecure-auth to send the secret in the clear")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761 section 6.3


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Changes when the file is replaced or written; None while it is not there (rotation may take a moment)."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def read_secret(path: Path) -> str:
    """The text of a file that only its owner can read."""
    try:
        with path.open(encoding="utf-8") as file:
            if path.stat().st_mode & 0o077:
                raise UsageError(f"{path} can be read by others: chmod 600 {path}")
            text = file.read(_SECRET_FILE_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise Denied(f"can't read {path}: {getattr(error, 'strerror', None) or 'not text'}") from error
    if len(text) > _SECRET_FILE_BYTES:
        raise UsageError(f"{path} is too large for what it should hold")
    return text


def _read_header_file(path: Path | None) -> list[tuple[str, str]]:
    """``Name: value`` lines, as curl's ``-H @file``; empty lines and lines that begin with # are skipped."""
    if path is None:
        return []
    lines = (line.strip() for line in read_secret(path).splitlines())
    pairs = []
    for line in lines:
        if line and not line.startswith("#"):
            name, colon, value = line.partition(":")
            if not colon:
                raise UsageError(f"{path}: a line without a colon; expected 'Name: value'")
            pairs.append(_checked(name.strip(), value.strip()))
    return pairs


# These are made anew for each request, and a second one would change what the answer means.
_OURS = frozenset(
    {"host", "range", "accept-encoding", "connection", "content-length", "transfer-encoding", "te", "upgrade",
     "if-match", "if-none-match", "if-range", "if-modified-since", "if-unmodified-since"}
)  # fmt: skip


def _checked(name: str, value: str) -> tuple[str, str]:
    if not name or not name.isascii() or any(c <= " " or c in ':"(),/;<=>?@[\\]{}' for c in name):
        raise UsageError("a header's name must be a plain word, as in 'X-Custom: value'")
    if name.lower() in _OURS:
        raise UsageError(f"{name} is made by rangefs itself and can't be set")
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"the value of {name} must be printable ASCII")
    return name.lower(), value


def _read_netrc(path: Path | None, host: str, named_only: bool) -> list[tuple[str, str]]:
    """Basic credentials of `host` (or the default entry, unless `named_only`), as curl's ``--netrc-file``."""
    if path is None:
        return []
    read_secret(path)  # checks that nobody else can
    try:
        entries = netrc.netrc(str(path))
        found = entries.hosts.get(host) if named_only else entries.authenticators(host)
    except netrc.NetrcParseError as error:
        raise UsageError(f"{path}, line {error.lineno}: not understood") from None  # its message may quote a secret
    if found is None:
        return []
    login, account, password = found
    pair = f"{login or account or ''}:{password or ''}".encode()
    return [("authorization", f"Basic {b64encode(pair).decode('ascii')}")]
