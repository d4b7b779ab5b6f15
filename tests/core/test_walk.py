"""A walk is seen after two files, asks for each place once, and never far ahead of what was read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.walk import BURST, MOST, STEP, Walk


def test_a_reader_in_order_has_more_and_more_asked_for_and_each_place_once() -> None:
    walk, asked = Walk(), []
    widths, bursts = [], []
    for place in range(100):
        new = walk.visit(place)
        asked += new
        widths.append(walk.ahead - place - 1)
        bursts.append(len(new))
    assert asked == list(range(2, walk.ahead))
    assert widths[:6] == [0, 4, 8, 16, 32, MOST]
    assert all(MOST - BURST < width <= MOST for width in widths[5:])
    assert set(bursts[6:]) == {0, BURST}


def test_one_file_alone_or_files_here_and_there_ask_for_nothing() -> None:
    walk = Walk()
    for place in (5, 50, 20, 100, 7):
        assert not walk.visit(place)


@given(st.lists(st.integers(0, 200), max_size=60))
def test_nothing_is_asked_for_behind_or_far_ahead(places: list[int]) -> None:
    walk = Walk()
    for read, place in enumerate(places, 1):
        before, new = walk.ahead, walk.visit(place)
        assert all(place < at <= place + MOST for at in new)
        assert len(new) <= 1 << read
        assert walk.run < 2 or before <= walk.ahead, "in a walk nothing is asked for twice"


def test_small_gaps_are_part_of_a_walk() -> None:
    walk = Walk()
    walk.visit(0)
    assert walk.visit(STEP)


def test_reading_the_same_file_again_is_no_step() -> None:
    walk = Walk()
    walk.visit(0)
    assert not walk.visit(0)
    assert walk.visit(1)
