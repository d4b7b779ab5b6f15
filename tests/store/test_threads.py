"""What goes to a thread together comes back each with its own result."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rangefs.store.threads import Threads


async def test_those_who_come_during_a_trip_take_the_next_one_and_get_their_own_results() -> None:
    threads, began, go_on = Threads(), trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    came: list[tuple[int, int]] = []

    def first() -> int:
        token.run_sync_soon(began.set)
        go_on.wait(10)
        return threading.get_ident()

    async def later(number: int) -> None:
        if number == 3:
            with pytest.raises(ValueError, match="not mine"):
                await threads.together(lambda: int("not mine"))
        else:
            came.append((number, await threads.together(lambda: number * number)))

    trips = 0
    run = threads.run

    async def counted(work: Callable[[], object], *, for_reader: bool = False) -> object:
        nonlocal trips
        trips += 1
        return await run(work, for_reader=for_reader)

    threads.run = counted  # type: ignore[method-assign, assignment]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.together, first)
        await began.wait()
        for number in range(8):
            nursery.start_soon(later, number)
        await wait_all_tasks_blocked()
        assert trips == 1
        go_on.set()
    assert sorted(came) == [(n, n * n) for n in range(8) if n != 3]
    assert trips == 2


async def test_where_no_thread_is_to_be_had_all_of_a_trip_hear_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, heard = Threads(), 0

    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def ask() -> None:
        nonlocal heard
        with pytest.raises(OSError, match="can't start new thread"):
            await threads.together(lambda: 1)
        heard += 1

    with monkeypatch.context() as patched, trio.fail_after(5):
        patched.setattr("trio.lowlevel.start_thread_soon", none)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
    assert heard == 3
    assert await threads.together(lambda: 2) == 2
