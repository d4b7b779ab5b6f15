"""Requests fill every gap, and fetch again only what is small and stored."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.intervals import IntervalMap
from rangefs.core.plan import Span, requests

SPAN = 200
pieces = st.lists(
    st.tuples(st.integers(0, SPAN - 1), st.integers(1, 30), st.sampled_from([1, 2, "flight"])), max_size=12
)


@given(pieces=pieces, merge=st.integers(0, 20))
def test_requests_fill_all_gaps_and_never_touch_a_flight(pieces: list[tuple[int, int, int | str]], merge: int) -> None:
    index: IntervalMap[int | str] = IntervalMap()
    for start, length, value in pieces:
        index.assign(start, min(start + length, SPAN), value)
    spans = requests(index, 0, SPAN, merge)
    asked = {at for span in spans for at in range(span.start, span.end)}
    for at in range(SPAN):
        found = index.find(at)
        if found is None:
            assert at in asked
        elif found.value == "flight":
            assert at not in asked
    assert all(a.end < b.start for a, b in pairwise(spans)), "adjacent requests are one request"
    for span in spans:
        again = [s for s in index.cover(span.start, span.end) if s.value is not None]
        assert all(s.end - s.start < merge for s in again)


def test_near_gaps_are_merged_and_far_ones_are_not() -> None:
    index: IntervalMap[int | str] = IntervalMap()
    index.assign(10, 20, 7)
    index.assign(30, 90, 8)
    assert requests(index, 0, 100, merge=11) == [Span(0, 30), Span(90, 100)]
