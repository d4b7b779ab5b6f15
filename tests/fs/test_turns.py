"""Turns to listen, by workers as pyfuse3 has them, on a socket in place of /dev/fuse."""

from __future__ import annotations

import math
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pyfuse3
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from rangefs.fs.turns import BRISK, BRISK_S, IN_A_BRISK_ROW, IN_A_ROW, LOOK_S, Looks, Turns

Handler = Callable[[int], Awaitable[None]]


@dataclass
class Loop:
    """pyfuse3's `_session_loop` and `main` (internal.pxi, 3.5): one byte is a request, 0 ends the session.

    lib   what pyfuse3 calls trio
    left  workers that were too many, and ended
    """

    turns: Turns
    handler: Handler
    max_tasks: int = 99
    answered: list[int] = field(default_factory=list)
    over: bool = False
    waiting: int = 0
    tasks: int = 1
    left: int = 0

    def __post_init__(self) -> None:
        self.device, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.device.setblocking(False)
        before = pyfuse3.trio  # type: ignore[attr-defined]
        self.turns.install()
        self.lib, pyfuse3.trio = pyfuse3.trio, before  # type: ignore[attr-defined]
        self.lock = self.lib.Lock()

    def ask(self, *requests: int) -> None:
        for request in requests:
            self.kernel.send(bytes([request]))

    async def main(self) -> None:
        async with self.lib.open_nursery() as nursery:
            nursery.start_soon(self.work, nursery, name="pyfuse-01")

    async def work(self, nursery: trio.Nursery) -> None:
        while not self.over:
            if self.waiting > 1:
                self.left += 1
                break
            self.waiting += 1
            try:
                async with self.lock:
                    await self.lib.lowlevel.wait_readable(self.device.fileno())
            finally:
                self.waiting -= 1
            try:
                request = self.device.recv(1)[0]
            except BlockingIOError:
                continue
            if not self.waiting and self.tasks < self.max_tasks:
                self.tasks += 1
                nursery.start_soon(self.work, nursery, name="pyfuse")
            if request == 0:
                self.over = True
                self.ask(0)  # an unmounted device is readable for everyone
                break
            await self.turns.answer(self._handle(request))
        self.tasks -= 1

    async def _handle(self, request: int) -> None:
        await self.handler(request)
        self.answered.append(request)

    def close(self) -> None:
        self.device.close()
        self.kernel.close()


@pytest.fixture
def sockets() -> Iterator[list[Loop]]:
    made: list[Loop] = []
    yield made
    for loop in made:
        loop.close()


async def at_once(request: int) -> None:
    """A cached read."""


async def test_what_is_answered_at_once_needs_no_second_step(sockets: list[Loop]) -> None:
    loop = Loop(Turns(), at_once)
    sockets.append(loop)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.main)
        await wait_all_tasks_blocked()
        loop.ask(1)
        await wait_all_tasks_blocked()  # there are two workers now: one listens, one queues
        steps = 0

        class Counter(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                nonlocal steps
                steps += task.name.startswith("pyfuse")

        counter = Counter()
        trio.lowlevel.add_instrument(counter)
        for request in range(2, 12):
            loop.ask(request)
            await wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(counter)
        assert loop.answered == list(range(1, 12))
        assert steps == 10, "with trio's own lock: 20"
        loop.ask(0)


def brisk() -> Looks:
    looks = Looks(processors=2)
    for _ in range(BRISK):
        assert not looks.worth_it
        looks.slept(BRISK_S / 2)
    return looks


def test_requests_are_looked_for_once_enough_of_them_came_soon() -> None:
    looks = brisk()
    assert looks.worth_it
    looks.slept(BRISK_S / 2)
    assert looks.worth_it
    looks.slept(2 * BRISK_S)
    assert not looks.worth_it


def test_after_a_pause_it_takes_as_many_again() -> None:
    looks = brisk()
    looks.expect_pause()
    for _ in range(BRISK - 1):
        looks.slept(BRISK_S / 2)
        assert not looks.worth_it
    looks.slept(BRISK_S / 2)
    assert looks.worth_it


def test_on_one_processor_nobody_looks() -> None:
    looks = Looks(processors=1)
    for _ in range(2 * BRISK):
        looks.slept(BRISK_S / 2)
    assert not looks.worth_it


@dataclass
class Steps:
    """A clock that goes on by a tenth of a look each time it is looked at, and calls `at` once."""

    now: float = 0.0
    at: float = math.inf
    then: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        self.now += LOOK_S / 10
        if self.now >= self.at:
            self.at = math.inf
            self.then()
        return self.now


def brisk_turns(clock: Steps) -> Turns:
    turns = Turns(2, clock)
    for _ in range(BRISK):
        turns.looks.slept(0)
    return turns


async def test_what_comes_while_one_looks_is_read_without_sleeping(sockets: list[Loop]) -> None:
    clock = Steps()
    loop = Loop(brisk_turns(clock), at_once)
    sockets.append(loop)
    clock.at, clock.then = LOOK_S / 2, lambda: loop.ask(1)
    with trio.move_on_after(0):  # a wait in trio would end with nothing
        await loop.lib.lowlevel.wait_readable(loop.device.fileno())
        assert loop.device.recv(1) == bytes([1])
        assert loop.turns.looks.worth_it
        return
    pytest.fail("it slept")


async def test_a_look_in_vain_ends_and_is_the_last(sockets: list[Loop]) -> None:
    clock = Steps()
    loop = Loop(brisk_turns(clock), at_once)
    sockets.append(loop)
    with trio.move_on_after(0) as scope:
        await loop.lib.lowlevel.wait_readable(loop.device.fileno())
    assert scope.cancelled_caught
    assert not loop.turns.looks.worth_it
    assert LOOK_S <= clock.now <= 2 * LOOK_S


async def test_while_handlers_wait_others_listen_and_those_too_many_leave(sockets: list[Loop]) -> None:
    go = trio.Event()

    async def odd_ones_wait(request: int) -> None:
        if request % 2:
            await go.wait()

    loop = Loop(Turns(), odd_ones_wait)
    sockets.append(loop)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.main)
        for request in range(1, 21):
            loop.ask(request)
            await wait_all_tasks_blocked()
        assert loop.answered == list(range(2, 21, 2))
        go.set()
        await wait_all_tasks_blocked()
        assert sorted(loop.answered) == list(range(1, 21))
        assert loop.left > 0
        loop.ask(21)
        await wait_all_tasks_blocked()
        loop.ask(22)
        await wait_all_tasks_blocked()
        assert loop.answered[-1] == 22, "somebody still listens"
        loop.ask(0)


@pytest.mark.parametrize("row", [IN_A_ROW, IN_A_BRISK_ROW])
async def test_everything_else_has_its_turn_after_a_few_requests_in_a_row(sockets: list[Loop], row: int) -> None:
    seen: list[int] = []

    async def note(request: int) -> None:
        seen.append(request)

    loop = Loop(brisk_turns(Steps()) if row == IN_A_BRISK_ROW else Turns(1), note)
    sockets.append(loop)
    loop.ask(*range(1, 101))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.main)
        longest = before = 0
        while len(seen) < 100:
            await trio.lowlevel.checkpoint()
            longest, before = max(longest, len(seen) - before), len(seen)
        assert longest <= 2 * (row + 1)  # in one round before this task, and in the next after it
        loop.ask(0)


async def test_a_cancelled_worker_leaves_the_queue(sockets: list[Loop]) -> None:
    loop = Loop(Turns(), at_once)
    sockets.append(loop)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.main)
            await wait_all_tasks_blocked()
            loop.ask(1)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert loop.waiting == 0


async def test_the_result_and_the_errors_of_a_handler_are_its_own() -> None:
    turns = Turns()

    async def result() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("it")

    async def cleans_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            tidy.append(1)

    tidy: list[int] = []
    assert await turns.answer(result()) == 7
    with pytest.raises(KeyError):
        await turns.answer(fails())
    with trio.move_on_after(0) as scope:
        await turns.answer(cleans_up())
    assert scope.cancelled_caught
    assert tidy == [1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.integers(1, 6),
)
def test_every_request_is_answered_whatever_handlers_wait_for(
    waits: list[int], bursts: list[int], max_tasks: int
) -> None:
    async def run() -> None:
        async def handler(request: int) -> None:
            for _ in range(waits[request - 1]):
                await trio.lowlevel.checkpoint()

        loop = Loop(Turns(), handler, max_tasks)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(loop.main)
                at = turn = 0
                while at < len(waits):
                    count = bursts[turn % len(bursts)]
                    loop.ask(*range(at + 1, min(at + count, len(waits)) + 1))
                    at, turn = at + count, turn + 1
                    await trio.lowlevel.checkpoint()
                while len(loop.answered) < len(waits):
                    await trio.sleep(0.001)
                loop.ask(0)
        assert sorted(loop.answered) == list(range(1, len(waits) + 1))
        loop.close()

    trio.run(run)
