"""How much ahead of a reader fills the way to upstream; more only waits somewhere. Pure: times in, bytes out.

Parallel ranges pay where each connection has a rate of its own, as across a wide network: sixteen bring sixteen times
as much. Where they share one bottleneck (a local network, one disk, this machine's processor), sixteen take sixteen
times as long each: all of them land at the same moment, in memory that is in no cache any more, in front of a disk that
has had nothing to do until then. (1 GiB from loopback, 96 MiB ahead: 4.2 s; 16 MiB ahead: 2.6 s; 2026-11.)

So each body's time is compared with what it would take alone, at the best rate of one connection seen lately. Until
they take `CROWDED` times as long, nothing is known to queue, and the reach is unlimited. Then it becomes what is on its
way without queueing (rate times time: the bandwidth-delay product, as in TCP Vegas and BBR), and `QUEUE_BYTES` more, so
that the bottleneck always has something to do; and grows again by each body from when they are not crowded any more.
"""

from __future__ import annotations

import math

MiB = 1 << 20

# Sixteen connections of 40 MiB/s at 30 ms keep the processor busy, and were seen to take up to 3.4 times as long as the
# best, in the mean. Five that share a loopback take 5 times as long.
CROWDED = 4.0
# What may queue at the bottleneck: four of the window's largest pieces. Twice as much was 10 % slower on loopback.
QUEUE_BYTES = 16 * MiB
# The best of this long ago or less: networks change. (BBR's filter: 10 s.)
MEMORY_S = 10.0
# A shorter body's time says little about a connection's rate. The first range of a file is as large, and comes alone.
BODY_MIN = 256 << 10
# No body is faster: all of it may be there when its head is looked at.
CLOCK_S = 1e-4
# Weight of a new body's crowding: one that was held up by something else is no sign.
FRESH = 1 / 4


class _Best:
    """The smallest value of the last `MEMORY_S` to twice as long."""

    __slots__ = ("_before", "_now", "_since")

    def __init__(self) -> None:
        self._before = self._now = math.inf
        self._since = -math.inf

    def see(self, value: float, now: float) -> float:
        """One more value; returns the smallest."""
        if now >= self._since + MEMORY_S:
            self._before = self._now if now < self._since + 2 * MEMORY_S else math.inf
            self._now, self._since = math.inf, now
        self._now = min(self._now, value)
        return min(self._now, self._before)


class Pace:
    """What the way to one upstream holds.

    reach_bytes  how far ahead of a reader it is worth asking; `math.inf` while nothing is known to queue
    """

    __slots__ = ("_all_byte_s", "_byte_s", "_crowding", "_first_s", "reach_bytes")

    def __init__(self) -> None:
        self.reach_bytes: float = math.inf
        self._first_s = _Best()
        self._byte_s = _Best()
        self._all_byte_s = _Best()
        self._crowding = 1.0

    def landed(self, size_bytes: int, first_s: float, took_s: float, others_bytes: int, now: float) -> None:
        """A range has come in one body.

        first_s       from asking to the head of its answer
        took_s        from asking to its last byte: the head may be looked at late, with half of the body behind it
        others_bytes  what has landed of all ranges in this `took_s`, this one included
        """
        if size_bytes < BODY_MIN:
            return
        first_s = self._first_s.see(first_s, now)
        took_s = max(took_s, first_s + CLOCK_S)
        alone_s = first_s + size_bytes * self._byte_s.see((took_s - first_s) / size_bytes, now)
        all_byte_s = self._all_byte_s.see(took_s / max(size_bytes, others_bytes), now)
        self._crowding += FRESH * (took_s / alone_s - self._crowding)
        if self._crowding < CROWDED:
            self.reach_bytes += size_bytes
        else:
            self.reach_bytes = alone_s / all_byte_s + QUEUE_BYTES
