"""One origin of several that have the same tree: its answers in terms that all of them share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote_to_bytes

import trio

from rangefs.core.entries import Entry, Listing
from rangefs.core.failover import Health
from rangefs.core.figures import PartFigures
from rangefs.core.joining import PRIMARY, claimed
from rangefs.core.redact import redact_url
from rangefs.core.versions import Stat
from rangefs.errors import BadAnswer, Unreachable
from rangefs.sources.bandwidth import Bandwidth
from rangefs.sources.base import Body, Source

log = logging.getLogger(__name__)

# Whose keys are percent-encoded paths; the others' are the names themselves (`names.unescape` has seen to it).
_ENCODED = frozenset({"http", "https", "webdav", "webdavs"})
# What RFC 3986 lets a path have as it is.
_PATH_SAFE = "/~!$&'()*+,;=:@"


@dataclass(slots=True, eq=False)
class Upstream:
    """An origin.

    number   0 is the primary
    health   its own, of the roster
    trouble  why it was last of no use, for people; "" while it is
    pending  questions that others can answer as well: cancelled when it is doubted
    wanted   set when a probe of it would be of use
    """

    number: int
    spec: str
    source: Source
    figures: PartFigures
    health: Health
    connected: bool = False
    trouble: str = "not asked yet"
    wanted: trio.Event = field(default_factory=trio.Event)
    pending: set[trio.CancelScope] = field(default_factory=set)
    _connecting: trio.Lock = field(default_factory=trio.Lock)

    def __repr__(self) -> str:
        return f"<Upstream {self.number} {self.name}, {'down' if self.health.down else 'up'}>"

    @property
    def name(self) -> str:
        """For people and logs: no secrets."""
        return redact_url(self.spec)

    @property
    def is_primary(self) -> bool:
        return self.number == PRIMARY

    @property
    def single(self) -> bytes | None:
        """The key of the file that is all of it; None for a folder."""
        single: bytes | None = getattr(self.source, "single", None)
        return single

    async def connect(self) -> None:
        """As `Source.connect`, once. Cancelled: it is not connected."""
        async with self._connecting:
            if not self.connected:
                await self.source.connect()
                self.connected = True

    # -- how it is doing ---------------------------------------------------------------

    def answered(self, after_s: float | None = None) -> None:
        """It has answered, whatever; `after_s` seconds after it was asked, where that says something of it."""
        if self.health.down:
            log.info("%s answers", self.name)
        self.trouble = ""
        self.health.answered(trio.current_time(), after_s)

    def late(self) -> None:
        """It was asked, and nothing at all has come for longer than usual."""
        self.health.late()
        if self.health.doubted:
            self._doubt()

    def fell(self, why: str) -> None:
        """It has left a question without an answer."""
        was_down = self.health.down
        self.health.fell(trio.current_time())
        self._look(was_down, why)

    def broke_off(self, why: str) -> None:
        """A body of its ended early, or fell silent."""
        was_down = self.health.down
        self.health.broke_off(trio.current_time())
        self._look(was_down, why)

    def missed(self, why: str, at_least_s: float = 0.0) -> None:
        """A probe was of no use; the next one is not due for `at_least_s`."""
        was_down = self.health.down
        self.health.missed(trio.current_time(), at_least_s)
        self._look(was_down, why)

    def _look(self, was_down: bool, why: str) -> None:
        if self.health.down:
            self.trouble = why
            if not was_down:
                log.warning("%s (others are asked instead until it answers)", why)
        if self.health.doubted:
            self._doubt()

    def _doubt(self) -> None:
        """Who waits for bytes that others have too is sent there; a probe finds out about this one."""
        self.wanted.set()
        for scope in self.pending:
            scope.cancel()

    # -- in terms that all share ---------------------------------------------------------

    def key(self, key: bytes, primary: Upstream) -> bytes:
        """How this origin spells the primary's `key`. Raises `BadAnswer` where one is a file and the other a folder."""
        if self.is_primary:
            return key
        if primary.connected and self.connected and (self.single is None) != (primary.single is None):
            raise BadAnswer(f"{self.name} and {primary.name}: one is a file, the other a folder")
        if self.single is not None and key == primary.single:
            return self.single
        return _respelled(key, primary.spec, self.spec)

    def told(self, key: bytes, stat: Stat) -> Stat:
        """What its answer says of the primary's `key`. Raises `BadAnswer` for a mirror's file without a validator."""
        if self.is_primary:
            return stat
        version = claimed(replace(stat.version, key=key), self.number)
        if version is None:
            raise BadAnswer(f"{self.source.url(key)}: a mirror's file without ETag and Last-Modified is not used")
        return Stat(version, stat.mtime_ns, mirrored=True)

    def listed(self, listing: Listing, primary: Upstream) -> Listing:
        """What its listing says of the primary's folder: a name that it lacks may exist all the same."""
        if self.is_primary:
            return listing
        entries = tuple(self.entered(entry, primary) for entry in listing.entries)
        return replace(listing, entries=entries, complete=False, mirrored=True)

    def entered(self, entry: Entry, primary: Upstream) -> Entry:
        """An entry of its listing, under the key that the primary has it under."""
        if self.is_primary:
            return entry
        if self.single is not None and primary.single is not None:
            return replace(entry, key=primary.single)
        key = _respelled(entry.key, self.spec, primary.spec)
        return entry if key == entry.key else replace(entry, key=key)


def _respelled(key: bytes, have: str, wanted: str) -> bytes:
    """`key` of an origin with the URL `have` as one with the URL `wanted` spells it."""
    encoded = [spec.partition("://")[0].lower() in _ENCODED for spec in (have, wanted)]
    if encoded[0] == encoded[1]:
        return key
    return unquote_to_bytes(key) if encoded[0] else quote(key, safe=_PATH_SAFE).encode()


class WatchedBody:
    """`base.Body` of one origin; what it does is noted, and it is dropped where it is silent for `stall_s`.

    stat  the version, as all of them see it
    """

    def __init__(self, body: Body, stat: Stat, upstream: Upstream, stall_s: float, bandwidth: Bandwidth) -> None:
        self.stat = stat
        self.start = body.start
        self.end = body.end
        self._body = body
        self._upstream = upstream
        self._stall_s = stall_s
        self._bandwidth = bandwidth
        self._began = trio.current_time()
        self._size_bytes = 0

    async def readinto(self, buffer: memoryview) -> int:
        upstream, count = self._upstream, None
        try:
            with trio.move_on_after(self._stall_s):
                count = await self._body.readinto(buffer)
        except Unreachable as error:
            upstream.broke_off(str(error))
            raise
        if count is None:
            why = f"{upstream.name}: silent for {self._stall_s:g} s within a body"
            upstream.broke_off(why)
            raise Unreachable(why)
        upstream.health.heard(trio.current_time())
        if not count:
            upstream.health.delivered(self._size_bytes, trio.current_time() - self._began)
        self._size_bytes += count
        await self._bandwidth.pay(count)
        return count
