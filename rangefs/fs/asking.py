"""When upstream may be asked, for how long, and what its silence means.

An upstream that fails is never taken for one that says "gone": what is known
is shown as stale for ``--stale-if-error``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from rangefs.core.settings import MountSettings
from rangefs.errors import DeadlineExceeded, RangefsError, Unreachable
from rangefs.fs.tree import NEVER
from rangefs.sources.clock import since_boot

log = logging.getLogger(__name__)

T = TypeVar("T")

# A silent origin counts as failing after this where there is a cached version to show instead (SEMANTICS §5).
VALIDATE_S = 2.0
# …and after this while it is known to fail: each part of a path would cost its own `VALIDATE_S` otherwise. A live
# upstream that has come back meanwhile still has the time to say so. (Not where there are mirrors: one of them may well
# answer, from further away than that, and what hangs is not asked again and again, but left out by its breaker.)
VALIDATE_AGAIN_S = 0.2
# After a failure, what is stale is shown for this long before upstream is asked again.
PAUSE_S = 5.0
# While upstream fails it is asked by one request at these intervals, growing, whether anybody reads or not.
FIRST_PROBE_S = 1.0
LAST_PROBE_S = 30.0


class Asking:
    """The rules of one mount, its two clocks, and what it last met.

    trouble       why upstream can't be asked; None while it answers
    last_trouble  the last one, also when it is over; "" before the first
    clock         seconds, those of a suspended machine included; wall: seconds since the epoch
    """

    def __init__(
        self,
        settings: MountSettings,
        clock: Callable[[], float] = since_boot,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.trouble: str | None = None
        self.last_trouble = ""
        self.offline = settings.offline
        self.ttl_s = settings.metadata_ttl_s
        self.open_s = settings.upstream.open_timeout_s
        self.read_s = settings.upstream.read_timeout_s
        self.stale_s = settings.stale_if_error_s
        self._again_s = VALIDATE_S if settings.mirrors else VALIDATE_AGAIN_S
        self.clock = clock
        self.wall = wall
        self._troubled = trio.Event()
        self._failed_at = NEVER
        self._began_at = NEVER

    async def within(self, timeout_s: float, work: Awaitable[T]) -> T:
        """The result of `work`. Raises `DeadlineExceeded`; `work` is cancelled then."""
        with trio.move_on_after(timeout_s):
            return await work
        raise DeadlineExceeded(f"no answer from upstream within {timeout_s:g} s")

    def failed(self, error: RangefsError) -> bool:
        """Did upstream fail to answer at all? Remembers why."""
        if isinstance(error, Unreachable):
            self._fails(str(error))
        elif isinstance(error, DeadlineExceeded):  # says less than what an earlier question may have met
            self._fails(self.trouble or str(error))
        return isinstance(error, Unreachable | DeadlineExceeded)

    def was_silent(self, waited_s: float) -> None:
        """Nothing came within `waited_s`, and something stale was shown instead."""
        self._fails(self.trouble or f"no answer from upstream within {waited_s:g} s")

    def _fails(self, why: str) -> None:
        now = self.clock()
        if self.trouble is None:
            self._began_at = now
            if not self.offline:
                log.info("%s; what is cached is shown as it was until upstream answers again", why)
        self._failed_at = now
        self.trouble = self.last_trouble = why
        if not self.offline:
            self._troubled.set()

    def answered(self) -> None:
        """Upstream has just answered."""
        if self.trouble is not None:
            log.info("upstream answers again, after %.0f s", self.clock() - self._began_at)
            self.trouble, self._troubled = None, trio.Event()

    @property
    def patience_s(self) -> float:
        """How long to wait for upstream where there is something stale to show."""
        failing = self.trouble is not None and self.clock() - self._failed_at < PAUSE_S
        return self._again_s if failing else VALIDATE_S

    @property
    def reason(self) -> str | None:
        """`trouble` with its age, for people."""
        if self.trouble is None:
            return None
        return f"upstream has not answered for {self.clock() - self._began_at:.0f} s: {self.trouble}"

    async def recover(self, probe: Callable[[], Awaitable[None]]) -> None:
        """Ask now and then while upstream fails, so that it is noticed when it is back. Until cancelled.

        probe  asks one small question, and calls `answered` or `failed`
        """
        while True:
            await self._troubled.wait()
            pause_s = FIRST_PROBE_S
            while self.trouble is not None:
                await trio.sleep(pause_s)
                pause_s = min(LAST_PROBE_S, 2 * pause_s)
                if self.trouble is not None:
                    await probe()

    def tolerable(self, then: float) -> bool:
        """May what was true `then` be shown while upstream fails?"""
        if self.offline:
            return True
        return then != NEVER and self.clock() - then < max(self.stale_s, self.ttl_s)
