"""From a folder to the books: what a start reads, what it mends, and what it sets aside.

Blocking; runs in one worker thread before the store serves anything. The order:

1. CURRENT → snapshot → logs, each frame checked, cut at the first bad one.
2. Files of drops whose unlinking no mark confirms are unlinked (again).
3. Ids between `settled` and `ahead` are what a crash may have parted from their
   records: their few folders are listed, and whole chunks found there are adopted.
4. staging/ and passing/ are emptied, files of other generations removed.

No step looks at any other chunk file: a start costs the same for ten chunks and
for a million. A manifest that can't be read is set aside, and the books are made
anew from the chunks, which name themselves (that does read each header).
A format that we don't know is set aside with everything in the folder.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rangefs.core.chunkfile import ChunkName, Damaged, UnknownFormat
from rangefs.core.columns import AWAITED
from rangefs.core.ledger import Ledger
from rangefs.core.records import (
    AddRecord,
    DropRecord,
    IdsRecord,
    MarkRecord,
    NamespaceRecord,
    ObjectRecord,
    Record,
    decode_all,
    decode_log_header,
    frames,
    namespace_digest,
)
from rangefs.core.snapshot import decode_current, decode_snapshot
from rangefs.store.aside import set_aside
from rangefs.store.disk import Disk, is_folder, pages, read_all
from rangefs.store.layout import FAN_OUT_BITS, FOLDERS, Layout, generation_of, hex_name
from rangefs.store.manifest import LogFile, sync_path
from rangefs.store.shelf import BadChunk, read_header

MAX_MANIFEST = 4 << 30  #: bytes of a snapshot or a log that we are ready to take in


@dataclass(slots=True)
class Recovered:
    """What a start found.

    log         the log to go on with; None: checkpoint first (nothing there yet, or something was cut off)
    generation  the highest in use, sequence: of the last good frame
    adopted     chunks that no record named; dropped: records and files that had to be given up
    resume_at   where in the only log the next frame goes, 0 where it can't be gone on with
    records     what the log must be told of it
    reasons     what was wrong, in plain words
    """

    ledger: Ledger = field(default_factory=Ledger)
    log: LogFile | None = None
    generation: int = 0
    sequence: int = 0
    snapshot_pages: int = 0
    adopted: int = 0
    dropped: int = 0
    resume_at: int = 0
    records: list[Record] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def make_folders(disk: Disk, layout: Layout) -> None:
    """The cache folder and what it always has; its own name is put on the disk at once. Raises `OSError`."""
    if not is_folder(disk, layout.root):
        disk.mkdir(layout.root)
        with suppress(OSError):  # a parent that we may not read: then a power loss may take the new, empty folder
            sync_path(disk, layout.root.parent)
    with suppress(OSError):  # not our folder: then at least all that is in it is ours alone
        disk.make_private(layout.root)
    for folder in (layout.root / name for name in FOLDERS):
        if not is_folder(disk, folder):
            disk.mkdir(folder)


def recover(disk: Disk, layout: Layout) -> Recovered:
    """Read the folder, mend it, and return the books. Raises `OSError` only where the disk itself refuses."""
    found = Recovered()
    try:
        uncleared = read_manifest(disk, layout, found)
        if found.resume_at:
            fd = disk.open(layout.log(found.generation), os.O_RDWR)
            found.log = LogFile(found.generation, fd, found.resume_at)
        _unlink_dropped(disk, layout, found, uncleared)
        _probe(disk, layout, found)
        _remove_strays(disk, layout, found)
    except UnknownFormat as error:
        set_aside(disk, layout, everything=True)
        make_folders(disk, layout)
        found = Recovered(reasons=[f"{error} is not ours: the old cache was set aside"])
    except (Damaged, FileNotFoundError, ValueError, AssertionError) as error:
        generation = set_aside(disk, layout, everything=False)
        found = Recovered(generation=generation)
        _rebuild(disk, layout, found)
        if generation or found.adopted:
            found.reasons.append(f"the manifest could not be read ({error}) and was made anew from the chunks")
    _clear(disk, layout.staging)
    _clear(disk, layout.passing)
    chunks = found.ledger.chunks
    chunks.flags = chunks.flags.translate(_NOT_AWAITED)
    found.ledger.next_id = max(found.ledger.next_id, found.ledger.ahead)
    return found


_NOT_AWAITED = bytes(flags & ~AWAITED for flags in range(256))


def read_manifest(disk: Disk, layout: Layout, found: Recovered) -> list[int]:
    """Take in CURRENT, snapshot and logs, and change nothing on disk. Returns dropped ids whose files may be there.

    Raises `UnknownFormat`, `Damaged`, `FileNotFoundError` where there is no CURRENT.
    """
    current = decode_current(read_all(disk, layout.current, 4096))
    try:
        raw = read_all(disk, layout.snapshot(current), MAX_MANIFEST)
    except FileNotFoundError:
        raise Damaged("the snapshot is not there") from None
    snapshot = decode_snapshot(raw)
    if snapshot.generation != current:
        raise Damaged("CURRENT names another snapshot")
    found.ledger = snapshot.ledger
    found.generation = current
    found.sequence = snapshot.first_sequence - 1
    found.snapshot_pages = pages(len(raw))
    return _replay(disk, layout, found)


def _replay(disk: Disk, layout: Layout, found: Recovered) -> list[int]:
    """Logs from the snapshot's on, as far as they are one sequence. Returns dropped ids whose files may be there."""
    dropped: list[tuple[int, int]] = []  # sequence, chunk id
    cleared = 0
    generation = found.generation
    clean = True
    end = 0
    while True:
        try:
            raw = read_all(disk, layout.log(generation), MAX_MANIFEST)
        except FileNotFoundError:
            if generation == found.generation:
                raise Damaged("the log is not there") from None
            break
        if generation > found.generation and not clean:
            break
        try:
            epoch, first = decode_log_header(raw)
        except Damaged:
            if generation == found.generation:
                raise
            clean = False
            break
        if (epoch, first) != (generation, found.sequence + 1):
            if generation == found.generation:
                raise Damaged("the log does not go with its snapshot")
            clean = False
            break
        end = 32
        for frame in frames(raw, epoch, first):
            for record in decode_all(frame.payload):
                found.ledger.apply(record)
                if isinstance(record, DropRecord):
                    dropped.append((frame.sequence, record.chunk_id))
                elif isinstance(record, MarkRecord):
                    cleared = max(cleared, record.cleared)
            found.sequence, end = frame.sequence, frame.end
        clean = end == len(raw)
        if not clean:
            found.dropped += 1
        generation += 1
    if clean and generation == found.generation + 1:
        found.resume_at = end
    else:
        found.generation = generation
    return [chunk_id for sequence, chunk_id in dropped if sequence > cleared]


def _unlink_dropped(disk: Disk, layout: Layout, found: Recovered, chunk_ids: list[int]) -> None:
    for chunk_id in chunk_ids:
        if found.ledger.chunk(chunk_id) is None:
            _unlink(disk, layout.chunk(chunk_id))


def _probe(disk: Disk, layout: Layout, found: Recovered) -> None:
    """Adopt whole chunks that a crash parted from their records; unlink what is in the books of nobody."""
    ledger = found.ledger
    first, last = ledger.settled >> FAN_OUT_BITS, max(ledger.ahead - 1, ledger.settled) >> FAN_OUT_BITS
    for number in range(first, last + 1):
        folder = layout.chunk_folder(number << FAN_OUT_BITS)
        for name in sorted(_names(disk, folder)):
            chunk_id = hex_name(name)
            if chunk_id is None or not ledger.settled <= chunk_id < ledger.ahead:
                continue
            if ledger.chunk(chunk_id) is not None:
                continue
            if not _adopt(disk, layout, found, chunk_id):
                _unlink(disk, folder / name)
    ledger.apply(IdsRecord(ledger.ahead, ledger.ahead))


def _rebuild(disk: Disk, layout: Layout, found: Recovered) -> None:
    """The books from nothing but the chunks."""
    ids: list[int] = []
    for folder_name in _names(disk, layout.chunks):
        folder = layout.chunks / folder_name
        for name in _names(disk, folder):
            chunk_id = hex_name(name)
            if chunk_id is None or layout.chunk(chunk_id) != folder / name:
                _unlink(disk, folder / name)
            else:
                ids.append(chunk_id)
    for chunk_id in sorted(ids):
        if not _adopt(disk, layout, found, chunk_id):
            _unlink(disk, layout.chunk(chunk_id))
            found.dropped += 1
    found.ledger.apply(IdsRecord(found.ledger.next_id, found.ledger.next_id))


def _adopt(disk: Disk, layout: Layout, found: Recovered, chunk_id: int) -> bool:
    """Enter the file into the books, if its header says that it is this chunk and it has its full length."""
    path = layout.chunk(chunk_id)
    try:
        fd = disk.open(path, os.O_RDONLY)
        try:
            header = read_header(disk, fd)
        finally:
            disk.close(fd)
        name = header.name
        size = disk.info(path).size_bytes
    except (OSError, BadChunk):
        return False
    if name.chunk_id != chunk_id or size != header.data_offset + name.length or not name.version.level.durable:
        return False
    found.records += enter(found.ledger, name, pages(size))
    found.adopted += 1
    return True


def enter(ledger: Ledger, name: ChunkName, pages_on_disk: int) -> list[Record]:
    """A chunk that is known only by its header. Its version counts as validated long ago. Returns what to log."""
    records: list[Record] = []
    digest = namespace_digest(name.namespace)
    if digest not in ledger.namespaces:
        records.append(NamespaceRecord(digest, name.namespace))
    row = ledger.row_of_version(digest, name.version)
    number = ledger.next_number if row is None else ledger.objects.numbers[row]
    if row is None:
        records.append(ObjectRecord(number, digest, name.version, name.mtime_ns, 0.0))
    records.append(AddRecord(name.chunk_id, number, name.start, name.length, pages_on_disk))
    for record in records:
        ledger.apply(record)
    return records


def _remove_strays(disk: Disk, layout: Layout, found: Recovered) -> None:
    """What a checkpoint that was cut short left behind."""
    if found.log is None:
        return
    for name in _names(disk, layout.root):
        generation = generation_of(name)
        if generation not in (None, found.generation):
            _unlink(disk, layout.root / name)


def _clear(disk: Disk, folder: Path) -> None:
    for name in _names(disk, folder):
        path = folder / name
        if is_folder(disk, path):
            _clear(disk, path)
            try:
                disk.rmdir(path)
            except OSError:
                continue
        else:
            _unlink(disk, path)


def _names(disk: Disk, folder: Path) -> list[str]:
    try:
        return disk.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _unlink(disk: Disk, path: Path) -> None:
    try:
        disk.unlink(path)
    except OSError:
        return
