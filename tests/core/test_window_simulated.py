"""What the window promises its readers, shown on a model of an origin (`tests.core.window_simulator`).

*Warm* is a sequential reader that has read `WARM` bytes: by then its window has grown as far as memory lets it. From
there on not the window but the origin is the limit, whatever its latency, rate and connections are: it gets two
thirds at least of what the origin can give in pieces that fit into memory (nine tenths mostly; less where memory holds
no more pieces than there are connections), half where the kernel asks out of order.
"""

from __future__ import annotations

import random
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangefs.core.window import BLOCK, FIRST, GROWTH, PIECE_MAX, SPARSE, SPARSE_QUARTERS, WHOLE
from tests.core.window_simulator import Origin, Outcome, Reader, Span, simulate

KiB = 1 << 10
MiB = 1 << 20
SIZE = 1024 * MiB
WARM = 64 * MiB
WAN = Origin(latency_s=0.03, rate=40 * MiB)

origins = st.builds(
    Origin,
    latency_s=st.sampled_from([0.0, 0.0003, 0.005, 0.03, 0.2]),
    rate=st.sampled_from([2.0 * MiB, 40.0 * MiB, 300.0 * MiB]),
    connections=st.sampled_from([1, 2, 4, 8, 16, 32]),
)
memories = st.sampled_from([16 * MiB, 32 * MiB, 64 * MiB, 128 * MiB, 256 * MiB])
steps = st.sampled_from([64 * KiB, 128 * KiB, 256 * KiB, MiB])  # what a kernel asks for at a time
# A promise about an average takes a long run: few of them, each of a few hundred megabytes.
LONG = settings(max_examples=25, deadline=None)


def in_order(length: int, step: int, at: int = 0) -> list[Span]:
    return [Span(at + n, at + n + step) for n in range(0, length, step)]


def reordered(reads: list[Span], batch: int, seed: int) -> list[Span]:
    """As a kernel's read-ahead arrives: batch by batch, any order within."""
    drawn = random.Random(seed)
    batches = [reads[n : n + batch] for n in range(0, len(reads), batch)]
    return list(chain.from_iterable(drawn.sample(one, len(one)) for one in batches))


def anywhere(count: int, length: int, size: int, seed: int) -> list[Span]:
    """Random reads, aligned to 4 KiB."""
    drawn = random.Random(seed)
    starts = [drawn.randrange((size - length) // (4 * KiB)) * 4 * KiB for _ in range(count)]
    return [Span(start, start + length) for start in starts]


def attainable(origin: Origin, memory: int) -> float:
    """Bytes a second that the origin gives, in the pieces that this memory allows, ahead of readers."""
    room = memory - memory // 4
    return origin.rate_of(min(PIECE_MAX, room // 4), room)


def last_answer_s(outcome: Outcome, reader: int) -> float:
    return max(answer.answered_s for answer in outcome.answers if answer.reader == reader)


# -- a sequential reader ---------------------------------------------------------


@LONG
@given(origin=origins, memory=memories, step=steps, depth=st.integers(1, 4))
def test_a_warm_sequential_reader_is_limited_by_the_origin(origin: Origin, memory: int, step: int, depth: int) -> None:
    outcome = simulate(origin, SIZE, memory, Reader(in_order(384 * MiB, step), depth))
    assert outcome.rate(from_byte=WARM) >= 2 / 3 * attainable(origin, memory)


@LONG
@given(
    origin=origins, step=st.sampled_from([64 * KiB, 128 * KiB, 256 * KiB]), batch=st.integers(2, 4), seed=st.integers()
)
def test_so_is_one_whose_kernel_asks_out_of_order(origin: Origin, step: int, batch: int, seed: int) -> None:
    reads = reordered(in_order(384 * MiB, step), batch, seed)
    outcome = simulate(origin, SIZE, 128 * MiB, Reader(reads, depth=batch))
    assert outcome.rate(from_byte=WARM) >= 0.5 * attainable(origin, 128 * MiB)


@LONG
@given(origin=origins, step=steps)
def test_a_reader_slower_than_the_origin_does_not_wait_once_warm(origin: Origin, step: int) -> None:
    digests_s = 2 * step / attainable(origin, 128 * MiB)  # half of what the origin can give
    outcome = simulate(origin, SIZE, 128 * MiB, Reader(in_order(192 * MiB, step), think_s=digests_s))
    warm = outcome.answers[WARM // step :]
    assert sum(answer.waited_s for answer in warm) <= 0.1 * (outcome.seconds - warm[0].asked_s)


@given(origin=origins, memory=memories, step=steps, length=st.integers(1, 64))
def test_a_reader_that_stops_has_cost_a_few_times_what_it_read(
    origin: Origin, memory: int, step: int, length: int
) -> None:
    outcome = simulate(origin, SIZE, memory, Reader(in_order(length * step, step), depth=2))
    beyond = outcome.fetched_bytes - length * step
    assert beyond <= GROWTH * length * step + max(FIRST, PIECE_MAX)
    assert beyond <= memory


@pytest.mark.parametrize("size", [WHOLE + 1, 3 * MiB, 64 * MiB])
def test_a_file_that_is_read_to_its_end_is_fetched_once(size: int) -> None:
    reads = [Span(at, min(at + 128 * KiB, size)) for at in range(0, size, 128 * KiB)]
    assert simulate(WAN, size, 128 * MiB, Reader(reads, depth=2)).fetched_bytes == size


# -- a random, a strided, a backward reader ----------------------------------------


@settings(deadline=None)
@given(size=st.integers(WHOLE + 1, 4096 * MiB), count=st.integers(1, 300), seed=st.integers())
def test_random_reads_cost_at_most_twenty_times_their_bytes(size: int, count: int, seed: int) -> None:
    outcome = simulate(WAN, size, 128 * MiB, Reader(anywhere(count, 4 * KiB, size, seed)))
    assert outcome.fetched_bytes <= 20 * outcome.asked_bytes + FIRST
    if size >= 64 * MiB:  # of a smaller file they may be so many that they are most of it
        assert outcome.ahead_bytes == 0


@settings(deadline=None)
@given(stride=st.integers(1, 1024), length=st.sampled_from([4 * KiB, 64 * KiB, 256 * KiB]), back=st.booleans())
def test_strides_cost_their_blocks_or_a_few_times_their_bytes(stride: int, length: int, back: bool) -> None:
    step = max(stride * 4 * KiB, length)
    reads = [Span(at, at + length) for at in range(0, min(512 * step, SIZE - length), step)]
    outcome = simulate(WAN, SIZE, 128 * MiB, Reader(reads[::-1] if back else reads))
    worth = max(SPARSE * length, SPARSE_QUARTERS * (length + 2 * BLOCK) // 4)
    assert outcome.fetched_bytes <= (worth + GROWTH * length) * len(reads) + FIRST


@pytest.mark.parametrize("step", [4 * KiB, 64 * KiB, 256 * KiB])
def test_a_backward_reader_fetches_each_block_once(step: int) -> None:
    reads = in_order(8 * MiB, step, at=SIZE // 2)[::-1]
    assert simulate(WAN, SIZE, 128 * MiB, Reader(reads)).fetched_bytes == 8 * MiB


# -- any readers ---------------------------------------------------------------------

spans = st.builds(lambda start, length: Span(start, start + length), st.integers(0, SIZE - MiB), st.integers(1, MiB))
near = st.builds(lambda start, length: Span(start, start + length), st.integers(0, 8 * MiB), st.integers(1, 64 * KiB))
runs = st.builds(in_order, st.integers(1, 64).map(lambda n: n * MiB), steps, st.integers(0, SIZE // 2))
readers = st.builds(
    Reader,
    reads=st.lists(spans, min_size=1, max_size=20) | st.lists(near, min_size=1, max_size=100) | runs,
    depth=st.integers(1, 4),
    think_s=st.sampled_from([0.0, 0.001, 0.1]),
    file=st.integers(0, 3),
)


@settings(deadline=None)
@given(origin=origins, memory=memories, several=st.lists(readers, min_size=1, max_size=6))
def test_whoever_reads_memory_is_kept_and_waste_is_bounded(origin: Origin, memory: int, several: list[Reader]) -> None:
    outcome = simulate(origin, SIZE, memory, *several)
    reads = [span for reader in several for span in reader.reads]
    assert len(outcome.answers) == len(reads)
    assert outcome.peak_bytes <= memory
    assert outcome.peak_ahead_bytes <= memory - memory // 4
    blocks = sum(span.end - span.start + 2 * BLOCK for span in reads)
    worth = max(SPARSE * outcome.asked_bytes, SPARSE_QUARTERS * blocks // 4)
    assert outcome.fetched_bytes <= blocks + worth + GROWTH * outcome.asked_bytes + 4 * FIRST


@pytest.mark.parametrize("files", [1, 16, 64])
def test_less_memory_is_a_smaller_window_and_the_same_bytes(files: int) -> None:
    several = [Reader(in_order(16 * MiB, 128 * KiB), depth=2, file=number) for number in range(files)]
    for memory in (128 * MiB, 64 * MiB, 32 * MiB, 16 * MiB):
        outcome = simulate(WAN, SIZE, memory, *several)
        assert outcome.peak_bytes <= memory
        assert outcome.asked_bytes == files * 16 * MiB
        assert outcome.fetched_bytes <= 2 * outcome.asked_bytes + memory


@pytest.mark.parametrize(("files", "readers_of_each"), [(1, 4), (1, 16), (1, 32), (4, 1), (4, 4), (16, 1), (64, 1)])
def test_many_readers_get_their_share_of_the_origin_in_large_requests(files: int, readers_of_each: int) -> None:
    """Readers who all wait, with no memory left to read ahead, must not fall back to small requests."""
    apart = SIZE // readers_of_each
    several = [
        Reader(in_order(16 * MiB, 128 * KiB, at=number * apart), depth=2, file=file)
        for file in range(files)
        for number in range(readers_of_each)
    ]
    outcome = simulate(WAN, SIZE, 128 * MiB, *several)
    assert outcome.fetched_bytes / outcome.requests >= 512 * KiB
    ended = [last_answer_s(outcome, number) for number in range(len(several))]
    assert max(ended) <= 3 * min(ended)
