"""How long a mount waits for its cache, and what that costs in memory: an empty one against a million chunks.

    python -m tests.bench.store_start [--chunks 1000000] [--quick]

Each line is a process of its own that opens a cache folder: seconds until it can answer, its memory over that
of an empty cache, and the seconds to find a file with its chunks for the first time.
The folders hold the manifest only; a start never looks at chunk files (but for the few ids that a crash may have lost).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from rangefs.core.figures import CacheFigures
from rangefs.core.ledger import Ledger
from rangefs.core.records import AddRecord, IdsRecord, NamespaceRecord, ObjectRecord, namespace_digest
from rangefs.core.settings import CacheSettings, MinFree
from rangefs.core.snapshot import encode_snapshot, squeeze
from rangefs.core.versions import Level, Version
from rangefs.store.disk import Disk
from rangefs.store.layout import Layout
from rangefs.store.manifest import begin_log, publish
from rangefs.store.recovery import make_folders
from rangefs.store.store import Store
from tests.bench.measure import MiB, Table, number, resident_bytes
from tests.mounts import CHECKOUT

SOURCE = "https://data.example.org/"
LENGTH = 64 << 10


def key_of(file: int) -> bytes:
    return b"some/folder/of/a/tree/%03d/file-%06d.parquet" % (file % 1000, file)


def version_of(file: int) -> Version:
    return Version(key_of(file), Level.STRONG, f'"{file:032x}"', 1 << 30)


def make(folder: Path, chunks: int, files: int) -> None:
    """A manifest of `chunks` chunks, spread over `files` files in turn."""
    ledger = Ledger()
    digest = namespace_digest(SOURCE)
    ledger.apply(NamespaceRecord(digest, SOURCE))
    for file in range(files if chunks else 0):
        ledger.apply(ObjectRecord(file + 1, digest, version_of(file), 1, 1.0))
    for chunk in range(chunks):
        ledger.apply(AddRecord(chunk + 1, chunk % files + 1, chunk // files * LENGTH, LENGTH, 17))
    ledger.apply(IdsRecord(chunks + 1, chunks + 1025))
    disk, layout = Disk(), Layout(folder)
    make_folders(disk, layout)
    squeeze(ledger)
    fd = begin_log(disk, layout, 1, 1)
    publish(disk, layout, 1, fd, encode_snapshot(ledger, 1, 1), sync=False)
    os.close(fd)


async def child(folder: Path) -> None:
    settings = CacheSettings(folder, 1 << 50, MinFree(0.0))
    began = time.perf_counter()
    store = await Store.open(settings, SOURCE, CacheFigures())
    ready = time.perf_counter()
    resident = resident_bytes()
    found = await store.find(key_of(7))
    looked = time.perf_counter()
    print(ready - began, resident, looked - ready, len(found.chunks) if found else 0)
    await store.close()


@dataclass(frozen=True, slots=True)
class Start:
    """One start: seconds until it answers, memory then, seconds to find a file, and how many chunks that has."""

    ready_s: float
    resident_bytes: int
    found_s: float
    chunks: int


def measure(folder: Path) -> Start:
    """The fastest of a few."""
    command = [sys.executable, "-m", "tests.bench.store_start", "--child", str(folder)]
    said = [subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout for _ in range(5)]
    starts = [
        Start(float(ready), int(resident), float(found), int(chunks))
        for ready, resident, found, chunks in map(str.split, said)
    ]
    return min(starts, key=lambda start: start.ready_s)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.child:
        trio.run(child, asked.child)
        return
    most = 1_000 if asked.quick else asked.chunks
    table = Table("chunks", "files", "ready s", "× empty", "MiB more", "first find ms", "its chunks", widths=[12])
    empty: Start | None = None
    for chunks, files in ((0, 1), (most // 10, most // 1000), (most, most // 1000), (most, most // 10)):
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), chunks, files)
            start = measure(Path(folder))
        empty = empty or start
        table.row(
            f"{chunks:,}",
            f"{files:,}",
            number(start.ready_s, 3),
            number(start.ready_s / empty.ready_s, 1),
            number((start.resident_bytes - empty.resident_bytes) / MiB, 1),
            number(1000 * start.found_s, 2),
            start.chunks,
        )


if __name__ == "__main__":
    main()
