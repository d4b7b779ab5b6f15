"""One question to several origins, one after another: the next is asked when the one before fails or is late.

Who answers first wins, but for the primary while it is thought to be well: it
is waited for a little longer, since its word is the one that counts. Every
contest teaches how its origins are doing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

from rangefs.core.joining import PRIMARY
from rangefs.errors import BadAnswer, DeadlineExceeded, NotAListing, RangefsError, Unreachable
from rangefs.sources.upstream import Upstream

T = TypeVar("T")

# Nothing at all from an origin for so long, while it was asked for something: it is down, not late.
SILENT_S = 1.25
# While the primary is waited for, so often it is looked whether its tries fail (of which nobody is told).
GLANCE_S = 0.25


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds.

    next_s  for whoever was asked last, before the next one is asked as well
    hold_s  for the primary, though another one has answered; again as long while bytes come from it
    rated   do answers come as soon as the origin can, so that they say how fast it is?
    brief   once a mirror has said no, nobody waits for a primary that is down, which has a probe of its own
    """

    next_s: float
    hold_s: float = 0.0
    rated: bool = False
    brief: bool = False


@dataclass(frozen=True, slots=True)
class Won(Generic[T]):
    """The answer that counts, and whose it is."""

    upstream: Upstream
    value: T


class Contest(Generic[T]):
    """Asks `ask` of `runners`, best first.

    eager      ask those that are down beside others too, not only when nobody else is left
    undo       gives up an answer that came too late
    failures   what each of those that failed raised, by number
    """

    def __init__(
        self,
        runners: Sequence[Upstream],
        ask: Callable[[Upstream], Awaitable[T]],
        patience: Patience,
        undo: Callable[[T], Awaitable[None]] | None = None,
        eager: bool = False,
    ) -> None:
        self.failures: dict[int, RangefsError] = {}
        self._runners = runners
        self._waiting = deque(runners)
        self._ask = ask
        self._patience = patience
        self._undo = undo
        self._eager = eager
        first = runners[0]
        self._favoured = first if first.is_primary and patience.hold_s and (eager or not first.health.down) else None
        self._began: dict[Upstream, float] = {}
        self._bytes: dict[Upstream, int] = {}
        self._retries: dict[Upstream, int] = {}
        self._answers: dict[Upstream, T] = {}
        self._verdict: RangefsError | None = None
        self._news = trio.Event()

    async def run(self) -> Won[T]:
        """The first answer. Raises what the primary says where that settles it; else what it failed with, or another.

        Cancelled, or raising: every answer has been given up.
        """
        winner: Upstream | None = None
        try:
            async with trio.open_nursery() as nursery:
                await self._settle(nursery)
                nursery.cancel_scope.cancel()
            winner = self._winner()
        finally:
            self._note_the_late()
            losers = [runner for runner in self._answers if runner is not winner]
            if self._undo is not None and losers:
                with trio.CancelScope(shield=True):  # closes connections, waits for nobody
                    for loser in losers:
                        await self._undo(self._answers[loser])
        return Won(winner, self._answers[winner])

    # -- whose turn it is ----------------------------------------------------------------

    async def _settle(self, nursery: trio.Nursery) -> None:
        """Asks one after another until it is decided."""
        hold_until = trio.current_time() + self._patience.hold_s
        while not self._decided(hold_until):
            now = trio.current_time()
            if self._answers:
                if hold_until <= now:
                    hold_until = now + self._patience.hold_s
                wake_at = min(hold_until, now + GLANCE_S)
            else:
                wake_at = self._next_at()
                if wake_at <= now:
                    self._start(nursery, self._waiting.popleft())
                    continue
            with trio.move_on_at(wake_at):
                await self._news.wait()
            self._news = trio.Event()

    def _decided(self, hold_until: float) -> bool:
        if self._verdict is not None:
            return True
        if not self._answers:
            if self._patience.brief and self._denied and all(runner.health.down for runner in self._waiting):
                self._waiting.clear()
            return not self._began and not self._waiting
        favoured = self._favoured
        if favoured is None or favoured not in self._began:  # it has answered, or failed
            return True
        if self._failing(favoured) or favoured.health.down:
            return True
        return trio.current_time() >= hold_until and not self._heard(favoured)

    def _next_at(self) -> float:
        """When the next one is to be asked: one that is doubted, only if the others have become so as well."""
        if not self._waiting:
            return float("inf")
        if not self._began:
            return float("-inf")
        doubted = self._waiting[0].health.doubted and not self._eager
        return max(self._began.values()) + max(self._patience.next_s, SILENT_S if doubted else 0.0)

    def _winner(self) -> Upstream:
        if self._verdict is not None:
            raise self._verdict
        if self._favoured in self._answers:
            return self._favoured
        if self._answers:
            return next(iter(self._answers))
        failure = self.failures.get(self._runners[0].number if len(self._runners) == 1 else PRIMARY)
        raise failure or Unreachable("the primary does not answer, and no mirror has it")

    # -- one of them ---------------------------------------------------------------------

    def _start(self, nursery: trio.Nursery, runner: Upstream) -> None:
        self._began[runner] = trio.current_time()
        self._bytes[runner] = runner.figures.bytes
        self._retries[runner] = runner.figures.retries
        nursery.start_soon(self._run, runner)

    async def _run(self, runner: Upstream) -> None:
        with trio.CancelScope() as scope:
            if len(self._runners) > 1 and not self._patience.hold_s:
                runner.pending.add(scope)
            try:
                await self._asked(runner)
            finally:
                runner.pending.discard(scope)
        if scope.cancelled_caught:  # it is doubted by now: the others go first
            self._waiting.append(runner)
        del self._began[runner]
        self._news.set()

    async def _asked(self, runner: Upstream) -> None:
        try:
            answer = await self._ask(runner)
        except RangefsError as error:
            self.failures[runner.number] = error
            if isinstance(error, Unreachable | DeadlineExceeded):
                runner.fell(str(error))
            else:
                runner.answered()
            if runner.is_primary and _settles(error):
                self._verdict = error
        else:
            after_s = trio.current_time() - self._began[runner]
            runner.answered(after_s if self._patience.rated else None)
            self._answers[runner] = answer

    @property
    def _denied(self) -> bool:
        """Has one answered, and said no?"""
        return any(not isinstance(e, Unreachable | DeadlineExceeded) for e in self.failures.values())

    def _failing(self, runner: Upstream) -> bool:
        """Did a try fail since it was asked, of this question or another, and has nothing come?"""
        return runner.figures.retries > self._retries[runner] and not self._heard(runner)

    def _heard(self, runner: Upstream) -> bool:
        """Has anything come from it since it was asked, by this question or another?"""
        return runner.health.heard_at >= self._began[runner] or runner.figures.bytes > self._bytes[runner]

    def _note_the_late(self) -> None:
        """Those that were asked, and left behind."""
        now = trio.current_time()
        for runner, began in self._began.items():
            waited_s = now - began
            if self._heard(runner) or waited_s < min(SILENT_S, 0.9 * self._patience.next_s):
                continue
            if waited_s >= SILENT_S or self._failing(runner):
                runner.fell(f"{runner.name}: no answer for {waited_s:.1f} s")
            else:
                runner.late()


def _settles(error: RangefsError) -> bool:
    """Is this the primary's word, which no mirror can better?"""
    return isinstance(error, NotAListing) or not isinstance(error, Unreachable | DeadlineExceeded | BadAnswer)
