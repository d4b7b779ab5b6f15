"""Merging small neighbouring chunks in the background.

Random reads leave many small files where a later sequential read wants few
large ones. A run of neighbours is merged when it has grown to `WHOLE_BYTES`, or
when its object has rested for `REST_S`; so most bytes are written once more, never
often. And a budget holds in any case: merging may write at most `BUDGET` of what was
added, which keeps all that is written (headers and manifest included) under twice that.

At each step a crash leaves a cache that works: the new file is whole before one
log frame names it and drops the old ones; a file without that frame is adopted at the
next start or, next to the old ones, is just one more copy of the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import trio

from rangefs.core.chunkfile import ChunkName, data_offset_of
from rangefs.core.columns import CONSUMED, VISITED
from rangefs.core.ledger import ChunkRow
from rangefs.core.records import AddRecord
from rangefs.core.settings import KiB, MiB, Sync
from rangefs.core.versions import Version
from rangefs.store.disk import pages
from rangefs.store.layout import FAN_OUT_BITS
from rangefs.store.manifest import sync_path
from rangefs.store.mending import Mending
from rangefs.store.parts import NO_LOCK, Parts, StoredChunk
from rangefs.store.room import Room
from rangefs.store.shelf import BadChunk, OpenChunk, Written, open_chunk, read_chunk, write_chunk

SMALL_BYTES = 512 * KiB  #: larger chunks are left alone
WHOLE_BYTES = 2 * MiB  #: a run of this size is merged at once
MOST_BYTES = 8 * MiB  #: no merged chunk is larger
FEWEST = 4  #: chunks in a run that is worth the writing
REST_S = 5.0
BUDGET = 0.85
FORWARDS = 4096  #: merged ids that are remembered, for reads that were under way


@dataclass(frozen=True, slots=True)
class _Run:
    version: Version
    mtime_ns: int | None
    chunks: tuple[ChunkRow, ...]

    @property
    def start(self) -> int:
        return self.chunks[0].start

    @property
    def length(self) -> int:
        return sum(chunk.length for chunk in self.chunks)


@dataclass(slots=True)
class Waiting:
    """An object with small chunks: when the last one came, and how much has come since they were last looked at."""

    since: float = 0.0
    unseen_bytes: int = 0


class Compaction:
    """Belongs to the event loop's thread. `consider` is told of each small chunk, `work` is called now and then."""

    def __init__(self, parts: Parts, room: Room, mending: Mending) -> None:
        self._parts = parts
        self._room = room
        self._mending = mending
        self._waiting: dict[int, Waiting] = {}  # by object number
        self._forwards: dict[int, int] = {}
        self.admitted_bytes = 0
        self.merged_bytes = 0

    def admitted(self, number: int, length: int) -> None:
        """`length` bytes were added to an object, in one chunk."""
        self.admitted_bytes += length
        if length < SMALL_BYTES:
            waiting = self._waiting.setdefault(number, Waiting())
            waiting.since = self._parts.now()
            waiting.unseen_bytes += length

    def forward(self, chunk_id: int) -> int:
        """The chunk that has the bytes of `chunk_id` now: itself, or what it was merged into."""
        while (following := self._forwards.get(chunk_id)) is not None:
            chunk_id = following
        return chunk_id

    async def work(self) -> None:
        """Merge what is due. Cancelled, it leaves off between two runs."""
        now = self._parts.now()
        for number, waiting in list(self._waiting.items()):
            rested = now - waiting.since >= REST_S
            if rested:
                del self._waiting[number]
            elif waiting.unseen_bytes < WHOLE_BYTES:
                continue  # to look at all chunks of a large object takes milliseconds
            waiting.unseen_bytes = 0
            for run in self._runs(number, rested):
                if not await self._merge(run):
                    return

    def _runs(self, number: int, rested: bool) -> list[_Run]:
        """Neighbours worth merging, within the budget."""
        ledger = self._parts.ledger
        row = ledger.objects.row_of(number)
        if row is None or ledger.objects.counts[row] < FEWEST:
            return []
        if ledger.objects.namespace(row) != self._parts.namespace:
            return []
        chunks = sorted(
            (chunk for chunk in ledger.chunks_of(row) if chunk.length < SMALL_BYTES and not chunk.ephemeral),
            key=lambda chunk: chunk.start,
        )
        found: list[_Run] = []
        version, mtime_ns = ledger.objects.version(row), ledger.objects.mtime_ns(row)
        left = BUDGET * self.admitted_bytes - self.merged_bytes
        for neighbours in _neighbours(chunks):
            due = rested or sum(chunk.length for chunk in neighbours) >= WHOLE_BYTES
            run = _Run(version, mtime_ns, _affordable(neighbours, left))
            if due and len(run.chunks) >= FEWEST:
                left -= run.length
                found.append(run)
        return found

    async def _merge(self, run: _Run) -> bool:
        """False: not now, the disk is busy with trouble."""
        parts = self._parts
        if parts.lock_fd == NO_LOCK or not parts.health.may_try("write", parts.now()):
            return False
        needed = pages(data_offset_of(parts.namespace_text, run.version, run.length)) + pages(run.length)
        if not await self._room.reserve(needed):
            return False
        with trio.CancelScope(shield=True):
            await self._rewrite(run, needed)
        return True

    async def _rewrite(self, run: _Run, needed: int) -> None:
        parts = self._parts
        if parts.ledger.next_id >= parts.ledger.ahead:
            parts.space.release(needed)
            return
        pieces: list[memoryview] = []
        for chunk in run.chunks:
            piece = await self._whole(run, chunk)
            if piece is None:
                parts.space.release(needed)
                return
            pieces.append(piece)
        chunk_id = parts.ledger.await_id()
        parts.writing.add(chunk_id)
        name = ChunkName(chunk_id, parts.namespace_text, run.version, run.mtime_ns, run.start, run.length)
        try:
            written = await parts.threads.run(lambda: self._write(name, pieces))
        except OSError:
            parts.space.release(needed)
            parts.gave_up(chunk_id)
            return
        parts.space.settle(needed)
        parts.folders.add((False, chunk_id >> FAN_OUT_BITS))
        self.merged_bytes += run.length
        parts.written_bytes += written.written_bytes
        await self._replace(run, written, needed)

    def _write(self, name: ChunkName, pieces: Sequence[memoryview]) -> Written:
        """The new file, and its name, safe from a power loss: those that it replaces may have been so, and go next."""
        parts = self._parts
        sync = parts.settings.sync is not Sync.NONE
        written = write_chunk(parts.disk, parts.layout, name, pieces, sync)
        if sync:
            sync_path(parts.disk, parts.layout.chunk_folder(name.chunk_id))
            sync_path(parts.disk, parts.layout.chunks)
        return written

    async def _whole(self, run: _Run, chunk: ChunkRow) -> memoryview | None:
        """All bytes of one chunk, verified; None where it left, or was bad."""
        parts = self._parts
        name = ChunkName(chunk.chunk_id, parts.namespace_text, run.version, None, chunk.start, chunk.length)

        def read() -> memoryview:
            opened = open_chunk(parts.disk, parts.layout, name)
            try:
                return read_chunk(parts.disk, opened, opened.start, opened.end)
            finally:
                parts.disk.close(opened.fd)

        try:
            return await parts.threads.run(read)
        except (BadChunk, OSError) as error:
            await self._mending.unreadable(chunk, error)
            return None

    async def _replace(self, run: _Run, written: Written, needed: int) -> None:
        """Put one chunk in the place of several, in one frame."""
        parts = self._parts
        merged: OpenChunk = written.chunk
        chunk_id = merged.header.name.chunk_id
        flags = [self._flags(chunk) for chunk in run.chunks]
        row = parts.ledger.row_of_version(parts.namespace, run.version)
        if row is None or not all(flags):  # one was evicted meanwhile: keep what is left of the old ones
            parts.disk.close(merged.fd)
            await self._room.unlink([ChunkRow(chunk_id, 0, run.start, run.length, needed, False)])
            parts.gave_up(chunk_id)
            return
        parts.writing.discard(chunk_id)
        number = parts.ledger.objects.numbers[row]
        record = AddRecord(chunk_id, number, run.start, run.length, needed)
        parts.ledger.apply(record)
        parts.manifest.append(record)
        new_row = parts.ledger.chunks.row_of(chunk_id)
        assert new_row is not None
        if any(flag & VISITED for flag in flags):
            parts.ledger.chunks.flags[new_row] |= VISITED
        if all(flag & CONSUMED for flag in flags):
            parts.ledger.chunks.flags[new_row] |= CONSUMED
        parts.dirty.add(chunk_id)
        parts.dirty_folders.add(chunk_id >> FAN_OUT_BITS)
        parts.shelf.put(merged)
        old_ids = [chunk.chunk_id for chunk in run.chunks]
        self._remember(old_ids, chunk_id)
        parts.on_replace(run.version, old_ids, StoredChunk(merged.start, merged.end, chunk_id))
        await self._room.drop(run.chunks, tell=False)

    def _flags(self, chunk: ChunkRow) -> int:
        """A chunk's flags, 0 where it has left."""
        row = self._parts.ledger.chunks.live_row_of(chunk.chunk_id)
        return 0 if row is None else self._parts.ledger.chunks.flags[row]

    def _remember(self, old_ids: Sequence[int], chunk_id: int) -> None:
        for old_id in old_ids:
            self._forwards[old_id] = chunk_id
        while len(self._forwards) > FORWARDS:
            del self._forwards[next(iter(self._forwards))]


def _affordable(chunks: Sequence[ChunkRow], budget_bytes: float) -> tuple[ChunkRow, ...]:
    """As many of the first as the budget allows."""
    ends = accumulate(chunk.length for chunk in chunks)
    return tuple(chunk for chunk, end in zip(chunks, ends, strict=True) if end <= budget_bytes)


def _neighbours(chunks: Sequence[ChunkRow]) -> list[list[ChunkRow]]:
    """Cut chunks in order of start into runs without gap or overlap, none longer than `MOST_BYTES`."""
    runs: list[list[ChunkRow]] = []
    length = 0
    for chunk in chunks:
        if runs and runs[-1][-1].start + runs[-1][-1].length == chunk.start and length + chunk.length <= MOST_BYTES:
            runs[-1].append(chunk)
            length += chunk.length
        else:
            runs.append([chunk])
            length = chunk.length
    return runs
