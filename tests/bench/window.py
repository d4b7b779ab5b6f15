"""The window policy (`rangefs.core.window`): what one decision costs, and what its readers get of it.

    python -m tests.bench.window [--quick]

The first table is nanoseconds a decision, as a version has more readers at once: a look through at most `STREAMS`
streams, so it is bounded, and k (cost ~ nᵏ) says how it grows until there. The second is simulated
(`tests.core.window_simulator`): no network, no clock, the same figures on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from rangefs.core.window import STREAMS, Window
from tests.bench.measure import KiB, MiB, Point, Table, arguments, exponent, number, seconds_a_call
from tests.core.window_simulator import Origin, Reader, Span, simulate

SIZE = 1024 * MiB
STEP = 128 * KiB
MEMORY = 128 * MiB
ORIGINS = {"30 ms, 40 MiB/s a connection": Origin(0.03, 40 * MiB), "0.3 ms, 300 MiB/s": Origin(0.0003, 300 * MiB)}


def decide(readers: int, decisions: int) -> None:
    """So many readers in turn, each going on where it was."""
    window = Window()
    for turn in range(decisions // readers):
        for reader in range(readers):
            at = reader * (SIZE // readers) + turn * STEP % (16 * MiB)
            window.advise(at, at + STEP, SIZE, waits=True, limit=MEMORY)


def decide_randomly(reads: Sequence[Span]) -> None:
    window = Window()
    for read in reads:
        window.advise(read.start, read.end, SIZE, waits=True, limit=MEMORY)


def cost_of_a_decision(decisions: int) -> None:
    table = Table("readers", "ns a decision", widths=[12])
    points = []
    for readers in (1, 2, 4, 8, 16, STREAMS):
        cost = 1e9 * seconds_a_call(partial(decide, readers, decisions), decisions)
        points.append(Point(readers, cost))
        table.row(readers, number(cost))
    reads = anywhere(decisions, 4 * KiB)
    table.row("random", number(1e9 * seconds_a_call(partial(decide_randomly, reads), decisions)))
    table.row("k of nᵏ", number(exponent(points), 2))


def in_order(length: int, at: int = 0) -> list[Span]:
    return [Span(at + n, at + n + STEP) for n in range(0, length, STEP)]


def anywhere(count: int, length: int) -> list[Span]:
    drawn = random.Random(7)
    starts = [drawn.randrange(SIZE - length) for _ in range(count)]
    return [Span(start, start + length) for start in starts]


def strided(stride: int, length: int) -> list[Span]:
    return [Span(at, at + length) for at in range(0, min(SIZE - length, 512 * stride), stride)]


def swapped(reads: list[Span]) -> list[Span]:
    """Two requests under way, the later one first: what kernel read-ahead does."""
    return [read for n in range(0, len(reads), 2) for read in reads[n : n + 2][::-1]]


def patterns(length: int) -> dict[str, list[Reader]]:
    return {
        "sequential": [Reader(in_order(4 * length), depth=2)],
        "sequential, requests out of order": [Reader(swapped(in_order(4 * length)), depth=2)],
        "4 readers of one file": [Reader(in_order(length, n * SIZE // 4), depth=2) for n in range(4)],
        "16 readers of one file": [Reader(in_order(length // 4, n * SIZE // 16), depth=2) for n in range(16)],
        "64 files at once": [Reader(in_order(length // 4), depth=2, file=n) for n in range(64)],
        "backward": [Reader(in_order(length)[::-1])],
        "4 KiB of each 64 KiB": [Reader(strided(64 * KiB, 4 * KiB))],
        "4 KiB of each 2 MiB": [Reader(strided(2 * MiB, 4 * KiB))],
        "64 KiB of each 256 KiB": [Reader(strided(256 * KiB, 64 * KiB))],
        "200 random 4 KiB": [Reader(anywhere(200, 4 * KiB))],
        "stops after 4 MiB": [Reader(in_order(4 * MiB), depth=2)],
    }


def what_readers_get(length: int) -> None:
    for name, origin in ORIGINS.items():
        print(f"\n{name}, {origin.connections} connections, {MEMORY // MiB} MiB of memory:")
        table = Table("readers", "MB/s", "fetched a byte asked", "requests", "of them KiB", "peak MiB", widths=[34])
        for pattern, readers in patterns(length).items():
            seen = simulate(origin, SIZE, MEMORY, *readers)
            table.row(
                pattern,
                number(seen.asked_bytes / seen.seconds / 1e6, 1),
                number(seen.waste, 2),
                seen.requests,
                number(seen.fetched_bytes / seen.requests / KiB),
                number(seen.peak_bytes / MiB, 1),
            )


def main(argv: Sequence[str] | None = None) -> None:
    quick = arguments(__doc__, argv).quick
    cost_of_a_decision(640 if quick else 64_000)
    what_readers_get(2 * MiB if quick else 64 * MiB)


if __name__ == "__main__":
    main()
