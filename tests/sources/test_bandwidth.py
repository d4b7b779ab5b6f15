"""``--bwlimit`` and what an origin's habits are concluded from."""

from __future__ import annotations

import trio

from rangefs.sources.bandwidth import BURST_S, Bandwidth
from rangefs.sources.habits import SURE_AFTER, Habits


async def test_bodies_together_stay_within_the_limit(autojump_clock: trio.abc.Clock) -> None:
    bandwidth = Bandwidth(1000)

    async def read() -> None:
        for _ in range(10):
            await bandwidth.pay(100)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)
    assert 3.0 - BURST_S <= trio.current_time() - began <= 3.0


async def test_a_pause_earns_no_more_than_a_burst(autojump_clock: trio.abc.Clock) -> None:
    bandwidth = Bandwidth(1000)
    await bandwidth.pay(1)
    await trio.sleep(1000)
    began = trio.current_time()
    await bandwidth.pay(1000)
    assert trio.current_time() - began >= 1 - BURST_S - 0.001


async def test_no_limit_is_no_wait(autojump_clock: trio.abc.Clock) -> None:
    began = trio.current_time()
    await Bandwidth(None).pay(1 << 50)
    assert trio.current_time() == began


def test_one_whole_answer_speaks_for_its_own_file_only() -> None:
    habits = Habits()
    habits.answered_whole(b"page.php")
    assert habits.ignores_ranges(b"page.php")
    assert not habits.ignores_ranges(b"file")


def test_an_origin_that_answers_all_files_whole_has_no_ranges() -> None:
    habits = Habits()
    for number in range(SURE_AFTER):
        habits.answered_whole(b"%d" % number)
    assert habits.ignores_ranges(b"another")


def test_one_honoured_range_clears_the_origin_but_not_the_pages() -> None:
    habits = Habits()
    for number in range(SURE_AFTER):
        habits.answered_whole(b"%d" % number)
    habits.answered_a_range(b"file")
    assert not habits.ignores_ranges(b"another")
    assert habits.ignores_ranges(b"0")
    habits.answered_a_range(b"0")
    assert not habits.ignores_ranges(b"0")
