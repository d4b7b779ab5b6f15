"""What the benchmarks share: timing a call, fitting its growth, printing a table."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

KiB = 1 << 10
MiB = 1 << 20
ROUNDS = 3  #: the fastest counts: what disturbs a measurement only ever adds to it


@dataclass(frozen=True, slots=True)
class Point:
    """What a call costs (any unit) at a size."""

    size: int
    cost: float


def arguments(doc: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    """``--quick`` is what every benchmark has: the same code in seconds, for CI; its figures mean nothing."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    return parser.parse_args(argv)


def seconds_a_call(call: Callable[[], object], calls: int = 1, rounds: int = ROUNDS) -> float:
    """Seconds of one of `calls` things that ``call()`` does; the fastest round of a few."""
    best = math.inf
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best / calls


def exponent(points: Sequence[Point]) -> float:
    """The k of cost ~ sizeᵏ: the slope of the least-squares line through the points, both axes logarithmic.

    0 is constant, 1 linear; a logarithm from 1,000 to 1,000,000 gives 0.10.
    """
    xs = [math.log(point.size) for point in points]
    ys = [math.log(point.cost) for point in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread


def slope(points: Sequence[Point]) -> float:
    """What one more costs: the slope between the smallest and the largest size."""
    first, last = points[0], points[-1]
    return (last.cost - first.cost) / (last.size - first.size)


def resident_bytes(pid: int | str = "self") -> int:
    """What a process has in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Table:
    """Printed as it is measured: a line a row, the first column left, the others right."""

    def __init__(self, *columns: str, widths: Sequence[int] = ()) -> None:
        self._widths = [max(len(column), width) for column, width in zip(columns, [*widths, *[0] * 20], strict=False)]
        self.row(*columns)

    def row(self, *cells: object) -> None:
        words = [f"{cell:,.3g}" if isinstance(cell, float) else f"{cell}" for cell in cells]
        first, *rest = zip(words, self._widths, strict=False)
        print("  ".join([first[0].ljust(first[1]), *(word.rjust(width) for word, width in rest)]), flush=True)


def number(value: float, digits: int = 0) -> str:
    return f"{value:,.{digits}f}"
