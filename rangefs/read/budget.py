"""One budget for all buffers: flights, prefetch and write-behind reserve from it."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from rangefs.core.figures import MemoryFigures

# How long a reader waits for the disk to take what has landed, before that is dropped in favour of the reader. A disk
# that works takes a few MiB in that time, and dropping means to fetch again some day.
PATIENCE_S = 1.0
# What prefetch leaves to readers who wait: a quarter of the budget.
HEADROOM = 4


class Need(enum.Enum):
    """What memory is needed for, and what may be dropped for it."""

    AHEAD = "ahead"  #: prefetch: only what nobody seems to come for
    DEMAND = "demand"  #: a reader: also what the disk has
    OVERDUE = "overdue"  #: a reader who has waited for long: also what still waits for the disk


@dataclass(slots=True, eq=False)
class _Place:
    """A reader who waits for memory; impatient: it has waited for the disk for long enough."""

    size_bytes: int
    granted: trio.Event = field(default_factory=trio.Event)
    impatient: bool = False


class Budget:
    """Bytes of buffer memory. Prefetch gives way first (`try_reserve`), readers wait last (`reserve`).

    reclaim(n, need) is called when n bytes more are needed: it frees what can be spared by calling `release`.
    """

    def __init__(self, limit_bytes: int, figures: MemoryFigures, reclaim: Callable[[int, Need], None]) -> None:
        self.limit_bytes = limit_bytes
        self._figures = figures
        self._reclaim = reclaim
        self._waiting: deque[_Place] = deque()
        figures.limit_bytes = limit_bytes

    @property
    def used_bytes(self) -> int:
        return self._figures.buffers_bytes

    @property
    def ahead_bytes(self) -> int:
        """The most that prefetch may ever have."""
        return self.limit_bytes - self.limit_bytes // HEADROOM

    def spare(self) -> int:
        """Bytes that prefetch may take now; 0 while a reader waits for memory."""
        return 0 if self._waiting else max(0, self.ahead_bytes - self.used_bytes)

    def try_reserve(self, size_bytes: int) -> bool:
        """Reserve for prefetch, or say no."""
        if size_bytes > self.spare() and not self._waiting:
            self._reclaim(size_bytes - self.spare(), Need.AHEAD)
        if size_bytes > self.spare():
            return False
        self._figures.buffers_bytes += size_bytes
        return True

    async def reserve(self, size_bytes: int) -> None:
        """Reserve for a reader, in turn. Cancelled: nothing is reserved.

        More than the whole budget is granted once all else is free: a file must stay readable.
        """
        if not self._waiting and not self._fits(size_bytes):
            self._reclaim(self.used_bytes + size_bytes - self.limit_bytes, Need.DEMAND)
        if not self._waiting and self._fits(size_bytes):
            self._figures.buffers_bytes += size_bytes
            return
        place = _Place(size_bytes)
        self._waiting.append(place)
        try:
            with trio.move_on_after(PATIENCE_S):
                await place.granted.wait()
            place.impatient = True
            self.press()
            await place.granted.wait()
        except trio.Cancelled:
            if place.granted.is_set():
                self.release(size_bytes)
            else:
                self._waiting.remove(place)
                self._grant()  # whoever stood behind may fit where this one did not
            raise

    def release(self, size_bytes: int) -> None:
        """Give back; whoever waits longest is served first."""
        self._figures.buffers_bytes -= size_bytes
        self._grant()

    def press(self) -> None:
        """There is something new that can be spared: a reader who waits for memory gets it."""
        if self._waiting:
            first = self._waiting[0]
            need = Need.OVERDUE if first.impatient else Need.DEMAND
            self._reclaim(self.used_bytes + first.size_bytes - self.limit_bytes, need)

    def _grant(self) -> None:
        while self._waiting and self._fits(self._waiting[0].size_bytes):
            place = self._waiting.popleft()
            self._figures.buffers_bytes += place.size_bytes
            place.granted.set()

    def _fits(self, size_bytes: int) -> bool:
        return self.used_bytes + size_bytes <= self.limit_bytes or self.used_bytes == 0
