"""How far ahead to read, and in what pieces. Pure: offsets in, advice out.

A version's readers are seen as *streams*: a stream is a run of reads that
continue one another, whoever makes them (several processes, one process with
several offsets, the kernel's own read-ahead, which arrives out of order).

States of a stream, and what it may ask for beyond the bytes asked:

========== ============================================ ===============================================
state      when                                         ahead of the reader
========== ============================================ ===============================================
first      no stream continues here                     nothing; the request is rounded out to `BLOCK`s
sparse     a read continues a stream that leaves out    as `first`: long strides, and random reads that happen
           more than it asks for (`Stream.worth`)       to fall near one another
running    a read continues any other stream            its window: `GROWTH` times what the stream has read
                                                        each time the reader had to wait; never shrinks, and
                                                        holds two pieces at the least, later on
========== ============================================ ===============================================

Bounds, which the property tests hold: what a random read fetches is at most
its own bytes rounded out to blocks; what a stream has fetched beyond its
position is at most `GROWTH` times what it has read plus `FIRST`, and at most
the limit given by the memory budget; what it has fetched before it is at most
what its reads were worth.

The sizes were measured on loopback nginx with 30 ms before each response and
40 MiB/s a connection (one object-store connection), and with neither.
"""

from __future__ import annotations

from dataclasses import dataclass

KiB = 1 << 10
MiB = 1 << 20

# A random read is rounded out to this: a 4 KiB read costs 16 × its bytes and its neighbours are then free.
BLOCK = 64 * KiB
# The first fetch of a file that is being opened: enough for `file`, `head` and most small files, 6 ms at 40 MiB/s.
FIRST = 256 * KiB
# Files up to this size are fetched whole at the first touch: their second request would cost more than the bytes.
WHOLE = 1 * MiB
# Pieces of a window: one a connection. Below 512 KiB the round trip costs more than the bytes; above 4 MiB sixteen of
# them would be more memory than there is, and no faster (16 connections of 40 MiB/s at 30 ms: 77 % of their rate).
PIECE_MIN = 512 * KiB
PIECE_MAX = 4 * MiB
PIECES = 16
# Pieces are multiples of what the kernel reads at once (`fs.kernel.READ_AHEAD_KIB`): few answers are joined from two.
STEP = 256 * KiB
# Never fewer pieces than this in what memory and cache allow: one large chunk of a scan must not push out many others.
PIECES_MIN = 4
# The window is this many times what the stream has read already, each time its reader had to wait. (16 saves a row of
# small pieces over 30 ms, and asks the primary for most of a file before anything is known of its mirrors.)
GROWTH = 8
# Two reads belong to one stream if the second begins within this of where the first ended: kernel read-ahead keeps
# up to two requests of its size in flight, and they arrive in any order.
SLACK = 2 * MiB
# What lies between the reads of a stream is fetched too, as long as that is at most so many times the bytes asked, or
# so many quarters of the blocks that they cost anyway (a 4 KiB read: 20 times its bytes). Without this a reader of
# 4 KiB in each 2 MiB cost 434 bytes a byte, and 200 random reads of a 64 MiB file 41.
SPARSE = 4
SPARSE_QUARTERS = 5
# Streams of one version that are remembered; the least recently seen goes first.
STREAMS = 32


@dataclass(slots=True)
class Stream:
    """A run of reads.

    begin     offset of its first byte
    position  one past the furthest byte asked for
    read      bytes asked for in all: what the window may grow with, so that random reads that happen to fall near
              one another don't look like a fast sequential reader
    window    how far past `position` to have bytes on their way
    worth     how far it may reach from `begin` and still be worth fetching whole
    demanded  one past the furthest piece that was asked for because a reader waited
    asked     one past the furthest byte that was asked for ahead
    """

    begin: int
    position: int
    read: int
    window: int = 0
    worth: int = 0
    demanded: int = 0
    asked: int = 0

    @property
    def sparse(self) -> bool:
        return self.worth < self.position - self.begin

    def take(self, start: int, end: int) -> None:
        """Move on by a read; what it touches first costs its blocks whether or not more is fetched."""
        blocks = _up(end) - max(_down(start), _up(self.position))
        self.worth += max(SPARSE * (end - start), SPARSE_QUARTERS * blocks // 4)
        self.position = max(self.position, end)
        self.read += end - start


@dataclass(slots=True)  # not frozen, as `intervals.Segment`: each read makes one
class Advice:
    """What to fetch for one read.

    start, end  the demand: the bytes asked, rounded out, a whole piece for a stream that had nothing ahead of it; the
                reader waits for its part of it only
    since       what lies before this was asked for ahead already; where a reader waits it is looked at again
    ahead       fetch up to this offset in the background (``ahead <= since``: nothing)
    piece       how large one range of the background part should be, in bytes
    """

    start: int
    end: int
    since: int
    ahead: int
    piece: int


class Window:
    """The streams of one version."""

    __slots__ = ("_streams",)

    def __init__(self) -> None:
        self._streams: list[Stream] = []  # least recently seen first

    def advise(self, start: int, end: int, size: int, waits: bool, limit: int) -> Advice:
        """Say what to fetch for a read of ``[start, end)`` of a file of `size` bytes.

        waits  the reader has to wait for at least some of it
        limit  bytes that may ever be in flight ahead of readers, from the memory budget
        """
        if size <= WHOLE:
            return Advice(0, size, size, 0, PIECE_MIN)
        stream = self._continue(start, end)
        if stream is None:
            first = Stream(start, _down(start), 0, FIRST if start == 0 else 0)
            first.take(start, end)
            self._streams = [*self._streams[-STREAMS + 1 :], first]
            return _demand(start, max(end, first.window), size)
        if waits:
            stream.window = max(stream.window, GROWTH * stream.read)
        stream.window = max(stream.window, min(2 * PIECE_MAX, stream.read))
        if stream.sparse or stream.window < PIECE_MIN:
            return _demand(start, end, size)
        piece = _up(max(stream.window, stream.read) // PIECES, STEP)
        piece = max(PIECE_MIN, min(PIECE_MAX, _down(limit // PIECES_MIN, STEP), piece))
        ahead = min(stream.position + min(stream.window, limit), size)
        demand_end = end
        if waits and stream.window >= 2 * PIECE_MIN and end > stream.demanded:
            demand_end = stream.demanded = max(end, _down(start) + piece)
        demand_end = min(_up(demand_end), size)
        return Advice(_down(start), demand_end, demand_end if waits else max(demand_end, stream.asked), ahead, piece)

    def asked(self, until: int) -> None:
        """As advised last, all up to here has been asked for."""
        if self._streams:
            self._streams[-1].asked = until

    def _continue(self, start: int, end: int) -> Stream | None:
        """The stream that this read continues, moved on; None for a new one."""
        for i in range(len(self._streams) - 1, -1, -1):
            stream = self._streams[i]
            if max(stream.begin, stream.position - SLACK) <= start <= stream.position + SLACK:
                stream.take(start, end)
                if i != len(self._streams) - 1:
                    self._streams.append(self._streams.pop(i))
                return stream
        return None


def _demand(start: int, end: int, size: int) -> Advice:
    """The bytes asked, in whole blocks, and nothing ahead."""
    end = min(_up(end), size)
    return Advice(_down(start), end, end, 0, PIECE_MIN)


def _down(offset: int, step: int = BLOCK) -> int:
    return offset - offset % step


def _up(offset: int, step: int = BLOCK) -> int:
    return offset + -offset % step
