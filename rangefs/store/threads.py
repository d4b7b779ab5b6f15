"""Worker threads of the store: system calls and hashing happen here, decisions never."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")

WRITERS = 8
READERS = 16
"""Threads at most: they wait for the disk, not for a processor. Readers have their own, so that a disk that is slow
to write (or to sync) keeps no reader waiting."""


class Threads:
    """The store's own share of trio's threads, so that a slow disk can't take those of name lookups."""

    def __init__(self) -> None:
        self._writers = trio.CapacityLimiter(WRITERS)
        self._readers = trio.CapacityLimiter(READERS)

    async def run(self, work: Callable[[], T], *, for_reader: bool = False) -> T:
        """The result of `work()`. Once begun it is waited for: cancellation never leaves a thread behind.

        for_reader  someone's read waits for it
        """
        return await trio.to_thread.run_sync(work, limiter=self._readers if for_reader else self._writers)
