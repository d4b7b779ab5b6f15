"""Whose turn it is to listen to the kernel: pyfuse3's event loop, with half of its steps.

pyfuse3 runs worker tasks. One listens: it holds a lock and waits until /dev/fuse is readable. It lets go of the lock,
reads the request, runs its handler, and queues for the lock again; letting go has woken the next worker. With trio's
Lock that is two rounds of the event loop and two switches of task for each request, although nearly every handler of
ours has its answer at once (a cached read, a known name), and the worker that has just read a request could listen on.

`Turns` takes the place of the names that pyfuse3 looks up in trio, as pyfuse3's own asyncio support does:

- The lock (`Lock`) is let go without waking anyone. Who comes back with its request answered takes it again at once.
- A handler that has to wait (`answer` sees its first step come back unfinished) hands over to a worker that queues.
- A worker that ends hands over too: pyfuse3 ends those that are too many, and all of them at an unmount.
- A few requests in a row are read without asking the event loop, where they are queued already (`wait_readable`).
- Where one came right after the other, the worker looks for the next a moment longer before it sleeps (`Looks`).

Invariant: whenever the event loop runs something else, a worker listens, or none queues for it. (Each wait of a worker
is the wait for the descriptor, the queue, or inside a handler: the first holds the lock, the last two hand over.)

A bare handler, reads of 256 KiB in order: 20 µs of 80 of the processor's time in user mode a request (2026-11).
"""

from __future__ import annotations

import os
import select
import time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import pyfuse3
import trio

R = TypeVar("R")

# So many requests are read in a row before everything else that runs here has its turn: about 1 ms of large reads, and
# at most 9 ms of those brisk ones that are looked for.
IN_A_ROW = 8
IN_A_BRISK_ROW = 32
# A worker that sleeps has to be woken up: on a virtual machine that is most of the time that a small read takes. Once
# so many requests in a row came this soon, the next is looked for that long. (Random 4 KiB reads of one reader: 1.3
# times as many, 20 pairs of runs; 256 KiB each for touches of a mapping: 0.88 of the time, 12 pairs, and 0.95 where one
# looks for 100 µs only. Sequential readers of as much became slower. 2026-11)
BRISK = 8
BRISK_S = 200e-6
LOOK_S = 200e-6


class Looks:
    """Is the next request worth looking for? Pure: what came when in, a choice out.

    processors  that this process may use: with one, who is to ask could not run while one looks
    """

    __slots__ = ("_soon", "_useful")

    def __init__(self, processors: int) -> None:
        self._useful = processors > 1
        self._soon = 0

    @property
    def worth_it(self) -> bool:
        return self._soon >= BRISK and self._useful

    def slept(self, seconds: float) -> None:
        """A request has woken the worker."""
        self._soon = self._soon + 1 if seconds < BRISK_S else 0

    def expect_pause(self) -> None:
        """None came while one looked, or the last answer keeps its reader busy for a while."""
        self._soon = 0


class Turns:
    """The turn to listen, and what pyfuse3 calls trio. `install` it before ``pyfuse3.main``."""

    def __init__(self, processors: int | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.looks = Looks(processors or len(os.sched_getaffinity(0)))
        self._clock = clock
        self._listening = False
        self._queue: deque[trio.lowlevel.Task] = deque()
        self._poll: Callable[[float], object] | None = None
        self._in_a_row = 0

    def install(self) -> None:
        """From now on pyfuse3's workers take their turns here."""
        lowlevel = types.SimpleNamespace(
            current_task=trio.lowlevel.current_task,
            current_trio_token=trio.lowlevel.current_trio_token,
            notify_closing=trio.lowlevel.notify_closing,
            wait_readable=self.wait_readable,
        )
        pyfuse3.trio = types.SimpleNamespace(  # type: ignore[attr-defined]
            ClosedResourceError=trio.ClosedResourceError,
            Lock=lambda: self,
            from_thread=trio.from_thread,
            lowlevel=lowlevel,
            open_nursery=lambda: _Workers(self),
        )

    @types.coroutine
    def answer(self, work: Coroutine[Any, Any, R]) -> Generator[Any, Any, R]:
        """Await a request's handler; while it waits, another worker listens."""
        step, argument = work.send, None
        while True:
            try:
                trap = step(argument)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            self.hand_over()
            try:
                step, argument = work.send, (yield trap)
            except BaseException as error:  # whatever ends the wait is the handler's to see
                step, argument = work.throw, error

    def hand_over(self) -> None:
        """Nobody listens just now? Then the worker does that has queued for longest."""
        if self._queue and not self._listening:
            self._listening = True
            trio.lowlevel.reschedule(self._queue.popleft())

    # -- the lock, as pyfuse3 uses it -------------------------------------------

    async def __aenter__(self) -> None:
        """Take the turn, without a step of the event loop where it is free. Cancelled in the queue: it is left."""
        if not self._listening:
            self._listening = True
            return
        task = trio.lowlevel.current_task()
        self._queue.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._queue.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def __aexit__(self, *_: object) -> None:
        self._listening = False

    # -- the descriptor -----------------------------------------------------------

    async def wait_readable(self, fd: int) -> None:
        """Until a request is there: at once where one is or comes, but not too often in a row.

        Raises `trio.ClosedResourceError` once the loop is to end.
        """
        if self._poll is None:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            self._poll = poll.poll
        brisk = self.looks.worth_it
        row = IN_A_BRISK_ROW if brisk else IN_A_ROW
        if self._in_a_row < row and (self._poll(0) or (brisk and self._look(self._poll))):
            self._in_a_row += 1
            return
        self._in_a_row = 0
        asleep = self._clock()
        await trio.lowlevel.wait_readable(fd)
        self.looks.slept(self._clock() - asleep)

    def _look(self, poll: Callable[[float], object]) -> bool:
        until = self._clock() + LOOK_S
        while self._clock() < until:
            if poll(0):
                return True
        self.looks.expect_pause()
        return False


class _Workers:
    """The nursery of pyfuse3's workers: one that ends hands over its turn."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._manager: AbstractAsyncContextManager[trio.Nursery] = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> _Workers:
        self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(self, *how: Any) -> bool | None:
        return await self._manager.__aexit__(*how)

    def start_soon(self, loop: Callable[..., Coroutine[Any, Any, None]], *args: object, name: str) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._work, loop, args, name=name)

    async def _work(self, loop: Callable[..., Coroutine[Any, Any, None]], args: tuple[object, ...]) -> None:
        try:
            await loop(*args)
        finally:
            self._turns.hand_over()
