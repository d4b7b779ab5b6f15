"""How long a mount waits for its cache, and what that costs in memory: an empty one against a million chunks.

    python tests/bench/store_start.py [--chunks 1000000]

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

SOURCE = "https://data.example.org/"
LENGTH = 64 << 10


def key_of(number: int) -> bytes:
    return b"some/folder/of/a/tree/%03d/file-%06d.parquet" % (number % 1000, number)


def version_of(number: int) -> Version:
    return Version(key_of(number), Level.STRONG, f'"{number:032x}"', 1 << 30)


def make(folder: Path, chunks: int, files: int) -> None:
    """A manifest of `chunks` chunks, spread over `files` files in turn."""
    ledger = Ledger()
    digest = namespace_digest(SOURCE)
    ledger.apply(NamespaceRecord(digest, SOURCE))
    for number in range(files if chunks else 0):
        ledger.apply(ObjectRecord(number + 1, digest, version_of(number), 1, 1.0))
    for chunk in range(chunks):
        ledger.apply(AddRecord(chunk + 1, chunk % files + 1, chunk // files * LENGTH, LENGTH, 17))
    ledger.apply(IdsRecord(chunks + 1, chunks + 1025))
    disk, layout = Disk(), Layout(folder)
    make_folders(disk, layout)
    squeeze(ledger)
    fd = begin_log(disk, layout, 1, 1)
    publish(disk, layout, 1, fd, encode_snapshot(ledger, 1, 1), sync=False)
    os.close(fd)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


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


def measure(folder: Path) -> tuple[float, int, float, int]:
    command = [sys.executable, __file__, "--child", str(folder)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(5)]
    ready, resident, looked, found = min(runs, key=lambda run: float(run[0]))
    return float(ready), int(resident), float(looked), int(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--child", type=Path)
    asked = parser.parse_args()
    if asked.child:
        trio.run(child, asked.child)
        return
    empty_ready = empty_resident = 0.0
    print("   chunks   files  ready s  × empty  MiB more  first find ms  its chunks")
    for chunks, files in ((0, 1), (asked.chunks // 10, 1000), (asked.chunks, 1000), (asked.chunks, 100_000)):
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), chunks, files)
            ready, resident, looked, found = measure(Path(folder))
        empty_ready, empty_resident = empty_ready or ready, empty_resident or resident
        print(
            f"{chunks:9} {files:7} {ready:8.3f} {ready / empty_ready:8.1f} "
            f"{(resident - empty_resident) / (1 << 20):9.1f} {looked * 1000:14.2f} {found:11}"
        )


if __name__ == "__main__":
    main()
