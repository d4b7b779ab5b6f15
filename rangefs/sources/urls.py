"""URLs whose path and query are bytes that nobody normalises.

httpx and most URL classes collapse ``a/../x`` or re-encode what they see;
here the request target is kept exactly as upstream spelled it (RFC 3986
section 6 makes normalising the client's choice, and the key is not ours).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import httpx

from rangefs.errors import UsageError

DEFAULT_PORTS = {"http": 80, "https": 443}

# A request target is visible ASCII (RFC 9112 section 3.2); "#" would begin a fragment. All else stays as it is.
_ABSOLUTE = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#\\]*)(?P<rest>[^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
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
    match = _ABSOLUTE.fullmatch(text.strip())
    if match is None:
        raise UsageError("expected a URL that begins with http:// or https:// and names a host")
    scheme, authority, rest = match["scheme"].lower(), match["authority"], match["rest"]
    if "@" in authority:
        raise UsageError("no user or password in a URL (others can read it); put them in a file: --netrc FILE")
    try:
        origin = httpx.URL(f"{scheme}://{authority}/")
    except httpx.InvalidURL as error:
        raise UsageError("this URL can't be understood; expected http://HOST/PATH") from error
    host = origin.raw_host.decode("ascii").strip("[]").lower()
    port = origin.port or DEFAULT_PORTS[scheme]
    if not host or port > 0xFFFF:
        raise UsageError("this URL names no host, or a port that can't be; expected http://HOST:PORT/PATH")
    target = rest if rest.startswith("/") else f"/{rest}"
    return Url(
        Origin(scheme, host, port),
        encode_target(target.encode("utf-8", "surrogateescape")),
    )


def join(base: Url, reference: str) -> Url:
    """Where a Location header leads (RFC 3986 section 5.3). Raises `UsageError` as `parse_url` does.

    Dot segments are removed from relative paths alone, as the RFC asks; whatever comes with its own root is kept.
    """
    reference = reference.strip().partition("#")[0]
    if _SCHEME.match(reference):
        return parse_url(reference)
    if reference.startswith("//"):
        return parse_url(f"{base.origin.scheme}:{reference}")
    target = encode_target(reference.encode("latin-1", "replace"))
    if not target:
        return base
    if target.startswith(b"/"):
        return Url(base.origin, target)
    if target.startswith(b"?"):
        return Url(base.origin, base.path + target)
    path, mark, query = target.partition(b"?")
    return Url(base.origin, _without_dots(base.folder + path) + mark + query)


def _without_dots(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4; `path` begins with a slash."""
    kept: list[bytes] = []
    segments = path[1:].split(b"/")
    for segment in segments:
        if segment == b"..":
            kept = kept[:-1]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def same_place(asked: Url, answered: Url) -> bool:
    """Is it the same folder, perhaps spelled in another way?"""
    return asked.origin == answered.origin and unquote_to_bytes(asked.path) == unquote_to_bytes(answered.path)
