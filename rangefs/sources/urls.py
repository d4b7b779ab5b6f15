"""URLs whose path and query are bytes that nobody normalises.

httpx and most URL classes collapse ``a/../x`` or re-encode what they see;
here the request target is kept exactly as upstream spelled it (RFC 3986
section 6 makes normalising the client's choice, and the key is not ours).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import httpx

from rangefs.errors import UsageError

DEFAULT_PORTS = {"http": 80, "https": 443}

# A request target is visible ASCII (RFC 9112 section 3.2); "#" would begin a fragment. All else stays as it is.
_NOT_IN_TARGET = re.compile(rb"[^\x21\x22\x24-\x7e]")


@dataclass(frozen=True, slots=True)
class Origin:
    """RFC 6454: what credentials and connections are bound to. `host` is ASCII, lower case, without brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """The value of Host: the port only where it is not the scheme's own (RFC 9110 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if DEFAULT_PORTS[self.scheme] == self.port else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Url:
    """An origin and the exact bytes of path and query to ask it for."""

    origin: Origin
    target: bytes

    def __str__(self) -> str:
        return f"{self.origin}{self.target.decode('ascii')}"

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    @property
    def folder(self) -> bytes:
        """The path up to and with its last slash."""
        return self.path[: self.path.rindex(b"/") + 1]


def encode_target(raw: bytes) -> bytes:
    """`raw` with those bytes percent-encoded that can't stand in a request line, and no others."""
    return _NOT_IN_TARGET.sub(lambda found: b"%%%02X" % found[0][0], raw)


def parse_url(text: str) -> Url:
    """An absolute http(s) URL. Raises `UsageError` for others, and for one with a user or password in it."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
        host = httpx.URL(f"http://{parts.netloc.rpartition('@')[2]}/").raw_host.decode("ascii").strip("[]").lower()
    except (ValueError, httpx.InvalidURL) as error:
        raise UsageError("this URL can't be understood; expected http://HOST/PATH") from error
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise UsageError("expected a URL that begins with http:// or https:// and names a host")
    if "@" in parts.netloc:
        raise UsageError("no user or password in a URL (others can read it); put them in a file: --netrc FILE")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    return Url(
        Origin(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme]),
        encode_target(target.encode("utf-8", "surrogateescape")),
    )


def join(base: Url, reference: str) -> Url:
    """Where a Location header leads (RFC 3986 section 5). Raises `UsageError` as `parse_url` does."""
    try:
        return parse_url(urljoin(str(base), reference.strip()))
    except ValueError as error:
        raise UsageError("this reference can't be understood") from error


def same_place(asked: Url, answered: Url) -> bool:
    """Is it the same folder, perhaps spelled in another way?"""
    return asked.origin == answered.origin and unquote_to_bytes(asked.path) == unquote_to_bytes(answered.path)
