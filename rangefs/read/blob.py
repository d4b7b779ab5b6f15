"""A blob: the bytes of one version as this mount has them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from rangefs.core.entries import Entry
from rangefs.core.intervals import IntervalMap
from rangefs.core.joining import joinable
from rangefs.core.validators import compatible, is_etag, tag_of
from rangefs.core.versions import Level, Stat, Version
from rangefs.core.window import Window
from rangefs.errors import RangefsError, Stale, Unreachable
from rangefs.read.flight import Flight

if TYPE_CHECKING:
    from rangefs.read.download import Download

# In-place overwrites were seen to serve new bytes under the old validator for up to 2 s: what landed this long
# before a change was noticed is not trusted (SEMANTICS §1).
DOUBT_S = 3.0
# A range that failed answers its next readers at once for this long: the kernel asks again, synchronously, after a
# failed read-ahead, and would make its reader wait twice.
REMEMBER_FAILURE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Failure:
    start: int
    end: int
    error: RangefsError
    until: float


class Blob:
    """One version: provisional until the first answer pins it, then fixed for good.

    entry     what the listing promised; the pin must agree with it
    stat      the version, None while provisional
    index     where each byte is: a chunk's id, a flight, or missing
    loaded    the chunks that the store has of it are in the index
    closed    nobody has it open: what only memory has is not worth its room
    ranges    False once the origin was seen to ignore ranges: then `download` feeds the index
    complete  every byte is stored: no need for a window
    held      by chunk: flights that are stored, and whose bytes are still in memory for readers to come
    unserved  chunks of which only the disk has the bytes before all were read: up to where they were
    superseded  upstream has another version by now, `successor` where it is known: nothing more can be fetched
    on_quiet  called when no flight is under way or being stored any more
    """

    def __init__(self, entry: Entry, stat: Stat | None) -> None:
        self.entry = entry
        self.stat = stat
        self.index: IntervalMap[int | Flight] = IntervalMap()
        self.window = Window()
        self.flights: set[Flight] = set()
        self.download: Download | None = None
        self.loaded = False
        self.loading = trio.Lock()
        self.ranges = True
        self.closed = False
        self.complete = False
        self.held: dict[int, Flight] = {}
        self.unserved: dict[int, int] = {}
        self.superseded = False
        self.successor: Stat | None = None
        self.known_bytes: int | None = stat.version.size if stat else entry.size
        self.on_quiet: Callable[[], None] = _nothing
        self._failures: list[_Failure] = []
        self._recent: deque[tuple[float, int]] = deque()

    def __repr__(self) -> str:
        return f"<Blob {self.entry.key!r} {self.stat and self.stat.version.validator} {self.index!r}>"

    @property
    def key(self) -> bytes:
        return self.entry.key

    @property
    def version(self) -> Version | None:
        return self.stat.version if self.stat else None

    @property
    def size(self) -> int | None:
        """Bytes, as far as anyone knows: the pin's, then the listing's, then a download's that has ended."""
        return self.known_bytes

    @property
    def quiet(self) -> bool:
        """Nothing is being fetched or stored."""
        return not self.flights and (self.download is None or self.download.over)

    def pin(self, stat: Stat) -> None:
        """An answer came from this version. The first one pins; what was promised before must agree.

        Later ones are looked at again: several may have been asked for before the first one pinned.
        Raises `Stale` where the file is not what the listing said, or not what pinned: it has changed since. What a
        mirror has otherwise is no change: raises `Unreachable` where it can't stand in for what is known.
        """
        if stat.mirrored and not self._may_stand_in(stat):
            raise Unreachable("its server does not answer, and the mirror has another version of this file")
        if self.stat is not None:
            if not compatible(self.stat.version, stat):
                raise Stale("the file has changed since it was opened", stat)
        else:
            if not agrees(self.entry, stat):
                raise Stale("the file has changed since it was listed", stat)
            self.stat = stat
            self.known_bytes = stat.version.size
            self.ranges = self.ranges and stat.version.size is not None

    def _may_stand_in(self, stat: Stat) -> bool:
        """May a mirror's version be this one? What is pinned: the same. What was listed: of the same size at least."""
        if self.stat is not None:
            return joinable(self.stat.version, stat.version)
        return self.entry.size is None or self.entry.size == stat.version.size

    def landed_chunk(self, chunk_id: int, now: float) -> None:
        """Remember what has just been stored, for a while, in case a change is seen soon."""
        self._recent.append((now, chunk_id))
        while self._recent and self._recent[0][0] < now - DOUBT_S:
            self._recent.popleft()

    def first_use(self, chunk_id: int, start: int, end: int) -> int:
        """How many of these bytes of a chunk were fetched ahead and never read before."""
        served = self.unserved.get(chunk_id)
        if served is None:
            return 0
        self.unserved[chunk_id] = max(served, end)
        return min(end - start, max(0, end - served))

    def doubtful(self, now: float) -> list[int]:
        """Chunks that landed so shortly before a change was seen that they may belong to it."""
        return [chunk_id for landed_at, chunk_id in self._recent if landed_at >= now - DOUBT_S]

    def remember_failure(self, start: int, end: int, error: RangefsError, now: float) -> None:
        self._failures = [f for f in self._failures if f.until > now]
        self._failures.append(_Failure(start, end, error, now + REMEMBER_FAILURE_S))

    def recent_failure(self, offset: int, now: float) -> RangefsError | None:
        """Why this offset could not be had a moment ago."""
        return next((f.error for f in self._failures if f.start <= offset < f.end and f.until > now), None)


def _nothing() -> None:
    """Nobody waits for the blob to be quiet."""


def agrees(entry: Entry, stat: Stat) -> bool:
    """Can `stat` be the version that the listing meant? A coarse time says nothing (its zone may be unknown)."""
    if entry.size is not None and stat.version.size is not None and entry.size != stat.version.size:
        return False
    if is_etag(entry.etag) and tag_of(stat.version):
        return entry.etag.removeprefix("W/") == tag_of(stat.version).removeprefix("W/")
    if entry.etag and not is_etag(entry.etag) and stat.version.level is Level.IMMUTABLE:
        return entry.etag == stat.version.validator
    if entry.mtime_ns is not None and stat.mtime_ns is not None and entry.mtime_precision_ns <= 1_000_000_000:
        return entry.mtime_ns // 1_000_000_000 == stat.mtime_ns // 1_000_000_000
    return True


def names_the_tag(entry: Entry, stat: Stat) -> bool:
    """Does the listing say that this version is the current one, as surely as an answer would?"""
    return stat.version.level >= Level.STRONG and bool(entry.etag) and entry.etag == tag_of(stat.version)
