"""The chunk file, format version 1: how one run of bytes of one version lies on disk and names itself.

::

    offset  bytes  field (all little-endian)
    0       8      magic "rangefsC"
    8       2      format version, 1
    10      1      level of the version (`Level`)
    11      1      flags: 1 = the size is known, 2 = the mtime is known
    12      4      data offset: where the bytes begin, a multiple of 4096
    16      8      chunk id, also the file's name
    24      8      start: offset of the first byte within the object
    32      4      length, bytes, 1 … 16 MiB
    36      4      block size, bytes
    40      8      size of the object, bytes (0 where unknown)
    48      8      mtime of the object, ns since the epoch, signed (0 where unknown)
    56      2+2+2+2  lengths of namespace, key, validator, encoding, bytes
    64      8      xxh3_64 of the header: of all that precedes the data's page but padding, this field as zeros
    72             namespace, key, validator, encoding
    …       8 each xxh3_64 of each block, in order; the last block may be short
    …              zeros up to the data offset, then the data, then the end of the file

A file that was swapped with another, cut, zeroed or moved can't pass: the id is
in its name, the header's checksum covers the identity and all block checksums,
and the data starts at a page boundary so that reads stay aligned.

Blocks are 16 KiB: each read is verified each time, and a random 4 KiB read then
costs 1 µs of hashing (64 KiB: 4 µs) while 1 MiB costs 80 µs (4 KiB blocks: 190 µs, the
calls dominate). Measured on the project's 2-core machine, xxhash 4.1, see ``tests/bench``.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import xxhash

from rangefs.core.versions import Level, Version

MAGIC = b"rangefsC"
FORMAT = 1
BLOCK = 16 << 10
PAGE = 4096
MAX_LENGTH = 16 << 20  #: bytes; larger runs are several chunks
MAX_HEADER = 64 << 10  #: bytes; what a reader takes in at most before it knows the data offset

# Hashing what another processor has just written is mostly getting it, and xxhash lets go of the interpreter only for
# inputs larger than a block (than 64 KiB). So bytes are looked at once before, as many as a second-level cache holds
# with ease. (A first read of 1 GiB, hashed beside the event loop: 0.949 +- 0.014 of the time, 20 pairs, 2026-11.)
_NEAR = 256 << 10

_FIXED = struct.Struct("<8sHBBIQQIIQqHHHH")
_CHECKSUM = struct.Struct("<Q")
_NAMES_AT = _FIXED.size + _CHECKSUM.size
_HAS_SIZE = 1
_HAS_MTIME = 2


class Damaged(ValueError):
    """These bytes are not what they should be. The text says what is wrong with them."""


class UnknownFormat(ValueError):
    """Written by a version of rangefs that knows another format: not to be read, not to be thrown away."""


@dataclass(frozen=True, slots=True)
class ChunkName:
    """What a chunk file says of itself: whose bytes ``[start, start + length)`` it holds."""

    chunk_id: int
    namespace: str
    version: Version
    mtime_ns: int | None
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """A verified header: the name, where the data begins, and what each block must hash to."""

    name: ChunkName
    data_offset: int
    block_sums: array[int]


def little_endian(column: array[int]) -> array[int]:
    """`column` as it lies on disk, or back again: the same array on little-endian machines."""
    if sys.byteorder == "big":  # pragma: no cover
        column = column[:]
        column.byteswap()
    return column


def data_offset_of(namespace: str, version: Version, length: int) -> int:
    """Where the data of such a chunk begins: all pages that the header needs."""
    names = len(namespace.encode()) + len(version.key) + len(version.validator.encode("utf-8", "surrogateescape"))
    header = _NAMES_AT + names + len(version.encoding.encode()) + 8 * -(-length // BLOCK)
    return -(-header // PAGE) * PAGE


def block_sums(pieces: Iterable[memoryview]) -> array[int]:
    """The checksum of each block of the data that `pieces` are in a row, wherever the pieces' borders lie."""
    sums = array("Q")
    digest = xxhash.xxh3_64_intdigest
    running = xxhash.xxh3_64()
    filled = 0
    for piece in pieces:
        view = piece.cast("B")
        at = 0
        while at < view.nbytes:
            if at % _NEAR == 0 and view.nbytes - at >= _NEAR:
                digest(view[at : at + _NEAR])
            taken = view[at : at + BLOCK - filled]
            at += taken.nbytes
            if filled == 0 and taken.nbytes == BLOCK:
                sums.append(digest(taken))
                continue
            running.update(taken)
            filled += taken.nbytes
            if filled == BLOCK:
                sums.append(running.intdigest())
                running.reset()
                filled = 0
    if filled:
        sums.append(running.intdigest())
    return sums


def encode_header(name: ChunkName, sums: array[int]) -> bytes:
    """The header, without the padding up to the data. Raises `ValueError` for names that no header can hold."""
    version = name.version
    texts = (
        name.namespace.encode(),
        version.key,
        version.validator.encode("utf-8", "surrogateescape"),
        version.encoding.encode(),
    )
    flags = (_HAS_SIZE if version.size is not None else 0) | (_HAS_MTIME if name.mtime_ns is not None else 0)
    if sum(map(len, texts)) > MAX_HEADER // 2 or not 0 < name.length <= MAX_LENGTH:
        raise ValueError("such a chunk has no header")
    fixed = _FIXED.pack(
        MAGIC,
        FORMAT,
        version.level,
        flags,
        data_offset_of(name.namespace, version, name.length),
        name.chunk_id,
        name.start,
        name.length,
        BLOCK,
        version.size or 0,
        name.mtime_ns or 0,
        *map(len, texts),
    )
    rest = b"".join(texts) + little_endian(sums).tobytes()
    return fixed + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(fixed + bytes(8) + rest)) + rest


def decode_header(raw: bytes | memoryview) -> ChunkHeader:
    """The header at the front of `raw`, checked. `MAX_HEADER` bytes always suffice.

    Raises `UnknownFormat` for another format's chunk, `Damaged` for everything else that is not right.
    """
    raw = bytes(raw)
    if len(raw) < _NAMES_AT:
        raise Damaged("shorter than a chunk's header")
    fields = _FIXED.unpack_from(raw)
    magic, version_of_format, level, flags, data_offset, chunk_id, start, length, block, size, mtime_ns = fields[:11]
    if magic != MAGIC:
        raise Damaged("not a chunk file")
    if version_of_format != FORMAT:
        raise UnknownFormat(f"chunk format {version_of_format}")
    lengths: tuple[int, ...] = fields[11:]
    names_end = _NAMES_AT + sum(lengths)
    header_end = names_end + 8 * -(-length // BLOCK)
    if block != BLOCK or not 0 < length <= MAX_LENGTH or len(raw) < header_end:
        raise Damaged("a header that can't be")
    (checksum,) = _CHECKSUM.unpack_from(raw, _FIXED.size)
    if checksum != xxhash.xxh3_64_intdigest(raw[: _FIXED.size] + bytes(8) + raw[_NAMES_AT:header_end]):
        raise Damaged("the header's checksum is wrong")
    namespace, key, validator, encoding = _split(raw, _NAMES_AT, lengths)
    version = Version(
        key,
        Level(level),
        validator.decode("utf-8", "surrogateescape"),
        size if flags & _HAS_SIZE else None,
        encoding.decode(),
    )
    sums = array("Q")
    sums.frombytes(raw[names_end:header_end])
    mtime = mtime_ns if flags & _HAS_MTIME else None
    name = ChunkName(chunk_id, namespace.decode(), version, mtime, start, length)
    return ChunkHeader(name, data_offset, little_endian(sums))


def verified(header: ChunkHeader, first_block: int, data: memoryview) -> bool:
    """Does `data`, whole blocks from `first_block` on, hash to what the header says?"""
    sums = header.block_sums
    digest = xxhash.xxh3_64_intdigest
    if data.nbytes <= BLOCK:
        return digest(data) == sums[first_block]
    return all(
        digest(data[at : at + BLOCK]) == sums[number]
        for number, at in enumerate(range(0, data.nbytes, BLOCK), first_block)
    )


def _split(raw: bytes, at: int, lengths: Sequence[int]) -> list[bytes]:
    parts = []
    for length in lengths:
        parts.append(raw[at : at + length])
        at += length
    return parts
