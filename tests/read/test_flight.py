"""A flight's bytes, however they land."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.read.flight import Flight
from rangefs.sources.base import Ticket


@given(start=st.integers(0, 9), sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=12), data=st.data())
def test_any_part_of_what_landed_can_be_viewed(start: int, sizes: list[int], data: st.DataObject) -> None:
    content = bytes(i * 7 % 251 for i in range(sum(sizes)))
    flight, at = Flight(start, start + len(content), Ticket()), 0
    flight.board(memoryview(bytearray(len(content) + 1)))
    for size in sizes:
        flight.room[:size] = content[at : at + size]
        flight.land(size)
        at += size
    assert flight.done
    assert not flight.room
    a = data.draw(st.integers(0, len(content)))
    b = data.draw(st.integers(a, len(content)))
    assert flight.view(start + a, start + b) == content[a:b]
