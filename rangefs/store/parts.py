"""What the parts of the store share: the books, the disk, what is under way. The event loop's thread owns it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from rangefs.core.figures import CacheFigures
from rangefs.core.ledger import ChunkRow, Ledger
from rangefs.core.records import DropRecord, NamespaceRecord, ObjectRecord
from rangefs.core.settings import CacheSettings
from rangefs.core.versions import Version
from rangefs.store.disk import PAGE, Disk
from rangefs.store.health import Health
from rangefs.store.layout import FAN_OUT_BITS, Layout
from rangefs.store.manifest import Manifest
from rangefs.store.shelf import Shelf
from rangefs.store.space import Space
from rangefs.store.threads import Threads

NO_LOCK = -1  #: in the place of the lock's descriptor: the folder is not ours, nothing may be written


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """Bytes ``[start, end)`` of a version lie in the chunk `id`."""

    start: int
    end: int
    id: int


def _nobody(version: Version, chunk_ids: Sequence[int]) -> None:
    """Chunks left and nobody wants to know."""


def _nobody_either(version: Version, chunk_ids: Sequence[int], chunk: StoredChunk) -> None:
    """Chunks were merged and nobody wants to know."""


@dataclass(slots=True)
class Parts:
    """See the module. `namespace` is the digest that this mount's objects are found under.

    open_counts  handles by object number
    writing      chunk ids given out whose file or record is not there yet
    clearing     for each batch of files being unlinked: the last sequence before its drop records
    dirty        chunks whose data may not be on the disk yet; dirty_folders: whose names; dirty_parent: folders' names
    folders      fan-out folders of chunks/ and passing/ that exist, as (ephemeral, number)
    """

    settings: CacheSettings
    namespace: bytes
    namespace_text: str
    disk: Disk
    layout: Layout
    threads: Threads
    ledger: Ledger
    space: Space
    manifest: Manifest
    shelf: Shelf
    health: Health
    figures: CacheFigures
    lock_fd: int = NO_LOCK
    on_drop: Callable[[Version, Sequence[int]], None] = _nobody
    on_replace: Callable[[Version, Sequence[int], StoredChunk], None] = _nobody_either
    open_counts: dict[int, int] = field(default_factory=dict)
    writing: set[int] = field(default_factory=set)
    clearing: list[int] = field(default_factory=list)
    dirty: set[int] = field(default_factory=set)
    dirty_folders: set[int] = field(default_factory=set)
    dirty_parent: bool = False
    folders: set[tuple[bool, int]] = field(default_factory=set)
    written_bytes: int = 0  #: to chunk and listing files
    aside_pages: int = 0
    listing_pages: int = 0

    def now(self) -> float:
        """The event loop's clock, seconds."""
        return trio.current_time()

    def version_of(self, number: int) -> Version | None:
        """The version that an object's number stands for; None for objects of another source's namespace."""
        row = self.ledger.objects.row_of(number)
        if row is None or self.ledger.objects.namespace(row) != self.namespace:
            return None
        return self.ledger.objects.version(row)

    def name_namespace(self) -> None:
        """Enter this mount's source into the books, if it is not there."""
        if self.namespace not in self.ledger.namespaces:
            record = NamespaceRecord(self.namespace, self.namespace_text)
            self.ledger.apply(record)
            self.manifest.append(record)

    def new_object(self, version: Version, mtime_ns: int | None, validated_at_s: float) -> int:
        """A row for a version not met before."""
        self.name_namespace()
        ledger = self.ledger
        record = ObjectRecord(ledger.next_number, self.namespace, version, mtime_ns, validated_at_s)
        ledger.apply(record)
        if version.level.durable:
            self.manifest.append(record)
        return len(ledger.objects) - 1

    def handles(self) -> list[tuple[Version, int]]:
        """Open versions and how often each is open."""
        found = [(self.version_of(number), count) for number, count in self.open_counts.items()]
        return [(version, count) for version, count in found if version is not None]

    def gave_up(self, chunk_id: int) -> None:
        """An id was given out and its chunk will not come."""
        self.writing.discard(chunk_id)
        row = self.ledger.chunks.row_of(chunk_id)
        if row is not None:
            self.ledger.chunks.give_up(row)

    def forget(self, rows: Sequence[ChunkRow], tell: bool = True) -> None:
        """Take live chunks out of the books, queue the records, tell the reader. Their files are still there."""
        by_number: dict[int, list[int]] = {}
        for chunk in rows:
            if self.ledger.drop(chunk.chunk_id) is None:
                continue
            if not chunk.ephemeral:
                self.manifest.append(DropRecord(chunk.chunk_id))
            self.dirty.discard(chunk.chunk_id)
            by_number.setdefault(chunk.number, []).append(chunk.chunk_id)
        for number, chunk_ids in by_number.items():
            version = self.version_of(number)
            if tell and version is not None:
                self.on_drop(version, chunk_ids)

    def folder_is_empty(self, ephemeral: bool, number: int) -> bool:
        """Has a fan-out folder lost its last chunk, and will no new one come to it?"""
        ids = self.ledger.chunks.ids
        if self.ledger.next_id >> FAN_OUT_BITS <= number:
            return False
        first = number << FAN_OUT_BITS
        rows = range(self.ledger.chunks.row_at_or_after(first), self.ledger.chunks.row_at_or_after(first + 128))
        if any(ids[row] in self.writing for row in rows):
            return False
        return not any(
            chunk is not None and chunk.ephemeral == ephemeral
            for chunk in (self.ledger.chunk(ids[row]) for row in rows)
        )

    def show(self) -> None:
        """Bring the figures up to date."""
        figures, ledger = self.figures, self.ledger
        self.space.folders = len(self.folders)
        self.space.other_pages = self.manifest.pages + self.aside_pages + self.listing_pages
        figures.bytes = self.space.used_pages * PAGE
        figures.written_bytes = self.written_bytes + self.manifest.written_bytes
        figures.chunks = ledger.chunks.live
        figures.objects = ledger.objects.live
        figures.pinned_bytes = ledger.pinned_pages * PAGE
