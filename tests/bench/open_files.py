"""Memory with many files open and read at once: 1, 64 and 256 of them, cold, within two budgets.

    python -m tests.bench.open_files [--quick]

Each file is read by a thread of its own, all at the same time, from an nginx that gives each connection 20 MiB/s, so
that buffers live long. `buffers` is the most that ``memory.buffers_bytes`` of ``rangefs status --json`` showed in
samples of 20 ms; it must stay inside ``--memory``. `resident` is the process's peak, of which `idle` was there before
the first read: together with ``--memory`` and `BESIDE` for all else it must be enough. Needs /dev/fuse and nginx.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from rangefs.ops.control import ask, find_socket
from tests.bench.measure import KiB, MiB, Table, arguments, number, resident_bytes
from tests.bench.stage import mounted, peak_resident_bytes, read_through
from tests.mounts import RangefsMount

FILES = (1, 64, 256)
BUDGETS = (32, 128)  #: MiB, of --memory
SIZE = 4 * MiB
BESIDE = 32 * MiB  #: what tasks, connections and indexes of 256 files may take
SAMPLE_S = 0.02
SLOW = "limit_rate 20m;"


@dataclass(slots=True)
class Buffers:
    """The most bytes of buffers seen, and the samples taken."""

    peak_bytes: int = 0
    samples: int = 0


@contextmanager
def watched(mount: RangefsMount) -> Iterator[Buffers]:
    """Samples of the mount's own figure, as its status command gets them."""
    seen, over = Buffers(), threading.Event()
    control = find_socket(mount.path, os.getuid(), mount.environment())

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            memory = ask(control, {"command": "status"})["memory"]
            seen.peak_bytes = max(seen.peak_bytes, memory["buffers_bytes"])
            seen.samples += 1

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield seen
    finally:
        over.set()
        sampler.join()


def read_at_once(files: int, size: int, budget: int, table: Table) -> None:
    names = {f"file-{n:03}": size for n in range(files)}
    with mounted(names, extra=SLOW, memory=f"{budget}MiB") as mount:
        idle = resident_bytes(mount.pid)
        began = time.perf_counter()
        with watched(mount) as seen, ThreadPoolExecutor(files) as pool:
            read = sum(pool.map(lambda name: read_through(mount.path / name, 128 * KiB), names))
        took = time.perf_counter() - began
        assert read == files * size
        resident = peak_resident_bytes(mount.pid)
        assert seen.peak_bytes <= budget * MiB, "more buffers than --memory allows"
        assert resident <= idle + budget * MiB + BESIDE, "memory that --memory does not know of"
        table.row(
            files,
            budget,
            number(seen.peak_bytes / MiB, 1),
            number(resident / MiB, 1),
            number(idle / MiB, 1),
            number(read / took / 1e6),
            seen.samples,
        )


def main(argv: Sequence[str] | None = None) -> None:
    quick = arguments(__doc__, argv).quick
    columns = ("--memory MiB", "buffers MiB", "resident MiB", "idle MiB", "MB/s", "samples")
    table = Table("files at once", *columns, widths=[13])
    for budget in BUDGETS:
        for files in (1, 16) if quick else FILES:
            read_at_once(files, MiB if quick else SIZE, budget, table)


if __name__ == "__main__":
    main()
