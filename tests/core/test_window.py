"""The window policy, by simulation: never behind a sequential reader, bounded waste for a random one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.window import BLOCK, FIRST, GROWTH, WHOLE, Window

MiB = 1 << 20
SIZE = 1024 * MiB


@given(offset=st.integers(1, SIZE - 4096), length=st.integers(1, MiB))
def test_a_first_read_in_mid_file_fetches_its_own_blocks_only(offset: int, length: int) -> None:
    end = min(offset + length, SIZE)
    advice = Window().advise(offset, end, SIZE, waits=True, limit=SIZE)
    assert advice.start <= offset
    assert advice.end >= end
    assert advice.end - advice.start <= (end - offset) + 2 * BLOCK
    assert advice.ahead <= advice.end


def test_a_small_file_is_fetched_whole() -> None:
    advice = Window().advise(WHOLE // 2, WHOLE // 2 + 10, WHOLE, waits=True, limit=SIZE)
    assert (advice.start, advice.end) == (0, WHOLE)


def test_a_file_is_opened_with_its_first_bytes() -> None:
    advice = Window().advise(0, 4096, SIZE, waits=True, limit=SIZE)
    assert (advice.start, advice.end, advice.ahead) == (0, FIRST, 0)


@given(
    reads=st.lists(st.tuples(st.integers(0, SIZE - MiB), st.integers(1, MiB), st.booleans()), max_size=60),
    limit=st.integers(0, 64 * MiB),
)
def test_ahead_is_bounded_by_the_budget_and_by_what_was_read(reads: list[tuple[int, int, bool]], limit: int) -> None:
    window, read = Window(), 0
    for start, length, waits in reads:
        advice = window.advise(start, start + length, SIZE, waits, limit)
        read += length
        assert 0 <= advice.start <= start < start + length <= advice.end <= SIZE
        furthest = max(end for at, n, _ in reads for end in [at + n])
        assert advice.ahead <= min(furthest + limit, SIZE)
        assert advice.ahead <= furthest + max(FIRST, GROWTH * read)


def test_a_waiting_sequential_reader_soon_has_the_whole_budget_ahead() -> None:
    window, at, step = Window(), 0, 128 << 10
    for _ in range(150):
        advice = window.advise(at, at + step, SIZE, waits=True, limit=64 * MiB)
        at += step
    assert advice.ahead == at + 64 * MiB
    assert advice.piece == 4 * MiB


def test_kernel_read_ahead_out_of_order_is_one_stream() -> None:
    window, step = Window(), 128 << 10
    order = [1, 0, 3, 2, 5, 4, 7, 6]
    for turn in range(8):
        for n in order:
            at = (turn * 8 + n) * step
            advice = window.advise(at, at + step, SIZE, waits=True, limit=64 * MiB)
    assert advice.ahead > at + MiB


def test_two_interleaved_readers_are_two_streams() -> None:
    window, step = Window(), 128 << 10
    for n in range(32):
        a = window.advise(n * step, (n + 1) * step, SIZE, waits=True, limit=64 * MiB)
        b = window.advise(512 * MiB + n * step, 512 * MiB + (n + 1) * step, SIZE, waits=True, limit=64 * MiB)
    assert a.ahead > 32 * step + MiB
    assert b.ahead > 512 * MiB + 32 * step + MiB
