"""The manifest's snapshot and CURRENT, format version 1.

A snapshot is the ledger's columns, as they are in memory, little-endian::

    magic "rangefsS", format u16, 2 zeros, generation u32
    first sequence of the log that goes with it, next id, settled, ahead, id at the hand: u64 each
    live chunks, their pages, pinned pages: u64 each
    next object number, objects with chunks, number of sections: u32 each, 4 zeros
    a section's length u64 and xxh3_64 u64, for each section
    xxh3_64 of all that precedes
    the sections, each padded to 8 bytes

Sections, in this order: chunk ids u64, object numbers u32, starts u64, lengths u32, pages u16, nexts u32, flags u8;
object numbers u32, hashes u64, sizes u64, mtimes i64, validated f64, heads u32, counts u32, where names begin u64,
levels u8, flags u8, names; sorted hashes u64 and their rows u32; namespaces (as log records).

Loading is a few copies of memory whatever the number of chunks: 1,000,000 take about 30 ms.

CURRENT is one line of text that names the generation, for people too::

    rangefs-cache 1 generation 17 xxh3 0123456789abcdef
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from rangefs.core.chunkfile import Damaged, UnknownFormat, little_endian
from rangefs.core.columns import CHUNK_COLUMNS, EPHEMERAL, OBJECT_COLUMNS, PASSING, compact
from rangefs.core.ledger import Ledger
from rangefs.core.records import NamespaceRecord, decode_all, encode

MAGIC = b"rangefsS"
FORMAT = 1

_HEAD = struct.Struct("<8sHHIQQQQQQQQIIII")
_SECTION = struct.Struct("<QQ")
_SUM = struct.Struct("<Q")

_SECTIONS = len(CHUNK_COLUMNS) + 1 + len(OBJECT_COLUMNS) + 3 + 2 + 1

_WITHOUT_EPHEMERAL = bytes(0 if flags & EPHEMERAL else flags for flags in range(256))
_CURRENT = re.compile(rb"(rangefs-cache (\d{1,9}) generation (\d{1,9})) xxh3 ([0-9a-f]{16})\n")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A ledger as it was when the log `generation` began with `first_sequence`."""

    ledger: Ledger
    generation: int
    first_sequence: int


def encode_current(generation: int) -> bytes:
    text = f"rangefs-cache {FORMAT} generation {generation}".encode()
    return text + b" xxh3 %016x\n" % xxhash.xxh3_64_intdigest(text)


def decode_current(raw: bytes) -> int:
    """The generation in use. Raises `UnknownFormat`, `Damaged`."""
    found = _CURRENT.fullmatch(raw)
    if found is None or int(found[4], 16) != xxhash.xxh3_64_intdigest(found[1]):
        raise Damaged("CURRENT is not as it was written")
    if int(found[2]) != FORMAT:
        raise UnknownFormat(f"cache format {int(found[2])}")
    return int(found[3])


def squeeze(ledger: Ledger, keep_object: bytearray | None = None) -> None:
    """Make the columns dense: what a snapshot needs, and what gives dead rows' memory back.

    keep_object  a byte a row, 0 for objects without chunks that may be forgotten; None forgets none
    """
    keep = keep_object if keep_object is not None else bytearray([1]) * len(ledger.objects)
    ledger.hand = compact(ledger.chunks, ledger.objects, keep, ledger.hand)


def encode_snapshot(ledger: Ledger, generation: int, first_sequence: int) -> list[bytes]:
    """The file's bytes, in pieces. `squeeze` first, in the same breath.

    Ephemeral chunks are written as dead rows, and their objects as having none.
    """
    chunks, objects = ledger.chunks, ledger.objects
    passing = [row for row, flags in enumerate(objects.flags) if flags & PASSING and objects.counts[row]]
    counts = objects.counts[:]
    for row in passing:
        counts[row] = 0
    flags = chunks.flags.translate(_WITHOUT_EPHEMERAL)
    hashes, rows = objects.sorted_index
    sections = [little_endian(getattr(chunks, name)).tobytes() for name, _ in CHUNK_COLUMNS]
    sections.append(bytes(flags))
    sections += [
        little_endian(counts if name == "counts" else getattr(objects, name)).tobytes() for name, _ in OBJECT_COLUMNS
    ]
    sections += [bytes(objects.levels), bytes(objects.flags), bytes(objects.names)]
    sections += [little_endian(hashes).tobytes(), little_endian(rows).tobytes()]
    sections.append(b"".join(encode(NamespaceRecord(digest, text)) for digest, text in ledger.namespaces.items()))
    left_out = [row for row, flag in enumerate(chunks.flags) if flag & EPHEMERAL] if passing else []
    head = _HEAD.pack(
        MAGIC,
        FORMAT,
        0,
        generation,
        first_sequence,
        ledger.next_id,
        ledger.settled,
        ledger.ahead,
        chunks.ids[ledger.hand] if ledger.hand < len(chunks) else ledger.next_id,
        chunks.live - len(left_out),
        chunks.live_pages - sum(chunks.pages[row] for row in left_out),
        ledger.pinned_pages,
        ledger.next_number,
        objects.live - len(passing),
        len(sections),
        0,
    )
    head += b"".join(_SECTION.pack(len(section), xxhash.xxh3_64_intdigest(section)) for section in sections)
    pieces = [head + _SUM.pack(xxhash.xxh3_64_intdigest(head))]
    for section in sections:
        pieces += [section, bytes(-len(section) % 8)]
    return pieces


def decode_snapshot(raw: bytes) -> Snapshot:
    """Raises `UnknownFormat`, `Damaged`."""
    table_end = _HEAD.size + _SECTIONS * _SECTION.size
    if len(raw) < _HEAD.size or raw[:8] != MAGIC:
        raise Damaged("not a snapshot")
    fields = _HEAD.unpack_from(raw)
    if fields[1] != FORMAT:
        raise UnknownFormat(f"snapshot format {fields[1]}")
    if len(raw) < table_end + 8 or _SUM.unpack_from(raw, table_end)[0] != xxhash.xxh3_64_intdigest(raw[:table_end]):
        raise Damaged("the snapshot's header is not as it was written")
    generation, first_sequence, next_id, settled, ahead, hand_id = fields[3:9]
    ledger = Ledger()
    chunks, objects = ledger.chunks, ledger.objects
    sections = iter(_sections(memoryview(raw), table_end))
    for name, code in CHUNK_COLUMNS:
        setattr(chunks, name, _column(code, next(sections)))
    chunks.flags = bytearray(next(sections))
    for name, code in OBJECT_COLUMNS:
        setattr(objects, name, _column(code, next(sections)))
    objects.levels, objects.flags, objects.names = (bytearray(next(sections)) for _ in range(3))
    objects.use_index(_column("Q", next(sections)), _column("I", next(sections)))
    for record in decode_all(bytes(next(sections))):
        ledger.apply(record)
    chunks.live, chunks.live_pages, ledger.pinned_pages, ledger.next_number, objects.live = fields[9:14]
    ledger.next_id, ledger.settled, ledger.ahead = next_id, settled, ahead
    ledger.hand = chunks.row_at_or_after(hand_id)
    return Snapshot(ledger, generation, first_sequence)


def _sections(raw: memoryview, table_end: int) -> Iterator[memoryview]:
    """The sections, each checked. Raises `Damaged`."""
    at = table_end + _SUM.size
    for length, checksum in _SECTION.iter_unpack(raw[_HEAD.size : table_end]):
        section = raw[at : at + length]
        if section.nbytes != length or xxhash.xxh3_64_intdigest(section) != checksum:
            raise Damaged("a section of the snapshot is not as it was written")
        at += length + -length % 8
        yield section


def _column(code: str, raw: memoryview) -> array[int]:
    column = array(code)
    column.frombytes(raw)
    return little_endian(column)
