"""The way of one read through FUSE: what a reply costs from a warm cache, beside the least that pyfuse3 can do.

    python -m tests.bench.reply [--quick]

One reader, one read at a time, each read one request to the mount (the kernel's own pages are dropped first, and
POSIX_FADV_RANDOM keeps it from reading ahead). `bare` is `tests.bench.bare_fuse`: no look-up, no disk, no checksum,
the same zeros for each read. The processor's time is the mount's; where strace is installed, its system calls are
counted too, in a run of their own. Needs /dev/fuse and nginx.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import KiB, MiB, Table, arguments, number
from tests.bench.stage import at_rest, cpu_time, drop_pages, mounted, read_through, seconds
from tests.mounts import CHECKOUT, abort, mounted_at

SIZE = 512 * MiB
ROUNDS = 3
MOST_READS = 4_000
LENGTHS = (4 * KiB, 64 * KiB, 128 * KiB, 256 * KiB)
START_S = 10.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one read: on the clock, and of the mount's processor time, its own and the kernel's."""

    wall_s: float
    user_s: float
    system_s: float


def read_at(path: Path, places: Sequence[int], length: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        buffer = bytearray(length)
        for at in places:
            count = os.preadv(fd, (buffer,), at)
            assert count == length
    finally:
        os.close(fd)


def places(size: int, length: int) -> list[int]:
    """Where to read: all over the file, each place once."""
    drawn = random.Random(length)
    return [slot * length for slot in drawn.sample(range(size // length), min(MOST_READS, size // length))]


def cost(pid: int, path: Path, length: int, rounds: int) -> Cost:
    """The fastest of a few rounds."""
    found = []
    for _ in range(rounds):
        drop_pages(path)
        where = places(path.stat().st_size, length)
        before = cpu_time(pid)
        wall_s = seconds(lambda where=where: read_at(path, where, length)) / len(where)  # type: ignore[misc]
        spent = cpu_time(pid).since(before)
        found.append(Cost(wall_s, spent.user_s / len(where), spent.system_s / len(where)))
    return min(found, key=lambda one: one.wall_s)


def in_order_bytes_a_s(path: Path, rounds: int) -> float:
    """A whole file in 1 MiB reads: the kernel reads ahead, in requests of its own size."""
    best = 0.0
    for _ in range(rounds):
        drop_pages(path)
        best = max(best, path.stat().st_size / seconds(lambda: read_through(path)))
    return best


@contextmanager
def bare_mount(size: int) -> Iterator[tuple[int, Path]]:
    """The bare handler, mounted: its process id and its file."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        mountpoint = Path(folder) / "m"
        mountpoint.mkdir()
        command = [sys.executable, "-m", "tests.bench.bare_fuse", str(mountpoint), str(size)]
        process = subprocess.Popen(command, cwd=CHECKOUT)
        try:
            give_up = time.monotonic() + START_S
            while not mounted_at(mountpoint):
                assert process.poll() is None, "the bare handler could not mount"
                assert time.monotonic() < give_up, "the bare handler does not mount"
                time.sleep(0.02)
            yield process.pid, mountpoint / "file"
        finally:
            abort(mountpoint)
            process.wait(START_S)


def system_calls(pid: int, path: Path, length: int) -> str:
    """How many of which a read makes the mount do, by strace."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    drop_pages(path)
    tracer = subprocess.Popen([strace, "-f", "-c", "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    time.sleep(1.0)  # it says nothing that tells when it has attached
    where = places(path.stat().st_size, length)[:500]
    read_at(path, where, length)
    tracer.send_signal(signal.SIGINT)
    said = tracer.communicate()[1]
    counted = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", said, re.MULTILINE)
    calls = {name: int(count) / len(where) for count, name in counted if name != "total"}
    return ", ".join(f"{name} {a_read:.2f}" for name, a_read in calls.items() if a_read >= 0.05) or said.strip()


def main(argv: Sequence[str] | None = None) -> None:
    quick = arguments(__doc__, argv).quick
    size, rounds = (4 * MiB, 1) if quick else (SIZE, ROUNDS)
    with bare_mount(size) as (pid, path):
        bare = {length: cost(pid, path, length, rounds) for length in LENGTHS}
        bare_rate = in_order_bytes_a_s(path, rounds)
    with mounted({"file": size}) as mount:
        path = mount.path / "file"
        read_through(path)
        at_rest(mount, size)
        table = Table(
            "read of KiB",
            "bare µs",
            "rangefs µs",
            "×",
            "a second",
            "user µs",
            "system µs",
            "requests a read",
            widths=[12],
        )
        for length in LENGTHS:
            before = mount.status()["reads"]["count"]
            ours = cost(mount.pid, path, length, rounds)
            requests = mount.status()["reads"]["count"] - before
            table.row(
                length // KiB,
                number(1e6 * bare[length].wall_s, 1),
                number(1e6 * ours.wall_s, 1),
                number(ours.wall_s / bare[length].wall_s, 2),
                number(1 / ours.wall_s),
                number(1e6 * ours.user_s, 1),
                number(1e6 * ours.system_s, 1),
                number(requests / rounds / len(places(size, length)), 2),
            )
        rate = in_order_bytes_a_s(path, rounds)
        print(f"in order, MB/s: bare {bare_rate / 1e6:,.0f}, rangefs {rate / 1e6:,.0f}, {rate / bare_rate:.2f} ×")
        hot = size / min(seconds(lambda: read_through(path)) for _ in range(rounds))
        print(f"the same again, from the kernel's pages: {hot / 1e6:,.0f} MB/s")
        for length in (4 * KiB, 256 * KiB):
            print(f"system calls of a read of {length // KiB} KiB: {system_calls(mount.pid, path, length)}")


if __name__ == "__main__":
    main()
