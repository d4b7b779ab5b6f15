"""Where the time of one read goes: what the README's table of that name is made from, with `tests.bench.reply`.

    python -m tests.bench.where [--quick]

parts   of a warm read, in this process: µs to look it up, to read its blocks from the page cache, to check them
cold    one file from nginx on the loopback, start to end: seconds of processor time by who spends them, beside what
        the machine gives: `curl -o`, writing to the page cache, copying memory
small   many files of 2 KiB: µs a file, cold, again, and after a remount, beside a plain GET for each on one connection

Needs /dev/fuse, nginx and curl.
"""

from __future__ import annotations

import http.client
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import trio
import xxhash

from rangefs.core.chunkfile import BLOCK
from rangefs.core.figures import CacheFigures
from rangefs.core.intervals import IntervalMap
from rangefs.core.settings import CacheSettings, MinFree
from rangefs.core.versions import Level, Version
from rangefs.store.store import Store
from tests.bench.measure import KiB, MiB, Table, arguments, number, seconds_a_call
from tests.bench.stage import at_rest, cpu_time, mounted, read_through, seconds
from tests.mounts import RangefsMount

CHUNK = 4 * MiB
CHUNKS = 64
CALLS = 5_000
COLD = 512 * MiB
SMALL = 2_000
SMALL_BYTES = 2 * KiB
A_FOLDER = 100


# -- the parts of a warm read -------------------------------------------------------


async def store_read(length: int, calls: int) -> float:
    """Seconds of `Store.read_nowait`, anywhere in chunks that are in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        store = await Store.open(CacheSettings(Path(folder), 1 << 40, MinFree(0.0)), "bench", CacheFigures())
        version = Version(b"file", Level.STRONG, '"1"', CHUNKS * CHUNK)
        chunk = await store.add(version, 0, memoryview(random.Random(7).randbytes(CHUNK)))
        assert chunk is not None
        drawn = random.Random(length)
        starts = [drawn.randrange((CHUNK - length) // (4 * KiB)) * 4 * KiB for _ in range(calls)]

        def read() -> None:
            for start in starts:
                store.read_nowait(chunk.id, start, start + length)

        found = seconds_a_call(read, calls)
        await store.close()
        return found


def page_cache_read(length: int, calls: int) -> float:
    """Seconds of the preadv alone: whole blocks around the range."""
    buffer = memoryview(bytearray(length))
    with tempfile.TemporaryFile() as file:
        file.write(random.Random(7).randbytes(CHUNK))
        file.flush()
        drawn = random.Random(length)
        starts = [drawn.randrange((CHUNK - length) // BLOCK + 1) * BLOCK for _ in range(calls)]

        def read() -> None:
            for start in starts:
                os.preadv(file.fileno(), (buffer,), start, os.RWF_NOWAIT)

        return seconds_a_call(read, calls)


def repeated(call: Callable[[], object], calls: int) -> float:
    """Seconds of one call among many."""

    def run() -> None:
        for _ in range(calls):
            call()

    return seconds_a_call(run, calls)


def parts(calls: int) -> None:
    index: IntervalMap[int] = IntervalMap()
    for chunk in range(CHUNKS):
        index.assign(chunk * CHUNK, (chunk + 1) * CHUNK, chunk)
    table = Table("part of a read", "4 KiB µs", "256 KiB µs", widths=[28])
    lengths = (4 * KiB, 256 * KiB)
    rows = {
        "look-up in the index": [repeated(partial(index.find, 17 * CHUNK + 5), calls)] * 2,
        "preadv of its blocks": [page_cache_read(max(length, BLOCK), calls) for length in lengths],
        "their checksums": [
            repeated(partial(xxhash.xxh3_64_intdigest, bytes(BLOCK)), calls) * max(length // BLOCK, 1)
            for length in lengths
        ],
        "the store in all": [trio.run(store_read, length, calls) for length in lengths],
    }
    for name, costs in rows.items():
        table.row(name, *(number(1e6 * cost, 2) for cost in costs))


# -- a cold file ----------------------------------------------------------------------


def thread_seconds(pid: int) -> tuple[float, float]:
    """Processor time of the main thread, and of all others that live."""
    main = cpu_time(pid, pid)
    whole = cpu_time(pid)
    return main.user_s + main.system_s, whole.user_s + whole.system_s - main.user_s - main.system_s


def page_cache_bytes_a_s(folder: Path, size: int) -> float:
    """Writing a new file, with no sync. Pages that the machine has never used before can cost ten times as much."""
    buffer = bytes(MiB)
    with (folder / "written").open("wb", buffering=0) as file:
        took = seconds(lambda: [file.write(buffer) for _ in range(size // MiB)])
    (folder / "written").unlink()
    return size / took


def copied_bytes_a_s(size: int) -> float:
    source, target = bytearray(size), bytearray(size)
    target[:] = source  # both have their pages now
    return size / seconds(lambda: target.__setitem__(slice(None), source))


def cold(size: int) -> None:
    with mounted({"file": size}) as mount:
        main, others = thread_seconds(mount.pid)
        mine = time.process_time()
        took = seconds(lambda: read_through(mount.path / "file"))
        mine = time.process_time() - mine
        main_after, others_after = thread_seconds(mount.pid)
        target = mount.base / "curl"
        command = ["curl", "-sS", "-o", str(target), mount.source + "file"]
        curl_s = seconds(lambda: subprocess.run(command, check=True))
        target.unlink()
        written = page_cache_bytes_a_s(mount.base, size)
    table = Table("cold file", "s", "MB/s", widths=[42])
    table.row("rangefs, on the clock", number(took, 2), number(size / took / 1e6))
    table.row("  its main thread (receive, answer)", number(main_after - main, 2), "")
    table.row("  its other threads (hash, write)", number(others_after - others, 2), "")
    table.row("  the reader", number(mine, 2), "")
    table.row("curl -o", number(curl_s, 2), number(size / curl_s / 1e6))
    table.row("writing to the page cache", number(size / written, 2), number(written / 1e6))
    copied = copied_bytes_a_s(min(size, 64 * MiB))
    table.row("copying memory", number(size / copied, 2), number(copied / 1e6))


# -- small files ----------------------------------------------------------------------


def open_and_read(mount: RangefsMount, names: Sequence[str]) -> float:
    """Seconds a file."""

    def read() -> None:
        for name in names:
            fd = os.open(mount.path / name, os.O_RDONLY)
            assert len(os.read(fd, 2 * SMALL_BYTES)) == SMALL_BYTES
            os.close(fd)

    return seconds(read) / len(names)


def plain_gets(source: str, names: Sequence[str]) -> float:
    """Seconds a file with Python's own client, on one connection."""
    connection = http.client.HTTPConnection(urlsplit(source).netloc)

    def get() -> None:
        for name in names:
            connection.request("GET", f"/{name}")
            assert len(connection.getresponse().read()) == SMALL_BYTES

    try:
        return seconds(get) / len(names)
    finally:
        connection.close()


def listed(mount: RangefsMount) -> None:
    """Look at every name, so that folders are not what is measured."""
    subprocess.run(["ls", "-lR", str(mount.path)], check=True, stdout=subprocess.DEVNULL)


def small(count: int) -> None:
    names = [f"folder-{n // A_FOLDER:02}/file-{n:04}" for n in range(count)]
    table = Table("2 KiB files", "µs a file", "processor µs", widths=[20])

    def row(name: str) -> None:
        before = cpu_time(mount.pid)
        took = open_and_read(mount, names)
        spent = cpu_time(mount.pid).since(before)
        table.row(name, number(1e6 * took), number(1e6 * (spent.user_s + spent.system_s) / count))

    with mounted(dict.fromkeys(names, SMALL_BYTES)) as mount:
        listed(mount)
        row("cold")
        at_rest(mount, count * SMALL_BYTES)
        row("again")
        mount.stop()
        mount.start()
        listed(mount)
        row("after a remount")
        table.row("a plain GET", number(1e6 * plain_gets(mount.source, names)), "")


def main(argv: Sequence[str] | None = None) -> None:
    quick = arguments(__doc__, argv).quick
    parts(100 if quick else CALLS)
    print()
    cold(4 * MiB if quick else COLD)
    print()
    small(20 if quick else SMALL)


if __name__ == "__main__":
    main()
