"""Where a link of an index page leads, seen from the folder the page describes.

The rule (SEMANTICS 6): a link is an entry of the folder only if, resolved
against the page's final URL, it has the same origin, the same folder, exactly
one component more, and neither query nor fragment. The component is kept
verbatim, because it is what we ask for later.

Resolution follows RFC 3986 section 5.2 with the browsers' reading
(the WHATWG URL standard) where servers rely on it: ASCII space around the
reference is cut off, and ``%2e`` counts as a dot in ``.`` and ``..`` segments.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

MAX_HREF_BYTES = 8192  #: longer than any server takes in a request line; an S3-like key is at most 3 × 1024

_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*):")
_SPACE = bytes(range(0x21))  # C0 controls and space
_RAW_BREAK = re.compile(rb"[\t\n\r]")  # a browser would drop these, so the name behind is not certain
_DOT = re.compile(rb"\.|%2e", re.IGNORECASE)
_PLAIN = re.compile(
    rb"[A-Za-z0-9_-][A-Za-z0-9_.~+,=@!$-]*+(?:%(?!2[fF])[A-Za-z0-9_.~+,=@!$-]*+)*+/?\Z"
)  # surely one relative component
_DEFAULT_PORT = {"http": 80, "https": 443}
# Schemes that a link may really have. Any other ``word:`` is a file's name: several servers leave a colon bare.
_KNOWN_SCHEMES = frozenset(
    b"http https ftp ftps file mailto javascript vbscript data tel sms about blob magnet irc news ws wss view-source"
    b" git ssh urn view jar intent".split()
)


class Where(enum.Enum):
    """What a link is to the folder of its page."""

    CHILD = "child"  #: exactly one component below: an entry
    SELF = "self"  #: the folder itself: sort links, anchors
    PARENT = "parent"
    ABOVE = "above"  #: further up on the same path
    ELSEWHERE = "elsewhere"
    MISPLACED = "misplaced"  #: one component below this folder's path, but on another origin
    REFUSED = "refused"  #: meant as an entry, and can't be one
    NO_PLACE = "no place"  #: ``javascript:``, ``mailto:``


@dataclass(frozen=True, slots=True)
class Target:
    """Where a link leads; for CHILD, the component as the server spelled it, with ``/`` at a folder's end."""

    where: Where
    component: bytes = b""


_SELF, _ELSEWHERE, _REFUSED = Target(Where.SELF), Target(Where.ELSEWHERE), Target(Where.REFUSED)


class Place:
    """A folder's page on the web.

    url   where the page came from, after redirects; its path ends in ``/``
    base  what relative links start from: the page, or its ``<base href>``
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.scheme = parts.scheme.lower().encode("ascii", "replace")
        self._authority = _authority(parts.scheme.lower(), parts.netloc.encode("utf-8", "surrogateescape"))
        self.path = parts.path.encode("utf-8", "surrogateescape") or b"/"
        self._folder = _decoded(self.path.split(b"/")[:-1])
        self._base = self.path
        self._base_is_here = True

    def rebase(self, href: bytes) -> None:
        """Take a ``<base href>`` into account. One that leads off the origin makes relative links lead off too."""
        path = self._absolute_path(href.strip(_SPACE).partition(b"#")[0].partition(b"?")[0])
        self._base = path if path is not None else b""
        self._base_is_here = self._base == self.path

    def target(self, href: bytes) -> Target:
        """Where `href` (bytes as in the page, character references resolved) leads."""
        if self._base_is_here and _PLAIN.match(href) and len(href) <= MAX_HREF_BYTES:
            return Target(Where.CHILD, href)
        href = href.strip(_SPACE)
        if not href or href[:1] in b"?#":
            return _SELF if self._base_is_here else _ELSEWHERE
        if len(href) > MAX_HREF_BYTES or _RAW_BREAK.search(href):
            return _REFUSED
        scheme = _known_scheme(href)
        if scheme is not None and scheme not in (b"http", b"https"):
            return Target(Where.NO_PLACE)
        bare = href.partition(b"#")[0].partition(b"?")[0]
        path = self._absolute_path(bare)
        if path is None:
            return self._off_origin(bare)
        target = self._within(path)
        if bare != href:  # a query makes it another resource, whatever its path
            return _SELF if target.where is Where.SELF else _ELSEWHERE
        return target

    def _off_origin(self, href: bytes) -> Target:
        path = b"/" + href.partition(b"//")[2].partition(b"/")[2]
        return Target(Where.MISPLACED) if self._within(path).where is Where.CHILD else _ELSEWHERE

    def _absolute_path(self, href: bytes) -> bytes | None:
        """The path `href` resolves to, dot segments still in it; None where it is on another origin."""
        scheme = _known_scheme(href)
        if scheme is not None:
            href = href[len(scheme) + 1 :]
            if not href.startswith(b"//"):
                return None
        if href.startswith(b"//"):
            authority, slash, rest = href[2:].partition(b"/")
            if _authority((scheme or self.scheme).decode(), authority) != self._authority:
                return None
            return slash + rest if slash else b"/"
        if href.startswith(b"/"):
            return href
        if not self._base:
            return None
        return self._base.rpartition(b"/")[0] + b"/" + href

    def _within(self, path: bytes) -> Target:
        segments = _without_dots(path.split(b"/"))
        folder, last = segments[:-1], segments[-1]
        tail = b""
        if not last and len(folder) == len(self._folder) + 1:
            folder, last, tail = folder[:-1], folder[-1], b"/"
        depth = len(folder)
        if depth > len(self._folder) or _decoded(folder) != self._folder[:depth]:
            return _ELSEWHERE
        if depth == len(self._folder):
            return _child(last, tail)
        if last and _decoded([last]) != self._folder[depth : depth + 1]:
            return _ELSEWHERE
        up = len(self._folder) - depth - bool(last)
        return Target(Where.PARENT if up == 1 else Where.ABOVE) if up else _SELF


def _child(component: bytes, tail: bytes) -> Target:
    if not component:
        return _ELSEWHERE if tail else _SELF
    if b"/" in (name := unquote_to_bytes(component)) and {b".", b".."} & set(name.split(b"/")):
        return _REFUSED  # some servers decode first and then walk up: off the folder
    if b"\\" in component and {b".", b".."} & set(re.split(rb"[/\\]", name)):
        return _REFUSED  # a bare backslash is a slash to browsers and to Windows
    return Target(Where.CHILD, component + tail)


def _known_scheme(href: bytes) -> bytes | None:
    """The scheme of an absolute reference, lower case; None for a relative one."""
    if not (found := _SCHEME.match(href)):
        return None
    scheme = found[1].lower()
    return scheme if scheme in _KNOWN_SCHEMES or href.startswith(b"//", found.end()) else None


def _authority(scheme: str, netloc: bytes) -> tuple[str, bytes, bytes]:
    """What makes an origin: scheme, host, port with defaults filled in. User info is no part of it."""
    host, colon, port = netloc.rpartition(b"@")[2].rpartition(b":")
    if not colon or b"]" in port:
        host, port = netloc.rpartition(b"@")[2], b""
    return scheme, host.lower(), port or str(_DEFAULT_PORT.get(scheme, "")).encode()


def _decoded(segments: list[bytes]) -> list[bytes]:
    return [unquote_to_bytes(segment) for segment in segments]


def _without_dots(segments: list[bytes]) -> list[bytes]:
    """RFC 3986 section 5.2.4 on the segments of an absolute path: what climbs above the root stays at it."""
    kept: list[bytes] = []
    for index, segment in enumerate(segments):
        dots = _DOT.sub(b".", segment) if segment[:1] in b".%" and segment else segment
        if dots not in (b".", b".."):
            kept.append(segment)
            continue
        if dots == b".." and len(kept) > 1:
            kept.pop()
        if index == len(segments) - 1:
            kept.append(b"")
    return kept
