"""``--bwlimit``: how fast bodies may be read, all of them together."""

from __future__ import annotations

import trio

# What may be read at once after a pause, in seconds of the limit: enough that small files don't wait.
BURST_S = 0.25


class Bandwidth:
    """A token bucket in bytes; None for no limit. Readers pay after they have read, so a piece of any size passes."""

    def __init__(self, bytes_s: int | None) -> None:
        self._bytes_s = bytes_s
        self._paid_until = float("-inf")  # on trio's clock

    async def pay(self, size_bytes: int) -> None:
        """Returns when the next read may begin. Cancelled: what was read stays paid for."""
        if self._bytes_s is None:
            return
        now = trio.current_time()
        self._paid_until = max(self._paid_until, now - BURST_S) + size_bytes / self._bytes_s
        if self._paid_until > now:
            await trio.sleep_until(self._paid_until)
