"""The interval-tree index: which ranges of one version are where.

An `IntervalMap` holds disjoint half-open ranges ``[start, end)`` of offsets,
each with a value (in `read`: the id of a stored chunk, or a flight). What has
no value is missing.

Because the ranges are disjoint, the interval tree is a sorted sequence: here a
two-level B-tree of plain lists, as sortedcontainers has it, so that a look-up
is two C bisections and an insertion moves at most `SPLIT` items.

Complexity, n ranges, k ranges touched: `find` O(log n), `cover` O(log n + k),
`assign` and `erase` O(k (log n + SPLIT)), memory three list slots a range.

Invariants (checked by `_check`, which the property tests call after each step):
no range is empty; ranges are sorted and never overlap; no block is empty;
``_firsts[i]`` is the first start of block i. Neighbours with the same value
are not merged: two ranges of one value are legal.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

V = TypeVar("V")

# A block is split in two above this many ranges. 512 to 2,048 measured alike; far above, insertion's memmove shows.
SPLIT = 1024


@dataclass(slots=True)  # not frozen: that costs 0.7 µs more each, and one read makes several
class Segment(Generic[V]):
    """One range ``[start, end)`` and its value; None where nothing is known: a gap. Nobody changes it."""

    start: int
    end: int
    value: V | None


class Span(Protocol):
    """Anything that is one range ``[start, end)``."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


def covered_bytes(spans: Iterable[Span]) -> int:
    """How many offsets lie in at least one of them; they may overlap."""
    covered, reached = 0, 0
    for span in sorted(spans, key=lambda span: span.start):
        covered += max(0, span.end - max(reached, span.start))
        reached = max(reached, span.end)
    return covered


class _Block(Generic[V]):
    """A run of ranges, as three parallel lists sorted by start."""

    __slots__ = ("ends", "starts", "values")

    def __init__(self, starts: list[int], ends: list[int], values: list[V]) -> None:
        self.starts = starts
        self.ends = ends
        self.values = values


class IntervalMap(Generic[V]):
    """Disjoint ranges of offsets to values."""

    __slots__ = ("_blocks", "_firsts")

    def __init__(self) -> None:
        self._blocks: list[_Block[V]] = []
        self._firsts: list[int] = []

    def __len__(self) -> int:
        """How many ranges have a value."""
        return sum(len(block.starts) for block in self._blocks)

    def __iter__(self) -> Iterator[Segment[V]]:
        """All ranges that have a value, in order."""
        for block in self._blocks:
            for start, end, value in zip(block.starts, block.ends, block.values, strict=True):
                yield Segment(start, end, value)

    def __repr__(self) -> str:
        shown = ", ".join(f"[{s.start}, {s.end}): {s.value!r}" for s, _ in zip(self, range(8), strict=False))
        return f"<IntervalMap {len(self)} ranges: {shown}{', …' if len(self) > 8 else ''}>"

    def find(self, offset: int) -> Segment[V] | None:
        """The range that holds `offset`, or None where it is missing."""
        at = bisect_right(self._firsts, offset) - 1
        if at < 0:
            return None
        block = self._blocks[at]
        i = bisect_right(block.starts, offset) - 1
        if block.ends[i] <= offset:
            return None
        return Segment(block.starts[i], block.ends[i], block.values[i])

    def cover(self, start: int, end: int) -> list[Segment[V]]:
        """``[start, end)`` cut into what is there and what is missing: in order, clipped, nothing left out."""
        pieces: list[Segment[V]] = []
        here = start
        for segment in self._overlapping(start, end):
            if segment.start > here:
                pieces.append(Segment(here, segment.start, None))
            pieces.append(Segment(max(segment.start, start), min(segment.end, end), segment.value))
            here = segment.end
        if here < end:
            pieces.append(Segment(here, end, None))
        return pieces

    def gaps(self, start: int, end: int) -> list[Segment[V]]:
        """The missing parts of ``[start, end)``."""
        return [piece for piece in self.cover(start, end) if piece.value is None]

    def assign(self, start: int, end: int, value: V) -> None:
        """Give ``[start, end)`` a value, whatever was there before."""
        if start >= end:
            raise ValueError(f"empty range [{start}, {end})")
        self.erase(start, end)
        self._insert(start, end, value)

    def erase(self, start: int, end: int) -> None:
        """Make ``[start, end)`` missing; a range that reaches out of it keeps its outer parts."""
        for segment in list(self._overlapping(start, end)):
            assert segment.value is not None
            self._delete(segment.start)
            if segment.start < start:
                self._insert(segment.start, start, segment.value)
            if segment.end > end:
                self._insert(end, segment.end, segment.value)

    def replace(self, start: int, end: int, old: V, new: V | None) -> None:
        """Within ``[start, end)``, turn what has the value `old` into `new`, or into gaps; leave all else alone."""
        for piece in self.cover(start, end):
            if piece.value is not None and piece.value == old:
                self.erase(piece.start, piece.end)
                if new is not None:
                    self._insert(piece.start, piece.end, new)

    def fill(self, start: int, end: int, value: V) -> None:
        """Give the missing parts of ``[start, end)`` a value; leave the rest alone."""
        for gap in self.gaps(start, end):
            self._insert(gap.start, gap.end, value)

    def _overlapping(self, start: int, end: int) -> Iterator[Segment[V]]:
        """Ranges that share an offset with ``[start, end)``, unclipped. Don't change the map while it runs."""
        if start >= end:
            return
        at = max(bisect_right(self._firsts, start) - 1, 0)
        for number in range(at, len(self._blocks)):  # a slice would copy as many places as a million ranges have blocks
            block = self._blocks[number]
            i = max(bisect_right(block.starts, start) - 1, 0)
            for j in range(i, len(block.starts)):
                if block.starts[j] >= end:
                    return
                if block.ends[j] > start:
                    yield Segment(block.starts[j], block.ends[j], block.values[j])

    def _insert(self, start: int, end: int, value: V) -> None:
        """Add a range that overlaps none."""
        if not self._blocks:
            self._blocks.append(_Block([start], [end], [value]))
            self._firsts.append(start)
            return
        at = max(bisect_right(self._firsts, start) - 1, 0)
        block = self._blocks[at]
        i = bisect_right(block.starts, start)
        block.starts.insert(i, start)
        block.ends.insert(i, end)
        block.values.insert(i, value)
        self._firsts[at] = block.starts[0]
        if len(block.starts) > SPLIT:
            half = SPLIT // 2
            tail = _Block(block.starts[half:], block.ends[half:], block.values[half:])
            del block.starts[half:], block.ends[half:], block.values[half:]
            self._blocks.insert(at + 1, tail)
            insort(self._firsts, tail.starts[0])

    def _delete(self, start: int) -> None:
        """Remove the range that begins at `start`."""
        at = bisect_right(self._firsts, start) - 1
        block = self._blocks[at]
        i = bisect_right(block.starts, start) - 1
        del block.starts[i], block.ends[i], block.values[i]
        if block.starts:
            self._firsts[at] = block.starts[0]
        else:
            del self._blocks[at], self._firsts[at]

    def _check(self) -> None:
        """Raise AssertionError where an invariant of the module's docstring is broken."""
        assert self._firsts == [block.starts[0] for block in self._blocks]
        last = -1
        for block in self._blocks:
            assert 0 < len(block.starts) <= SPLIT
            assert len(block.starts) == len(block.ends) == len(block.values)
            for start, end in zip(block.starts, block.ends, strict=True):
                assert last <= start < end
                last = end
