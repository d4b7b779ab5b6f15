"""The manifest's log, format version 1: records, and the frames that carry them.

A log file is a `LogHeader` followed by frames. A frame is written by one append
and counts whole or not at all::

    offset  bytes  field (all little-endian)
    0       4      magic "RFL1"
    4       4      epoch: the generation of the file; makes stale bytes of a reused block harmless
    8       8      sequence: one more than the frame before it, across files
    16      4      length of the payload, bytes, 1 … 16 MiB
    20      4      zeros
    24      8      xxh3_64 of the payload, seeded with the xxh3_64 of bytes 0 … 23
    32             payload: records, one after another

Reading stops at the first frame that is not whole, not of this epoch or out of
sequence; what follows is cut off. A record is one byte of kind and the fields
of its `struct` below; texts follow their lengths.

An object here is one *version* of one key; it has a number. A chunk has an id.
Neither is ever used again, so records of different ages can't be mixed up, and
replaying a log over a newer state than it started from changes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from rangefs.core.chunkfile import Damaged, UnknownFormat
from rangefs.core.versions import Level, Version

FORMAT = 1
LOG_MAGIC = b"rangefsL"
FRAME_MAGIC = b"RFL1"
MAX_PAYLOAD = 16 << 20

_LOG_HEADER = struct.Struct("<8sHxxIQQ")  # magic, format, epoch, first sequence, checksum of what precedes
_FRAME = struct.Struct("<4sIQII")
_SUM = struct.Struct("<Q")
FRAME_BYTES = _FRAME.size + _SUM.size
LOG_HEADER_BYTES = _LOG_HEADER.size

_OBJECT = struct.Struct("<BIBBQqd16sHHH")
_ADD = struct.Struct("<BQIQIH")
_ID = struct.Struct("<BQ")
_NUMBER = struct.Struct("<BI")
_VALIDATED = struct.Struct("<BId")
_IDS = struct.Struct("<BQQ")
_MARK = struct.Struct("<BQQ")
_NAMESPACE = struct.Struct("<B16sH")

OBJECT, ADD, DROP, TOUCH, PIN, UNPIN, VALIDATED, IDS, MARK, NAMESPACE = range(1, 11)


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A version gets its number. `validated_at_s`: epoch seconds. `namespace`: digest of the source's identity."""

    number: int
    namespace: bytes
    version: Version
    mtime_ns: int | None
    validated_at_s: float


@dataclass(frozen=True, slots=True)
class AddRecord:
    """The chunk file `chunk_id` is in its place; `pages`: what it takes on disk, header and all."""

    chunk_id: int
    number: int
    start: int
    length: int
    pages: int


@dataclass(frozen=True, slots=True)
class DropRecord:
    """The chunk is gone; its file goes after this is written."""

    chunk_id: int


@dataclass(frozen=True, slots=True)
class TouchRecord:
    """The chunk was used again."""

    chunk_id: int


@dataclass(frozen=True, slots=True)
class PinRecord:
    """The object's chunks are (or are no longer) exempt from eviction."""

    number: int
    pinned: bool


@dataclass(frozen=True, slots=True)
class ValidatedRecord:
    """Upstream said at this time (epoch seconds) that this is the key's current version."""

    number: int
    validated_at_s: float


@dataclass(frozen=True, slots=True)
class IdsRecord:
    """Chunk ids below `settled` are recorded or will never be; ids from `ahead` on have never been used.

    What a crash left between a rename and its record has an id in between.
    """

    settled: int
    ahead: int


@dataclass(frozen=True, slots=True)
class MarkRecord:
    """All frames up to `synced` are safe from a power loss; files of drops up to `cleared` are gone from disk."""

    synced: int
    cleared: int


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """A source whose objects are in this cache; `digest` is what object records name it by."""

    digest: bytes
    text: str


Record = (
    ObjectRecord
    | AddRecord
    | DropRecord
    | TouchRecord
    | PinRecord
    | ValidatedRecord
    | IdsRecord
    | MarkRecord
    | NamespaceRecord
)


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole, verified frame; `end` is the file offset after it."""

    sequence: int
    payload: bytes
    end: int


def namespace_digest(text: str) -> bytes:
    """16 bytes that stand for a source's identity."""
    return xxhash.xxh3_128_digest(text.encode())


_NONE_MTIME = -(1 << 63)
_NONE_SIZE = (1 << 64) - 1


def encode(record: Record) -> bytes:
    """The bytes of one record."""
    match record:
        case AddRecord(chunk_id, number, start, length, pages):
            return _ADD.pack(ADD, chunk_id, number, start, length, pages)
        case DropRecord(chunk_id):
            return _ID.pack(DROP, chunk_id)
        case TouchRecord(chunk_id):
            return _ID.pack(TOUCH, chunk_id)
        case ObjectRecord():
            return _encode_object(record)
        case ValidatedRecord(number, validated_at_s):
            return _VALIDATED.pack(VALIDATED, number, validated_at_s)
        case PinRecord(number, pinned):
            return _NUMBER.pack(PIN if pinned else UNPIN, number)
        case IdsRecord(settled, ahead):
            return _IDS.pack(IDS, settled, ahead)
        case MarkRecord(synced, cleared):
            return _MARK.pack(MARK, synced, cleared)
        case NamespaceRecord(digest, text):
            raw = text.encode()
            return _NAMESPACE.pack(NAMESPACE, digest, len(raw)) + raw


def _encode_object(record: ObjectRecord) -> bytes:
    version = record.version
    validator = version.validator.encode("utf-8", "surrogateescape")
    encoding = version.encoding.encode()
    return (
        _OBJECT.pack(
            OBJECT,
            record.number,
            version.level,
            0,
            _NONE_SIZE if version.size is None else version.size,
            _NONE_MTIME if record.mtime_ns is None else record.mtime_ns,
            record.validated_at_s,
            record.namespace,
            len(version.key),
            len(validator),
            len(encoding),
        )
        + version.key
        + validator
        + encoding
    )


def decode_all(payload: bytes) -> Iterator[Record]:
    """The records of one frame. Raises `Damaged` for a kind or a length that this format does not have."""
    at = 0
    try:
        while at < len(payload):
            record, at = _decode(payload, at)
            yield record
    except (struct.error, ValueError) as error:
        raise Damaged(f"a record that can't be, at {at} of its frame") from error


def _decode(payload: bytes, at: int) -> tuple[Record, int]:
    match payload[at]:
        case 2:
            return AddRecord(*_ADD.unpack_from(payload, at)[1:]), at + _ADD.size
        case 3:
            return DropRecord(_ID.unpack_from(payload, at)[1]), at + _ID.size
        case 4:
            return TouchRecord(_ID.unpack_from(payload, at)[1]), at + _ID.size
        case 1:
            return _decode_object(payload, at)
        case 7:
            return ValidatedRecord(*_VALIDATED.unpack_from(payload, at)[1:]), at + _VALIDATED.size
        case 5 | 6 as kind:
            return PinRecord(_NUMBER.unpack_from(payload, at)[1], kind == PIN), at + _NUMBER.size
        case 8:
            return IdsRecord(*_IDS.unpack_from(payload, at)[1:]), at + _IDS.size
        case 9:
            return MarkRecord(*_MARK.unpack_from(payload, at)[1:]), at + _MARK.size
        case 10:
            _, digest, length = _NAMESPACE.unpack_from(payload, at)
            end = at + _NAMESPACE.size + length
            return NamespaceRecord(digest, _text(payload, at + _NAMESPACE.size, end).decode()), end
        case kind:
            raise Damaged(f"record kind {kind}")


def _decode_object(payload: bytes, at: int) -> tuple[ObjectRecord, int]:
    _, number, level, _, size, mtime_ns, validated_at_s, namespace, *lengths = _OBJECT.unpack_from(payload, at)
    key_at = at + _OBJECT.size
    validator_at = key_at + lengths[0]
    encoding_at = validator_at + lengths[1]
    end = encoding_at + lengths[2]
    version = Version(
        _text(payload, key_at, validator_at),
        Level(level),
        _text(payload, validator_at, encoding_at).decode("utf-8", "surrogateescape"),
        None if size == _NONE_SIZE else size,
        _text(payload, encoding_at, end).decode(),
    )
    mtime = None if mtime_ns == _NONE_MTIME else mtime_ns
    return ObjectRecord(number, namespace, version, mtime, validated_at_s), end


def _text(payload: bytes, start: int, end: int) -> bytes:
    if end > len(payload):
        raise Damaged("a text longer than its frame")
    return payload[start:end]


def encode_log_header(epoch: int, first_sequence: int) -> bytes:
    """The front of a log file whose first frame will have `first_sequence`."""
    raw = _LOG_HEADER.pack(LOG_MAGIC, FORMAT, epoch, first_sequence, 0)
    return raw[:-8] + _SUM.pack(xxhash.xxh3_64_intdigest(raw[:-8]))


def decode_log_header(raw: bytes) -> tuple[int, int]:
    """Epoch and first sequence of a log file. Raises `UnknownFormat`, `Damaged`."""
    if len(raw) < LOG_HEADER_BYTES:
        raise Damaged("shorter than a log's header")
    magic, version_of_format, epoch, first_sequence, checksum = _LOG_HEADER.unpack_from(raw)
    if magic != LOG_MAGIC:
        raise Damaged("not a log")
    if checksum != xxhash.xxh3_64_intdigest(raw[: LOG_HEADER_BYTES - 8]):
        raise Damaged("the log header's checksum is wrong")
    if version_of_format != FORMAT:
        raise UnknownFormat(f"log format {version_of_format}")
    return epoch, first_sequence


def encode_frame(epoch: int, sequence: int, payload: bytes) -> bytes:
    """One frame. The payload has at least one record."""
    head = _FRAME.pack(FRAME_MAGIC, epoch, sequence, len(payload), 0)
    seed = xxhash.xxh3_64_intdigest(head)
    return head + _SUM.pack(xxhash.xxh3_64_intdigest(payload, seed)) + payload


def frames(raw: bytes, epoch: int, sequence: int, at: int = LOG_HEADER_BYTES) -> Iterator[Frame]:
    """The good frames of a log from offset `at` on, the first of which must have `sequence`."""
    while at + FRAME_BYTES < len(raw):
        magic, frame_epoch, frame_sequence, length, zeros = _FRAME.unpack_from(raw, at)
        if (magic, frame_epoch, frame_sequence, zeros) != (FRAME_MAGIC, epoch, sequence, 0):
            return
        end = at + FRAME_BYTES + length
        if not 0 < length <= MAX_PAYLOAD or end > len(raw):
            return
        payload = raw[at + FRAME_BYTES : end]
        seed = xxhash.xxh3_64_intdigest(raw[at : at + _FRAME.size])
        if _SUM.unpack_from(raw, at + _FRAME.size)[0] != xxhash.xxh3_64_intdigest(payload, seed):
            return
        yield Frame(sequence, payload, end)
        sequence += 1
        at = end
