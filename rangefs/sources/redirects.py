"""Redirects by hand: where a hop may lead, and which answers are remembered.

Following them inside an HTTP client forwards custom credentials to foreign
origins (seen with httpx and x-api-key); asking the redirector again for each
block costs three quarters of the time elsewhere (kubevirt CDI 2809).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from ipaddress import ip_address

from rangefs.errors import TooManyRedirects, UsageError
from rangefs.sources.urls import Url, join

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_HOPS = 5
# Signed targets live for minutes at least; the version belongs to the original, whatever stands behind it meanwhile.
REMEMBER_S = 60.0
_MOST_TARGETS = 4096
# Signed URLs are 2 KiB or so; servers themselves take 8 KiB.
_LONGEST_LOCATION = 16384


def next_hop(url: Url, location: str) -> Url:
    """Where `location` leads from `url`. Raises `TooManyRedirects` for a hop that must not be followed."""
    if len(location) > _LONGEST_LOCATION:
        raise TooManyRedirects(f"{url.origin} redirects to a URL of {len(location)} bytes")
    try:
        target = join(url, location)
    except UsageError as error:
        raise TooManyRedirects(f"{url.origin} redirects to where we don't follow: {error}") from error
    if url.origin.scheme == "https" and target.origin.scheme != "https":
        raise TooManyRedirects(f"{url.origin} redirects from https to plain http, which is not followed")
    return target


class Redirects:
    """Targets of temporary redirects, for a while. `now`: any monotonic seconds."""

    def __init__(self) -> None:
        self._targets: OrderedDict[Url, tuple[Url, float]] = OrderedDict()

    def get(self, url: Url, now: float) -> Url | None:
        known = self._targets.get(url)
        if known is None:
            return None
        target, expires = known
        if now >= expires:
            del self._targets[url]
            return None
        return target

    def remember(self, url: Url, target: Url, now: float) -> None:
        self._targets[url] = (target, now + REMEMBER_S)
        self._targets.move_to_end(url)
        while len(self._targets) > _MOST_TARGETS:
            self._targets.popitem(last=False)

    def forget(self, url: Url) -> None:
        self._targets.pop(url, None)


class Doors:
    """Which addresses a redirect may reach: those of the Internet, and the kind of place where the mount itself is.

    A server on the Internet can't make us ask the machine's own loopback or a cloud's metadata service: what counts
    is the address that the name resolved to, looked at on each connection.
    """

    def __init__(self, home: str, also: Collection[str] = ()) -> None:
        """`home`: the host whose place is open; `also`: kinds of place that are, from the start."""
        self._home = home
        self._kinds = {"global", *also}

    def may_reach(self, host: str, address: str) -> bool:
        kind = _kind(address)
        if host == self._home:
            self._kinds.add(kind)
        return kind in self._kinds


def _kind(address: str) -> str:
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback:
        return "loopback"
    if ip.is_link_local:
        return "link-local"
    return "global" if ip.is_global and not ip.is_multicast else "private"
