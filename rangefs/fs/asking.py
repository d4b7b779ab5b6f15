"""When upstream may be asked, for how long, and what its silence means.

An upstream that fails is never taken for one that says "gone": what is known
is shown as stale for ``--stale-if-error``.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from rangefs.core.settings import MountSettings
from rangefs.errors import DeadlineExceeded, RangefsError, Unreachable
from rangefs.fs.tree import NEVER

T = TypeVar("T")

# A silent origin counts as failing after this where there is a cached version to show instead (SEMANTICS §5).
VALIDATE_S = 2.0
# After a failure, what is stale is shown for this long before upstream is asked again.
PAUSE_S = 5.0


class Asking:
    """The rules of one mount, its two clocks, and what it last met.

    trouble  why upstream can't be asked; None while it answers
    clock    seconds of the event loop; wall: seconds since the epoch
    """

    def __init__(
        self,
        settings: MountSettings,
        clock: Callable[[], float] = trio.current_time,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.trouble: str | None = None
        self.offline = settings.offline
        self.ttl_s = settings.metadata_ttl_s
        self.open_s = settings.upstream.open_timeout_s
        self.read_s = settings.upstream.read_timeout_s
        self.stale_s = settings.stale_if_error_s
        self.clock = clock
        self.wall = wall

    async def within(self, timeout_s: float, work: Awaitable[T]) -> T:
        """The result of `work`. Raises `DeadlineExceeded`; `work` is cancelled then."""
        with trio.move_on_after(timeout_s):
            return await work
        raise DeadlineExceeded(f"no answer from upstream within {timeout_s:g} s")

    def failed(self, error: RangefsError) -> bool:
        """Did upstream fail to answer at all? Remembers why."""
        if isinstance(error, Unreachable | DeadlineExceeded):
            self.trouble = str(error)
            return True
        return False

    def tolerable(self, then: float) -> bool:
        """May what was true `then` be shown while upstream fails?"""
        if self.offline:
            return True
        return then != NEVER and self.clock() - then < max(self.stale_s, self.ttl_s)
