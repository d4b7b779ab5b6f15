"""The cache's books: what is stored, by whom, and how much. Pure: it decides and records, and touches no file.

Each change is made by `apply` of a record, the same that the log carries, so
that replaying the log gives the same books (a property test holds it to that).
`Ledger` adds the questions: which versions of a key, which chunks of a version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from rangefs.core.columns import (
    AWAITED,
    EPHEMERAL,
    LIVE,
    NO_ROW,
    PASSING,
    PINNED,
    VISITED,
    ChunkColumns,
    ObjectColumns,
)
from rangefs.core.records import (
    AddRecord,
    DropRecord,
    IdsRecord,
    MarkRecord,
    NamespaceRecord,
    ObjectRecord,
    PinRecord,
    Record,
    TouchRecord,
    ValidatedRecord,
)
from rangefs.core.versions import Version

GAP = 8192
"""Ids that a log may skip and yet come back to (a slow write's record comes after those of faster ones)."""


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """One live chunk, as a value."""

    chunk_id: int
    number: int
    start: int
    length: int
    pages: int
    ephemeral: bool


class Ledger:
    """Objects and chunks of all namespaces in one cache folder."""

    def __init__(self) -> None:
        self.chunks = ChunkColumns()
        self.objects = ObjectColumns()
        self.namespaces: dict[bytes, str] = {}
        self.next_number = 1
        self.next_id = 1
        self.settled = 1  #: ids below are in the books, or will never be
        self.ahead = 1  #: ids from here on were never used, whatever a crash took
        self.hand = 0  #: the eviction's, a chunk row
        self.pinned_pages = 0

    # -- changes -----------------------------------------------------------

    def apply(self, record: Record) -> None:
        """Make one recorded change. Records of things that are gone, or known already, change nothing."""
        match record:
            case AddRecord():
                self._add(record)
            case DropRecord(chunk_id):
                self.drop(chunk_id)
            case TouchRecord(chunk_id):
                row = self.chunks.live_row_of(chunk_id)
                if row is not None:
                    self.chunks.flags[row] |= VISITED
            case ObjectRecord():
                self._object(record)
            case ValidatedRecord(number, validated_at_s):
                row = self.objects.row_of(number)
                if row is not None:
                    self.objects.validated[row] = validated_at_s
            case PinRecord(number, pinned):
                self._pin(number, pinned)
            case IdsRecord(settled, ahead):
                self.settled, self.ahead = max(self.settled, settled), max(self.ahead, ahead)
            case NamespaceRecord(digest, text):
                self.namespaces[digest] = text
            case MarkRecord():
                pass  # of recovery's concern only

    def await_id(self) -> int:
        """The next chunk id; its row waits for the chunk."""
        chunk_id = self.next_id
        self.next_id += 1
        self.chunks.append(chunk_id)
        return chunk_id

    def add_ephemeral(self, record: AddRecord) -> None:
        """As `apply`, of a chunk that no log will ever name."""
        self._add(record, EPHEMERAL)

    def drop(self, chunk_id: int) -> ChunkRow | None:
        """Forget a chunk; returns what it was, None if it was not there."""
        row = self.chunks.live_row_of(chunk_id)
        if row is None:
            return None
        was = self._row(row)
        self.chunks.kill(row)
        object_row = self.objects.row_of(was.number)
        assert object_row is not None
        self.objects.counts[object_row] -= 1
        if not self.objects.counts[object_row]:
            self.objects.live -= 1
        if self.objects.flags[object_row] & PINNED:
            self.pinned_pages -= was.pages
        return was

    def _add(self, record: AddRecord, flags: int = 0) -> None:
        object_row = self.objects.row_of(record.number)
        if object_row is None:
            return
        row = self._awaited_row(record.chunk_id)
        if row is None:
            return
        self.chunks.fill(row, record.number, record.start, record.length, record.pages, flags)
        self.chunks.nexts[row] = self.objects.heads[object_row]
        self.objects.heads[object_row] = row
        self.objects.counts[object_row] += 1
        if self.objects.counts[object_row] == 1:
            self.objects.live += 1
        if self.objects.flags[object_row] & PINNED:
            self.pinned_pages += record.pages

    def _awaited_row(self, chunk_id: int) -> int | None:
        """The row that waits for this id; while a log is replayed, ids that it skipped get rows too."""
        if chunk_id >= self.next_id:
            for skipped in range(max(self.next_id, chunk_id - GAP), chunk_id + 1):
                self.chunks.append(skipped)
            self.next_id = chunk_id + 1
        row = self.chunks.row_of(chunk_id)
        return row if row is not None and self.chunks.flags[row] & AWAITED else None

    def _object(self, record: ObjectRecord) -> None:
        if record.number < self.next_number:
            return
        self.next_number = record.number + 1
        self.objects.append(
            record.number,
            key_hash(record.namespace, record.version.key),
            record.namespace,
            record.version,
            record.mtime_ns,
            record.validated_at_s,
            0 if record.version.level.durable else PASSING,
        )

    def _pin(self, number: int, pinned: bool) -> None:
        row = self.objects.row_of(number)
        if row is None or bool(self.objects.flags[row] & PINNED) == pinned:
            return
        held = sum(chunk.pages for chunk in self.chunks_of(row))
        self.pinned_pages += held if pinned else -held
        self.objects.flags[row] ^= PINNED

    # -- questions ---------------------------------------------------------

    def rows_of_key(self, namespace: bytes, key: bytes) -> list[int]:
        """Rows of all versions known of a key, in order of number."""
        objects = self.objects
        rows = objects.rows_of_hash(key_hash(namespace, key))
        return [row for row in rows if objects.has_key(row, namespace, key)]

    def row_of_version(self, namespace: bytes, version: Version) -> int | None:
        """The row of exactly this version."""
        objects = self.objects
        for row in objects.rows_of_hash(key_hash(namespace, version.key)):
            if objects.has(row, namespace, version):
                return row
        return None

    def chunks_of(self, object_row: int) -> Iterator[ChunkRow]:
        """Live chunks of an object, newest first; dead rows are unlinked on the way."""
        chunks, heads = self.chunks, self.objects.heads
        before = NO_ROW
        row = heads[object_row]
        while row != NO_ROW:
            following = chunks.nexts[row]
            if chunks.flags[row] & LIVE:
                before = row
                yield self._row(row)
            elif before == NO_ROW:
                heads[object_row] = following
            else:
                chunks.nexts[before] = following
            row = following

    def chunk(self, chunk_id: int) -> ChunkRow | None:
        row = self.chunks.live_row_of(chunk_id)
        return None if row is None else self._row(row)

    def is_pinned(self, number: int) -> bool:
        row = self.objects.row_of(number)
        return row is not None and bool(self.objects.flags[row] & PINNED)

    def _row(self, row: int) -> ChunkRow:
        chunks = self.chunks
        return ChunkRow(
            chunks.ids[row],
            chunks.numbers[row],
            chunks.starts[row],
            chunks.lengths[row],
            chunks.pages[row],
            bool(chunks.flags[row] & EPHEMERAL),
        )

    def check(self) -> None:
        """Every invariant of the books; for tests, after each step."""
        chunks, objects = self.chunks, self.objects
        live = [row for row in range(len(chunks)) if chunks.flags[row] & LIVE]
        assert chunks.live == len(live)
        assert chunks.live_pages == sum(chunks.pages[row] for row in live)
        assert all(earlier < later for earlier, later in zip(chunks.ids, chunks.ids[1:], strict=False))
        assert not chunks.ids or chunks.ids[-1] < self.next_id
        found = {row: [chunk.chunk_id for chunk in self.chunks_of(row)] for row in range(len(objects))}
        assert sorted(chunk for ids in found.values() for chunk in ids) == [chunks.ids[row] for row in live]
        assert [len(ids) for ids in found.values()] == list(objects.counts)
        assert objects.live == sum(1 for ids in found.values() if ids)
        pinned = {objects.numbers[row] for row in range(len(objects)) if objects.flags[row] & PINNED}
        assert self.pinned_pages == sum(chunks.pages[row] for row in live if chunks.numbers[row] in pinned)
        for row in range(len(objects)):
            assert row in objects.rows_of_hash(objects.hashes[row])


def key_hash(namespace: bytes, key: bytes) -> int:
    """What a key is found by."""
    return xxhash.xxh3_64_intdigest(namespace + key)
