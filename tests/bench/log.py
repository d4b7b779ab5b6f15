"""The manifest (`rangefs.store.manifest`): what a record costs to append, to replay and to compact as there are more.

    python -m tests.bench.log [--quick]

append      one record in a frame of its own, handed to the kernel: what a stored chunk pays (a thread and a write)
append 64   one of 64 records that share a frame: what many writers together pay
replay      one record read back at a start: frame checked, record decoded, books changed
checkpoint  one live chunk in a new generation: columns made dense, hashed, written (no sync: that is the disk's time)
load        one live chunk of a snapshot at a start

All in microseconds a record, at that many records; the last line is the k of cost ~ nᵏ (0: constant, 1: linear).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from rangefs.core.ledger import Ledger
from rangefs.core.records import (
    AddRecord,
    NamespaceRecord,
    ObjectRecord,
    decode_all,
    encode,
    encode_frame,
    encode_log_header,
    frames,
    namespace_digest,
)
from rangefs.core.snapshot import decode_snapshot
from rangefs.core.versions import Level, Version
from rangefs.store.disk import Disk
from rangefs.store.layout import Layout
from rangefs.store.manifest import LogFile, Manifest, begin_log
from rangefs.store.recovery import make_folders
from rangefs.store.threads import Threads
from tests.bench.measure import KiB, Point, Table, arguments, exponent, number, seconds_a_call

SOURCE = "https://data.example.org/"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
CHUNKS_OF_A_FILE = 100
IN_A_FRAME = 64
MOST_APPENDED = 10_000  #: one by one; the log before them is as long as the size says


def books(chunks: int) -> Ledger:
    """A ledger that knows the files of so many chunks, and none of the chunks."""
    ledger = Ledger()
    digest = namespace_digest(SOURCE)
    ledger.apply(NamespaceRecord(digest, SOURCE))
    for file in range(-(-chunks // CHUNKS_OF_A_FILE)):
        version = Version(b"folder/file-%07d" % file, Level.STRONG, f'"{file:x}"', 1 << 30)
        ledger.apply(ObjectRecord(file + 1, digest, version, 1, 1.0))
    return ledger


def record(chunk: int) -> AddRecord:
    start = chunk % CHUNKS_OF_A_FILE * 64 * KiB
    return AddRecord(chunk + 1, chunk // CHUNKS_OF_A_FILE + 1, start, 64 * KiB, 17)


def log_of(chunks: int) -> bytes:
    """A log's bytes: so many records in frames of `IN_A_FRAME`."""
    pieces = [encode_log_header(1, 1)]
    for sequence, first in enumerate(range(0, chunks, IN_A_FRAME), 1):
        records = range(first, min(first + IN_A_FRAME, chunks))
        pieces.append(encode_frame(1, sequence, b"".join(encode(record(chunk)) for chunk in records)))
    return b"".join(pieces)


def replay(raw: bytes, ledger: Ledger) -> None:
    for frame in frames(raw, 1, 1):
        for found in decode_all(frame.payload):
            ledger.apply(found)


async def append(manifest: Manifest, first: int, records: int, at_once: int) -> float:
    """Seconds a record."""
    began = time.perf_counter()
    for chunk in range(first, first + records, at_once):
        manifest.append(*(record(one) for one in range(chunk, chunk + at_once)))
        assert await manifest.flush()
    return (time.perf_counter() - began) / records


async def costs(folder: Path, chunks: int) -> dict[str, float]:
    """Seconds a record of each step, with that many records there."""
    disk, layout = Disk(), Layout(folder)
    make_folders(disk, layout)
    raw = log_of(chunks)
    ledger = books(chunks)
    began = time.perf_counter()
    replay(raw, ledger)
    replay_s = (time.perf_counter() - began) / chunks
    fd = begin_log(disk, layout, 1, 1)
    end = os.pwrite(fd, raw, 0)
    manifest = Manifest(disk, layout, Threads(), sync=False)
    manifest.resume(LogFile(1, fd, end), -(-chunks // IN_A_FRAME), 0)
    calls = min(chunks, MOST_APPENDED)
    found = {
        "append": await append(manifest, chunks, calls, 1),
        f"append {IN_A_FRAME}": await append(manifest, chunks + calls, calls // IN_A_FRAME * IN_A_FRAME, IN_A_FRAME),
        "replay": replay_s,
    }
    began = time.perf_counter()
    assert await manifest.checkpoint(ledger, None)
    found["checkpoint"] = (time.perf_counter() - began) / chunks
    snapshot = layout.snapshot(manifest.generation).read_bytes()
    found["load"] = seconds_a_call(lambda: decode_snapshot(snapshot), chunks)
    await manifest.close()
    return found


def main(argv: Sequence[str] | None = None) -> None:
    sizes = (500, 1_000) if arguments(__doc__, argv).quick else SIZES
    found: dict[str, list[Point]] = {}
    table: Table | None = None
    for chunks in sizes:
        with tempfile.TemporaryDirectory() as folder:
            row = trio.run(costs, Path(folder), chunks)
        table = table or Table("records", *(f"{name} µs" for name in row), widths=[12])
        table.row(f"{chunks:,}", *(number(1e6 * cost, 2) for cost in row.values()))
        for name, cost in row.items():
            found.setdefault(name, []).append(Point(chunks, cost))
    assert table is not None
    table.row("k of nᵏ", *(number(exponent(points), 2) for points in found.values()))


if __name__ == "__main__":
    main()
