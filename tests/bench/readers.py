"""More readers at once: a cold file each, and random reads of one cached file, by 1, 4 and 16 processes.

    python -m tests.bench.readers [--quick]

Cold: the same bytes in all, a part of them each; nginx without a delay, so the limit is the mount. Warm: 4 KiB at
random places of one file, the kernel's pages dropped first. `×` is against one reader; 16 readers on two processors
also measure who gets one when. Needs /dev/fuse and nginx.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from tests.bench.measure import KiB, MiB, Table, arguments, number
from tests.bench.stage import at_rest, drop_pages, mounted, read_through

READERS = (1, 4, 16)
COLD = 512 * MiB
WARM = 256 * MiB
READS = 16_000  #: all readers together

# Threads of whoever runs this can't be forked: each reader is a new interpreter, and all wait for the last.
spawn = multiprocessing.get_context("spawn")

Work = Callable[[], list[float]]


def run(start: Barrier, said: SimpleQueue[list[float]], work: Work) -> None:
    """In a process of its own."""
    start.wait()
    said.put(work())


def together(works: Sequence[Work]) -> tuple[float, list[float]]:
    """Run each in a process of its own, all from the same moment on: seconds, and what they return, in one list."""
    start: Barrier = spawn.Barrier(len(works) + 1)
    said: SimpleQueue[list[float]] = spawn.SimpleQueue()
    processes = [spawn.Process(target=run, args=(start, said, work)) for work in works]
    for process in processes:
        process.start()
    start.wait()
    began = time.perf_counter()
    found = [one for _ in processes for one in said.get()]
    took = time.perf_counter() - began
    for process in processes:
        process.join()
    return took, found


def read_whole(path: Path) -> list[float]:
    read_through(path)
    return []


def read_anywhere(path: Path, reads: int, seed: int) -> list[float]:
    """Seconds of each of so many random reads."""
    drawn = random.Random(seed)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    slots = os.fstat(fd).st_size // (4 * KiB)
    found = []
    for _ in range(reads):
        at = drawn.randrange(slots) * 4 * KiB
        began = time.perf_counter()
        os.pread(fd, 4 * KiB, at)
        found.append(time.perf_counter() - began)
    os.close(fd)
    return found


def cold(counts: Sequence[int], total: int) -> None:
    table = Table("cold readers", "MB/s", "×", "fetched a byte", "requests", widths=[12])
    alone = 0.0
    for readers in counts:
        files = {f"file-{n}": total // readers for n in range(readers)}
        with mounted(files) as mount:
            took, _ = together([partial(read_whole, mount.path / name) for name in files])
            upstream = mount.status()["upstream"]
        rate = total / took
        alone = alone or rate
        table.row(
            readers,
            number(rate / 1e6),
            number(rate / alone, 2),
            number(upstream["bytes"] / total, 2),
            upstream["requests"],
        )


def warm(counts: Sequence[int], size: int, reads: int) -> None:
    table = Table("warm readers", "reads/s", "×", "p50 µs", "p99 µs", widths=[12])
    alone = 0.0
    with mounted({"file": size}) as mount:
        path = mount.path / "file"
        read_through(path)
        at_rest(mount, size)
        for readers in counts:
            drop_pages(path)
            took, waited = together([partial(read_anywhere, path, reads // readers, n) for n in range(readers)])
            rate = len(waited) / took
            alone = alone or rate
            waited.sort()
            table.row(
                readers,
                number(rate),
                number(rate / alone, 2),
                number(1e6 * waited[len(waited) // 2]),
                number(1e6 * waited[len(waited) * 99 // 100]),
            )


def main(argv: Sequence[str] | None = None) -> None:
    quick = arguments(__doc__, argv).quick
    counts = (1, 2) if quick else READERS
    cold(counts, 16 * MiB if quick else COLD)
    warm(counts, 4 * MiB if quick else WARM, 160 if quick else READS)


if __name__ == "__main__":
    main()
