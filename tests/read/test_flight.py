"""A flight's bytes, whatever pieces they come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.read.flight import Flight
from rangefs.sources.base import Ticket


@given(start=st.integers(0, 9), sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=12), data=st.data())
def test_any_part_of_what_landed_can_be_viewed(start: int, sizes: list[int], data: st.DataObject) -> None:
    content = bytes(i * 7 % 251 for i in range(sum(sizes)))
    flight, at = Flight(start, start + len(content), Ticket()), 0
    for size in sizes:
        flight.land(content[at : at + size])
        at += size
    assert flight.done
    a = data.draw(st.integers(0, len(content)))
    b = data.draw(st.integers(a, len(content)))
    assert b"".join(flight.views(start + a, start + b)) == content[a:b]
    if a < b:
        assert flight.view(start + a, start + b) == content[a:b]


def test_thousands_of_small_pieces_become_few() -> None:
    flight = Flight(0, 1 << 20, Ticket())
    for _ in range((1 << 20) // 1024):
        flight.land(bytes(1024))
    assert len(flight.views(0, 1 << 20)) <= 20
