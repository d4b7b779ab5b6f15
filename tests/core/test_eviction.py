"""The eviction policy on traces: what a scan costs the hot set, and who goes last."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.columns import CONSUMED, LIVE, VISITED, ChunkColumns
from rangefs.core.eviction import choose

SCANNED = 1 << 20  # object numbers from here on are the scan's


def nobody(number: int) -> bool:
    return False


class Cache:
    """Chunks of one page each, by object number; reads and evicts as the store does."""

    def __init__(self, capacity: int, flags: int = CONSUMED) -> None:
        self.new_flags = flags
        self.chunks = ChunkColumns()
        self.capacity = capacity
        self.hand = 0
        self.rows: dict[int, int] = {}

    def read(self, number: int) -> bool:
        """A hit? A miss brings the chunk in; its first reading counts for nothing."""
        row = self.rows.get(number)
        if row is not None:
            self.chunks.flags[row] |= VISITED
            return True
        while self.chunks.live >= self.capacity:
            choice = choose(self.chunks, self.hand, 1, nobody, lambda number: number >= SCANNED)
            self.hand = choice.hand
            for gone in choice.rows:
                del self.rows[self.chunks.numbers[gone]]
                self.chunks.kill(gone)
        row = self.chunks.append(len(self.chunks) + 1)
        self.chunks.fill(row, number, 0, 1, 1, self.new_flags)
        self.rows[number] = row
        return False


@pytest.mark.parametrize("flags", [0, CONSUMED])
@pytest.mark.parametrize("capacity", [600, 1000])
def test_a_scan_of_ten_times_the_cache_leaves_the_hot_set(flags: int, capacity: int) -> None:
    """Also if the scanned file is open and its chunks were never seen to be read, as readers are served from memory."""
    cache = Cache(capacity, flags)
    hot = range(500)
    for number in [*hot, *hot]:
        cache.read(number)
    for number in range(10_000):
        cache.read(SCANNED + number)
    assert sum(number in cache.rows for number in hot) >= 0.8 * len(hot)


def test_a_scan_between_uses_of_the_hot_set_leaves_it_too() -> None:
    cache = Cache(1000)
    draw = random.Random(1)
    for number in [*range(700), *range(700)]:
        cache.read(number)
    hits = 0
    for number in range(10_000):
        cache.read(SCANNED + number)
        hits += cache.read(draw.randrange(700))
    assert hits > 0.95 * 10_000


def test_without_use_the_oldest_goes_first() -> None:
    cache = Cache(10)
    for number in range(25):
        cache.read(number)
    assert sorted(cache.rows) == list(range(15, 25))


def test_skewed_reads_hit_more_than_lru() -> None:
    draw = random.Random(2)
    trace = [int(draw.paretovariate(0.9)) for _ in range(30_000)]
    cache, lru = Cache(200), dict[int, None]()
    hits = lru_hits = 0
    for number in trace:
        hits += cache.read(number)
        lru_hits += number in lru
        lru.pop(number, None)
        lru[number] = None
        if len(lru) > 200:
            del lru[next(iter(lru))]
    assert hits >= lru_hits


@given(
    flags=st.lists(st.sampled_from([0, LIVE, LIVE | VISITED, LIVE | CONSUMED, LIVE | VISITED | CONSUMED]), max_size=40),
    need=st.integers(0, 60),
    hand=st.integers(0, 50),
    pinned=st.sets(st.integers(1, 40)),
    held=st.sets(st.integers(1, 40)),
)
def test_enough_goes_if_there_is_enough_and_pins_never(
    flags: list[int], need: int, hand: int, pinned: set[int], held: set[int]
) -> None:
    chunks = ChunkColumns()
    for number, flag in enumerate(flags, 1):
        row = chunks.append(number)
        if flag:
            chunks.fill(row, number, 0, 1, 1, flag)
    may_go = {row for row in range(len(flags)) if flags[row] and row + 1 not in pinned}
    choice = choose(chunks, hand, need, pinned.__contains__, held.__contains__)
    assert len(set(choice.rows)) == len(choice.rows) == choice.pages == min(need, len(may_go))
    assert set(choice.rows) <= may_go


def test_what_was_just_fetched_for_an_open_file_goes_last() -> None:
    chunks = ChunkColumns()
    for number in range(1, 65):
        chunks.fill(chunks.append(number), number, 0, 1, 1, 0)
    newest = {60, 61, 62, 63}
    held = {number + 1 for number in newest}
    assert set(choose(chunks, 58, 60, nobody, held.__contains__).rows) == set(range(60))
    assert set(choose(chunks, 58, 64, nobody, held.__contains__).rows) == set(range(64))
