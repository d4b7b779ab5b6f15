"""The memory that bodies land in: page-aligned, and used again.

Fresh memory is not free: the kernel clears each page at its first touch, and on
a virtual machine the host may have to find it first (2.2 s a GiB where free
pages are handed back to the host, 0.1 s for memory in use; 2026-11). Buffers
that go round stay in use. Aligned, they can be written past the page cache
(`store.shelf.write_chunk`).

A buffer comes back by itself when the last view of it is gone, wherever that
was: a flight's, a reply's, a writer's. So nobody can see it change.
"""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections import deque
from functools import partial

# Smaller ones come from the allocator, which has them at hand.
SLAB_MIN = 64 << 10


class Buffers:
    """Hands out memory for bodies. What is idle is kept for the next, up to `idle_limit_bytes`."""

    def __init__(self, idle_limit_bytes: int) -> None:
        self._idle_limit_bytes = idle_limit_bytes
        self.idle_bytes = 0
        self._idle: dict[int, list[mmap.mmap]] = {}  # by size
        self._leases: dict[int, tuple[mmap.mmap, object]] = {}  # and the weak reference, which must live to be called
        self._leased = 0
        self._ended: deque[int] = deque()  # by whoever let go last, perhaps another thread

    def take(self, size_bytes: int) -> memoryview:
        """Memory for `size_bytes` > 0, with whatever is in it."""
        if size_bytes < SLAB_MIN:
            return memoryview(bytearray(size_bytes))
        self.take_back()
        size = _rounded(size_bytes)
        idle = self._idle.get(size)
        if idle:
            self.idle_bytes -= size
            slab = idle.pop()
        else:
            slab = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        lease = (ctypes.c_char * size_bytes).from_buffer(slab)
        self._leased += 1
        self._leases[self._leased] = slab, weakref.ref(lease, partial(_append, self._ended, self._leased))
        return memoryview(lease).cast("B")

    def take_back(self) -> None:
        """Look which buffers have ended; give back to the kernel what is too much."""
        while self._ended:
            slab, _ = self._leases.pop(self._ended.popleft())
            if self.idle_bytes + len(slab) <= self._idle_limit_bytes:
                self._idle.setdefault(len(slab), []).append(slab)
                self.idle_bytes += len(slab)


def _rounded(size_bytes: int) -> int:
    """Few sizes, so that they fit one another; an eighth too large at the most."""
    step = max(SLAB_MIN, 1 << ((size_bytes - 1).bit_length() - 4))
    return -(-size_bytes // step) * step


def _append(ended: deque[int], number: int, _: object) -> None:
    ended.append(number)
