"""Worker threads of the store: system calls and hashing happen here, decisions never."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")

WORKERS = 12
"""Threads at most. Writes and cold reads wait for the disk, not for a processor."""


class Threads:
    """The store's own share of trio's threads, so that a slow disk can't take those of name lookups."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(WORKERS)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work()`. Once begun it is waited for: cancellation never leaves a thread behind."""
        return await trio.to_thread.run_sync(work, limiter=self._limiter)
