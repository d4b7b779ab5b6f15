"""From what is missing to what is asked for.

Pure. The index says which parts of a range are stored, on their way or
missing; `requests` turns the missing parts into range requests, merging two
that are so near that fetching what lies between them again is cheaper than a
second request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from rangefs.core.intervals import IntervalMap, Segment

V = TypeVar("V")

# A request costs a round trip's share of a connection and about 0.6 ms of client CPU: 128 KiB at 200 MB/s.
MERGE = 128 << 10


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of offsets, not empty."""

    start: int
    end: int


def requests(index: IntervalMap[V | int], start: int, end: int, merge: int = MERGE) -> list[Span]:
    """The range requests that fill what is missing of ``[start, end)``, in order.

    Stored parts (values that are ints: chunk ids) shorter than `merge` bytes between two missing ones are fetched
    again with them; parts that are on their way (any other value) never are.
    """
    spans: list[Span] = []
    between: list[Segment[V | int]] = []
    for piece in index.cover(start, end):
        if piece.value is not None:
            between.append(piece)
            continue
        if spans and _mergeable(between, merge):
            spans[-1] = Span(spans[-1].start, piece.end)
        else:
            spans.append(Span(piece.start, piece.end))
        between = []
    return spans


def _mergeable(between: list[Segment[V | int]], merge: int) -> bool:
    return all(isinstance(piece.value, int) for piece in between) and sum(p.end - p.start for p in between) < merge
