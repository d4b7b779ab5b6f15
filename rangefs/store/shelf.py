"""Chunk files: written whole, read verified. Plain blocking functions and the descriptors kept open for them.

Nothing here knows the books. `Shelf` belongs to the event loop's thread;
`write_chunk`, `read_chunk` and `open_chunk` run in worker threads.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from rangefs.core.chunkfile import (
    BLOCK,
    MAX_HEADER,
    PAGE,
    ChunkHeader,
    ChunkName,
    Damaged,
    UnknownFormat,
    block_sums,
    decode_header,
    encode_header,
    verified,
)
from rangefs.store.disk import NOWAIT, Disk, write_all
from rangefs.store.layout import Layout


class BadChunk(Exception):
    """The file is not the chunk it should be, or the disk can't give it. The text says what is wrong."""


@dataclass(slots=True, eq=False)
class OpenChunk:
    """A chunk with a descriptor and a verified header.

    users     worker threads that use the descriptor now: it is closed when the last is done
    read_pages  a bit for each page of the object in the chunk that was read since it was opened
    """

    fd: int
    header: ChunkHeader
    start: int
    end: int
    ephemeral: bool
    users: int = 0
    closing: bool = False
    read_pages: int = 0

    @property
    def read_out(self) -> bool:
        """Was its last page read since it was opened?"""
        return bool(self.read_pages >> ((self.end - 1) // PAGE - self.start // PAGE))

    def read_before(self, start: int, end: int) -> bool:
        """Was every page of this range read before? From now on they were. (0.3 µs)"""
        first = start // PAGE
        asked = ((1 << ((end - 1) // PAGE - first + 1)) - 1) << (first - self.start // PAGE)
        if self.read_pages & asked == asked:
            return True
        self.read_pages |= asked
        return False


@dataclass(frozen=True, slots=True)
class Written:
    """A chunk file in its place: its open descriptor, header, and the bytes that were written."""

    chunk: OpenChunk
    written_bytes: int


# The kernel asks for 1 MiB at the most, which may lie across one block more.
SCRATCH = (1 << 20) + 2 * BLOCK


def write_chunk(
    disk: Disk, layout: Layout, name: ChunkName, pieces: Sequence[memoryview], sync: bool, direct: bool = False
) -> Written:
    """Hash, write to staging, rename. Raises `OSError`; nothing is left behind then, if the disk lets us.

    sync    put the data on the disk before the name is there (``--sync always``)
    direct  write past the page cache, where the file system and the piece's place in memory allow it
    """
    sums = block_sums(pieces)
    header = encode_header(name, sums)
    offset = -(-len(header) // PAGE) * PAGE
    ephemeral = not name.version.level.durable
    staged = layout.staged(name.chunk_id)
    fd = disk.open(staged, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        if not (direct and len(pieces) == 1 and _write_direct(disk, fd, header, pieces[0], offset)):
            write_all(disk, fd, (header, bytes(offset - len(header)), *pieces), 0)
        if sync:
            disk.fdatasync(fd)
        target = layout.chunk(name.chunk_id, ephemeral)
        try:
            disk.rename(staged, target)
        except FileNotFoundError:
            make_folder(disk, layout, name.chunk_id, ephemeral)
            disk.rename(staged, target)
    except BaseException:
        disk.close(fd)
        remove(disk, layout, staged_id=name.chunk_id)
        raise
    parsed = ChunkHeader(name, offset, sums)
    chunk = OpenChunk(fd, parsed, name.start, name.start + name.length, ephemeral)
    return Written(chunk, len(header) + name.length)


def _write_direct(disk: Disk, fd: int, header: bytes, data: memoryview, offset: int) -> bool:
    """Write past the page cache, all but the last, partial page; False where that can't be: nothing is lost then.

    The page cache would take a copy, in fresh memory, of bytes that the kernel has already, in the pages of the mount.
    """
    whole = len(data) // PAGE * PAGE
    with mmap.mmap(-1, offset) as front:  # aligned, as direct writes need it
        front[: len(header)] = header
        try:
            disk.set_direct(fd, True)
            with memoryview(front) as padded:
                write_all(disk, fd, (padded, data[:whole]), 0)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the answer to whatever is not aligned, or can't be direct
                raise
            return False
        finally:
            disk.set_direct(fd, False)
    if whole < len(data):
        write_all(disk, fd, (data[whole:],), offset + whole)
    return True


def make_folder(disk: Disk, layout: Layout, chunk_id: int, ephemeral: bool) -> None:
    """The folder that a chunk goes to. Raises `OSError`, `FileNotFoundError` where the cache folder itself is gone."""
    with suppress(FileExistsError):
        disk.mkdir(layout.chunk_folder(chunk_id, ephemeral))


def remove(disk: Disk, layout: Layout, staged_id: int) -> None:
    """A file of staging, as far as the disk lets us: what stays is removed at the next start."""
    with suppress(OSError):
        disk.unlink(layout.staged(staged_id))


def open_chunk(disk: Disk, layout: Layout, expected: ChunkName) -> OpenChunk:
    """Open and verify the header of the chunk that should be `expected` (its mtime does not count).

    Raises `BadChunk` for a file that is not it, `OSError` where the file can't be opened or read at all.
    """
    ephemeral = not expected.version.level.durable
    fd = disk.open(layout.chunk(expected.chunk_id, ephemeral), os.O_RDONLY)
    try:
        header = read_header(disk, fd)
        check_identity(header.name, expected)
    except BaseException:
        disk.close(fd)
        raise
    end = expected.start + expected.length
    return OpenChunk(fd, header, expected.start, end, ephemeral)


def check_identity(found: ChunkName, expected: ChunkName) -> None:
    """Raises `BadChunk` unless both name the same bytes (their mtimes may differ)."""
    if replace(found, mtime_ns=None) != replace(expected, mtime_ns=None):
        raise BadChunk("another chunk's file")


def read_header(disk: Disk, fd: int) -> ChunkHeader:
    """The verified header of an open chunk file. Raises `BadChunk`, `OSError`."""
    raw = bytearray(2 * PAGE)
    count = disk.preadv(fd, raw, 0)
    try:
        try:
            return decode_header(memoryview(raw)[:count])
        except Damaged:
            if count < len(raw):
                raise
            raw = bytearray(MAX_HEADER)
            count = disk.preadv(fd, raw, 0)
            return decode_header(memoryview(raw)[:count])
    except (Damaged, UnknownFormat, ValueError) as error:
        raise BadChunk(str(error)) from error


def read_chunk(disk: Disk, chunk: OpenChunk, start: int, end: int) -> memoryview:
    """Verified bytes ``[start, end)`` of the object. Raises `BadChunk`, `OSError`."""
    first, offset, length, skip = _blocks(chunk, start, end)
    buffer = bytearray(length)
    view = memoryview(buffer)
    done = 0
    while done < length:
        count = disk.preadv(chunk.fd, view[done:], offset + done)
        if count == 0:
            raise BadChunk("shorter than it should be")
        done += count
    if not verified(chunk.header, first, view):
        raise BadChunk("a block's checksum is wrong")
    return view[skip : skip + end - start]


def read_chunk_nowait(disk: Disk, chunk: OpenChunk, start: int, end: int, scratch: memoryview) -> memoryview | None:
    """As `read_chunk`, if the pages are in memory and good, and `scratch` can hold them; None in all other cases.

    What it returns lies in `scratch`: reused memory is in the processor's cache, and nobody has to clear it first.
    """
    first, offset, length, skip = _blocks(chunk, start, end)
    if length > len(scratch):
        return None
    view = scratch[:length]
    try:
        count = disk.preadv(chunk.fd, view, offset, NOWAIT)
    except OSError:
        return None  # EAGAIN, or a file system without it, or worse: read() finds out
    if count != length or not verified(chunk.header, first, view):
        return None
    return view[skip : skip + end - start]


def _blocks(chunk: OpenChunk, start: int, end: int) -> tuple[int, int, int, int]:
    """The whole blocks around a range: the first's number, their file offset, their length, bytes to skip."""
    inside = start - chunk.start
    first = inside // BLOCK
    from_byte = first * BLOCK
    to_byte = min(-(-(end - chunk.start) // BLOCK) * BLOCK, chunk.end - chunk.start)
    return first, chunk.header.data_offset + from_byte, to_byte - from_byte, inside - from_byte


class Shelf:
    """Open chunks, least recently used first; at most `limit` descriptors, give or take those in use.

    scratch  where `read_chunk_nowait` reads to
    """

    def __init__(self, disk: Disk, limit: int) -> None:
        self._disk = disk
        self._limit = limit
        self.scratch = memoryview(mmap.mmap(-1, SCRATCH))
        self._open: OrderedDict[int, OpenChunk] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, chunk_id: int) -> OpenChunk | None:
        chunk = self._open.get(chunk_id)
        if chunk is not None:
            self._open.move_to_end(chunk_id)
        return chunk

    def put(self, chunk: OpenChunk) -> OpenChunk:
        """Keep it open; returns the one to use (someone may have opened the same in the meantime)."""
        chunk_id = chunk.header.name.chunk_id
        known = self._open.get(chunk_id)
        if known is not None:
            self._disk.close(chunk.fd)
            return known
        self._open[chunk_id] = chunk
        while len(self._open) > self._limit:
            self.forget(next(iter(self._open)))
        return chunk

    def forget(self, chunk_id: int) -> None:
        """Close it, as soon as nobody uses it."""
        chunk = self._open.pop(chunk_id, None)
        if chunk is not None:
            chunk.closing = True
            self._close_if_idle(chunk)

    def acquire(self, chunk: OpenChunk) -> None:
        """Keep the descriptor while a worker thread uses it."""
        chunk.users += 1

    def release(self, chunk: OpenChunk) -> None:
        chunk.users -= 1
        self._close_if_idle(chunk)

    def halve(self) -> None:
        """Descriptors are short: give half of ours back."""
        for chunk_id in list(self._open)[: len(self._open) // 2 + 1]:
            self.forget(chunk_id)

    def clear(self) -> None:
        for chunk_id in list(self._open):
            self.forget(chunk_id)

    def _close_if_idle(self, chunk: OpenChunk) -> None:
        if chunk.closing and chunk.users == 0 and chunk.fd >= 0:
            self._disk.close(chunk.fd)
            chunk.fd = -1
