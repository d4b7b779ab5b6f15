"""Memory that goes round: never under anybody's eyes."""

from __future__ import annotations

import ctypes
import mmap

from hypothesis import given
from hypothesis import strategies as st

from rangefs.read.buffers import POPULATE_MIN, SLAB_MIN, Buffers, _rounded, populate

PAGE = 4096


def address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def test_memory_is_given_again_once_the_last_view_is_gone() -> None:
    buffers = Buffers(1 << 20, 1 << 20)
    first = buffers.take(SLAB_MIN)
    part, where = first[100:200], address(first)
    del first
    second = buffers.take(SLAB_MIN)
    assert address(second) != where  # a part is still looked at
    del part
    third = buffers.take(SLAB_MIN)
    assert address(third) == where


def resident_pages(view: memoryview) -> int:
    """mincore(2)"""
    pages = (ctypes.c_ubyte * (len(view) // PAGE))()
    libc = ctypes.CDLL(None)
    libc.mincore.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
    assert libc.mincore(address(view), len(view), pages) == 0
    return sum(page & 1 for page in pages)


def test_large_new_memory_is_told_of_once_and_populated_as_it_is() -> None:
    fresh: list[mmap.mmap] = []
    buffers = Buffers(8 * POPULATE_MIN, 8 * POPULATE_MIN, fresh.append)
    buffers.take(POPULATE_MIN // 2)
    assert not fresh
    view = buffers.take(POPULATE_MIN)
    assert len(fresh) == 1
    view[: 2 * PAGE] = b"x" * (2 * PAGE)  # what has landed already stays
    assert resident_pages(view) < POPULATE_MIN // PAGE
    populate(fresh[0])
    assert resident_pages(view) == POPULATE_MIN // PAGE
    assert bytes(view) == b"x" * (2 * PAGE) + bytes(POPULATE_MIN - 2 * PAGE)
    del view
    buffers.take(POPULATE_MIN)
    assert len(fresh) == 1


def test_large_buffers_begin_at_a_page() -> None:
    buffers = Buffers(1 << 20, 1 << 20)
    assert all(address(buffers.take(size)) % PAGE == 0 for size in (SLAB_MIN, SLAB_MIN + 1, 5 << 20))


@given(st.lists(st.tuples(st.integers(1, 3 * SLAB_MIN), st.integers(0, 7)), max_size=40))
def test_no_two_views_share_memory_and_what_is_kept_is_bounded(steps: list[tuple[int, int]]) -> None:
    limit, rest = 8 * SLAB_MIN, 2 * SLAB_MIN
    buffers = Buffers(limit, rest)
    held: dict[int, tuple[memoryview, bytes]] = {}
    for number, (size, place) in enumerate(steps):
        held.pop(place, None)
        view = buffers.take(size)
        assert len(view) == size
        view[:] = mark = bytes([number % 251]) * size
        held[place] = view, mark
        assert all(view == mark for view, mark in held.values())
        assert buffers.idle_bytes == 0 or buffers.idle_bytes + buffers.leased_bytes <= limit
    view = memoryview(b"")
    held.clear()
    buffers.take_back()
    assert buffers.leased_bytes == 0
    assert buffers.idle_bytes <= rest


@given(st.integers(SLAB_MIN, 32 << 20))
def test_a_buffer_is_an_eighth_too_large_at_most(size: int) -> None:
    assert size <= _rounded(size) <= size + max(size // 8, SLAB_MIN)


def test_what_has_ended_is_kept_while_others_are_in_use_and_given_back_at_rest() -> None:
    buffers = Buffers(limit_bytes=8 * SLAB_MIN, rest_bytes=2 * SLAB_MIN)
    views = [buffers.take(SLAB_MIN) for _ in range(10)]
    assert (buffers.idle_bytes, buffers.leased_bytes) == (0, 10 * SLAB_MIN)
    del views[3:]
    buffers.take_back()
    assert buffers.idle_bytes == 5 * SLAB_MIN, "together no more than the limit"
    other = buffers.take(3 * SLAB_MIN)
    assert buffers.idle_bytes == 2 * SLAB_MIN, "another size makes room for itself"
    del other
    views.clear()
    buffers.take_back()
    assert buffers.leased_bytes == 0
    assert buffers.idle_bytes <= 2 * SLAB_MIN
