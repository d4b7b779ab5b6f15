"""The interval index (`rangefs.core.intervals`): what one change and one question cost as a version's ranges grow.

    python -m tests.bench.index [--quick]

Ranges of 64 KiB with gaps of 64 KiB between them, put in in random order. Each column is nanoseconds a call at that
many ranges; the last line is the k of cost ~ nᵏ: 0 is constant, 1 is linear, a pure logarithm would be 0.10 here, and
what does not fit into the processor's cache adds to it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from rangefs.core.intervals import IntervalMap
from tests.bench.measure import Point, Table, arguments, exponent, number, resident_bytes, seconds_a_call

STEP = 128 << 10
LENGTH = 64 << 10
SIZES = (1_000, 10_000, 100_000, 1_000_000)
CALLS = 20_000
OVERLAPPED = 16


def build(ranges: int, drawn: random.Random) -> IntervalMap[int]:
    index: IntervalMap[int] = IntervalMap()
    order = list(range(ranges))
    drawn.shuffle(order)
    for place in order:
        index.assign(place * STEP, place * STEP + LENGTH, place)
    return index


def each(do: Callable[[int], object], places: Sequence[int]) -> Callable[[], None]:
    """One round: `do` at each place."""

    def run() -> None:
        for place in places:
            do(place)

    return run


def costs(index: IntervalMap[int], ranges: int, calls: int, drawn: random.Random) -> dict[str, float]:
    """Nanoseconds of each operation; the index is the same afterwards."""
    places = [drawn.randrange(ranges - OVERLAPPED) * STEP for _ in range(calls)]

    def insert_and_remove(at: int) -> None:
        index.assign(at + LENGTH, at + LENGTH + 4096, -1)
        index.erase(at + LENGTH, at + LENGTH + 4096)

    operations = {
        "find": lambda at: index.find(at + 7),
        "find a gap": lambda at: index.find(at + LENGTH + 7),
        f"cover {OVERLAPPED}": lambda at: index.cover(at, at + OVERLAPPED * STEP),
        "insert, remove": insert_and_remove,
        "change a value": lambda at: index.assign(at, at + LENGTH, at // STEP),
    }
    return {name: 1e9 * seconds_a_call(each(do, places), calls) for name, do in operations.items()}


def main(argv: Sequence[str] | None = None) -> None:
    quick = arguments(__doc__, argv).quick
    sizes, calls = ((1_000, 4_000), 200) if quick else (SIZES, CALLS)
    found: dict[str, list[Point]] = {}
    table: Table | None = None
    for ranges in sizes:
        drawn = random.Random(ranges)
        before = resident_bytes()
        began = time.perf_counter()
        index = build(ranges, drawn)
        build_ns = 1e9 * (time.perf_counter() - began) / ranges
        size_bytes = (resident_bytes() - before) / ranges
        row = {"build": build_ns, **costs(index, ranges, calls, drawn)}
        table = table or Table("ranges", *(f"{name} ns" for name in row), "bytes a range", widths=[12])
        table.row(f"{ranges:,}", *(number(cost) for cost in row.values()), number(size_bytes))
        for name, cost in row.items():
            found.setdefault(name, []).append(Point(ranges, cost))
    assert table is not None
    table.row("k of nᵏ", *(number(exponent(points), 2) for points in found.values()))


if __name__ == "__main__":
    main()
