"""The index against a naive model: one list slot an offset."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core import intervals
from rangefs.core.intervals import IntervalMap, Segment, covered_bytes

SPAN = 64
ranges = st.tuples(st.integers(0, SPAN - 1), st.integers(1, 20)).map(lambda t: (t[0], min(t[0] + t[1], SPAN)))
steps = st.lists(
    st.tuples(st.sampled_from(["assign", "erase", "replace", "drop", "fill"]), ranges, st.integers(0, 4)), max_size=60
)


def apply(model: list[int | None], op: str, start: int, end: int, value: int) -> None:
    for at in range(start, end):
        if op == "assign" or (op == "fill" and model[at] is None):
            model[at] = value
        elif op == "erase" or (op == "drop" and model[at] == value):
            model[at] = None
        elif op == "replace" and model[at] == value:
            model[at] = value + 10


def run(index: IntervalMap[int], op: str, start: int, end: int, value: int) -> None:
    if op == "replace":
        index.replace(start, end, value, value + 10)
    elif op == "drop":
        index.replace(start, end, value, None)
    elif op == "erase":
        index.erase(start, end)
    else:
        getattr(index, op)(start, end, value)


@pytest.mark.parametrize("split", [2, 3, 1024])
@given(steps=steps, window=ranges)
def test_every_offset_has_what_was_last_given_to_it(
    split: int, steps: list[tuple[str, tuple[int, int], int]], window: tuple[int, int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "SPLIT", split)
        index: IntervalMap[int] = IntervalMap()
        model: list[int | None] = [None] * SPAN
        for op, (start, end), value in steps:
            run(index, op, start, end, value)
            apply(model, op, start, end, value)
            index._check()
        found = [index.find(at) for at in range(SPAN)]
        assert [segment and segment.value for segment in found] == model
        assert all(segment is None or segment.start <= at < segment.end for at, segment in enumerate(found))
        pieces = index.cover(*window)
        assert [piece.value for piece in pieces for _ in range(piece.start, piece.end)] == model[slice(*window)]
        assert pieces[0].start == window[0]
        assert pieces[-1].end == window[1]
        assert all(a.end == b.start for a, b in pairwise(pieces))
        assert [p.value for p in index.gaps(*window)] == [None] * len([p for p in pieces if p.value is None])


def test_an_empty_range_covers_nothing_and_takes_no_value() -> None:
    index: IntervalMap[int] = IntervalMap()
    assert index.cover(5, 5) == []
    with pytest.raises(ValueError, match="empty range"):
        index.assign(5, 5, 1)


def test_repr_is_a_readable_dump() -> None:
    index: IntervalMap[str] = IntervalMap()
    index.assign(0, 10, "a")
    index.assign(4, 6, "b")
    assert repr(index) == "<IntervalMap 3 ranges: [0, 4): 'a', [4, 6): 'b', [6, 10): 'a'>"
    assert list(index)[1] == Segment(4, 6, "b")


@given(st.lists(ranges, max_size=20))
def test_bytes_covered_twice_count_once(spans: list[tuple[int, int]]) -> None:
    offsets = {at for start, end in spans for at in range(start, end)}
    assert covered_bytes(Segment(start, end, 1) for start, end in spans) == len(offsets)
