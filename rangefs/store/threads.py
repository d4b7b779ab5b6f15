"""Worker threads of the store: system calls and hashing happen here, decisions never."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import trio

T = TypeVar("T")

WRITERS = 8
READERS = 16
"""Threads at most: they wait for the disk, not for a processor. Readers have their own, so that a disk that is slow
to write (or to sync) keeps no reader waiting."""


@dataclass(slots=True, eq=False)
class _Job(Generic[T]):
    """Work that goes to a thread with others; its result or error are there when it has come back."""

    work: Callable[[], T]
    result: T | None = None
    error: BaseException | None = None
    done: bool = False


class Threads:
    """The store's own share of trio's threads, so that a slow disk can't take those of name lookups."""

    def __init__(self) -> None:
        self._writers = trio.CapacityLimiter(WRITERS)
        self._readers = trio.CapacityLimiter(READERS)
        self._trip: trio.Event | None = None  # set when those who are under way together are back
        self._jobs: list[_Job[object]] = []

    async def run(self, work: Callable[[], T], *, for_reader: bool = False) -> T:
        """The result of `work()`. Once begun it is waited for: cancellation never leaves a thread behind.

        Not by ``trio.to_thread``, which names the thread after its work and back, two more switches of the interpreter
        between it and the event loop (a first read of 1 GiB: 0.96 of the time).

        for_reader  someone's read waits for it

        Raises what `work` raises, `OSError` (ENOMEM) where no thread is to be had.
        """
        async with self._readers if for_reader else self._writers:
            back = trio.lowlevel.current_trio_token().run_sync_soon
            deliver = partial(back, trio.lowlevel.reschedule, trio.lowlevel.current_task())
            try:
                trio.lowlevel.start_thread_soon(work, deliver)
            except RuntimeError as error:
                raise OSError(errno.ENOMEM, str(error)) from error
            result: T = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
            return result

    async def together(self, work: Callable[[], T]) -> T:
        """As `run`, for what takes microseconds: all that is asked for during one trip to a thread takes the next.

        Shield it: what has been taken along can't be called back.
        """
        job = _Job(work)
        self._jobs.append(job)  # type: ignore[arg-type]
        while not job.done:
            if self._trip is not None:
                await self._trip.wait()
                continue
            jobs, self._jobs, self._trip = self._jobs, [], trio.Event()
            try:
                await self.run(partial(_carry_out, jobs))
            except OSError as error:  # no thread to be had: theirs to know, too
                for left in jobs:
                    left.error, left.done = error, True
            finally:
                over, self._trip = self._trip, None
                over.set()
        failure, job.error = job.error, None  # what is raised holds this frame, and that what `work` does: no cycle
        if failure is not None:
            try:
                raise failure
            finally:
                del failure
        return job.result  # type: ignore[return-value]


def _carry_out(jobs: Sequence[_Job[object]]) -> None:
    for job in jobs:
        try:
            job.result = job.work()
        except BaseException as error:  # whose it is will raise it
            job.error = error
        job.done = True
