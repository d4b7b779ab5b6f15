"""The memory that bodies land in: page-aligned, and used again.

Fresh memory is not free: the kernel clears each page at its first touch, and on
a virtual machine the host may have to find it first (2.2 s a GiB where free
pages are handed back to the host, 0.1 s for memory in use; 2026-11). Buffers
that go round stay in use, and large new ones can be touched by a thread while
their body is awaited (`populate`). Aligned, they can be written past the page
cache (`store.shelf.write_chunk`).

A buffer comes back by itself when the last view of it is gone, wherever that
was: a flight's, a reply's, a writer's. So nobody can see it change.
"""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial

# Smaller ones come from the allocator, which has them at hand.
SLAB_MIN = 64 << 10
# The first touch of a new one from here on is worth the way to a thread.
POPULATE_MIN = 1 << 20
MADV_POPULATE_WRITE = 23  # madvise(2), Linux 5.14; Python's mmap has no name for it, and keeps the interpreter

_libc = ctypes.CDLL(None)
_libc.madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


class Buffers:
    """Hands out memory for bodies, and keeps what comes back for the next.

    limit_bytes  idle ones are given back to the kernel while they and those in use are more together
    rest_bytes   and down to this where none is in use
    on_fresh     told of new memory from `POPULATE_MIN` on: the time to `populate` it, elsewhere
    """

    def __init__(
        self, limit_bytes: int, rest_bytes: int, on_fresh: Callable[[mmap.mmap], object] = lambda slab: None
    ) -> None:
        self._on_fresh = on_fresh
        self._limit_bytes = limit_bytes
        self._rest_bytes = rest_bytes
        self.leased_bytes = 0
        self.idle_bytes = 0
        self._idle: dict[int, list[mmap.mmap]] = {}  # by size, none empty
        self._leases: dict[int, tuple[mmap.mmap, object]] = {}  # and the weak reference, which must live to be called
        self._leased = 0
        self._ended: deque[int] = deque()  # by whoever let go last, perhaps another thread

    def take(self, size_bytes: int) -> memoryview:
        """Memory for `size_bytes` > 0, with whatever is in it."""
        if size_bytes < SLAB_MIN:
            return memoryview(bytearray(size_bytes))
        self.take_back()
        size = _rounded(size_bytes)
        if size in self._idle:
            slab = self._unidle(size)
        else:
            self._shrink(self._limit_bytes - self.leased_bytes - size)
            slab = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if size >= POPULATE_MIN:
                self._on_fresh(slab)
        self.leased_bytes += size
        lease = (ctypes.c_char * size_bytes).from_buffer(slab)
        self._leased += 1
        self._leases[self._leased] = slab, weakref.ref(lease, partial(_append, self._ended, self._leased))
        return memoryview(lease).cast("B")

    def take_back(self) -> None:
        """Look which buffers have ended; give back to the kernel what is too much."""
        while self._ended:
            slab, _ = self._leases.pop(self._ended.popleft())
            self.leased_bytes -= len(slab)
            self._idle.setdefault(len(slab), []).append(slab)
            self.idle_bytes += len(slab)
        self._shrink(self._limit_bytes - self.leased_bytes if self.leased_bytes else self._rest_bytes)

    def _shrink(self, idle_bytes: int) -> None:
        while self.idle_bytes > max(idle_bytes, 0):
            self._unidle(next(iter(self._idle)))

    def _unidle(self, size: int) -> mmap.mmap:
        slabs = self._idle[size]
        slab = slabs.pop()
        if not slabs:
            del self._idle[size]
        self.idle_bytes -= size
        return slab


def populate(slab: mmap.mmap) -> None:
    """Touch each page of it, whatever is in it; for a thread. Does nothing on a kernel that can't."""
    lease = (ctypes.c_char * len(slab)).from_buffer(slab)
    _libc.madvise(ctypes.addressof(lease), len(slab), MADV_POPULATE_WRITE)


def _rounded(size_bytes: int) -> int:
    """Few sizes, so that they fit one another; an eighth too large at the most."""
    step = max(SLAB_MIN, 1 << ((size_bytes - 1).bit_length() - 4))
    return -(-size_bytes // step) * step


def _append(ended: deque[int], number: int, _: object) -> None:
    ended.append(number)
