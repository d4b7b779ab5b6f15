"""A kept folder listing, format version 1: one file that names and checks itself.

::

    magic "rangefsD", format u16, namespace length u16, key length u32, payload length u32 (little-endian)
    time of the fetch, epoch seconds, f64
    xxh3_64 of all else
    namespace, key, payload

The payload is the reader's; here it is bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import xxhash

from rangefs.core.chunkfile import Damaged

MAGIC = b"rangefsD"
FORMAT = 1

_HEAD = struct.Struct("<8sHHIId")
_SUM = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class KeptListing:
    """What the file says. `fetched_at_s`: epoch seconds."""

    namespace: str
    key: bytes
    payload: bytes
    fetched_at_s: float


def encode_listing(listing: KeptListing) -> list[bytes]:
    """The file's bytes, in pieces. Raises `struct.error` for names that no header can hold."""
    namespace = listing.namespace.encode()
    head = _HEAD.pack(MAGIC, FORMAT, len(namespace), len(listing.key), len(listing.payload), listing.fetched_at_s)
    return [
        head,
        _SUM.pack(_checksum(head, namespace + listing.key, listing.payload)),
        namespace + listing.key,
        listing.payload,
    ]


def decode_listing(raw: bytes) -> KeptListing:
    """Raises `Damaged`, also for a format that is not ours: a listing can always be fetched again."""
    if len(raw) < _HEAD.size + _SUM.size:
        raise Damaged("shorter than a listing's header")
    magic, version_of_format, namespace_length, key_length, payload_length, fetched_at_s = _HEAD.unpack_from(raw)
    names_at = _HEAD.size + _SUM.size
    payload_at = names_at + namespace_length + key_length
    names, payload = raw[names_at:payload_at], raw[payload_at:]
    if (magic, version_of_format, len(payload)) != (MAGIC, FORMAT, payload_length):
        raise Damaged("not a listing of ours")
    if _SUM.unpack_from(raw, _HEAD.size)[0] != _checksum(raw[: _HEAD.size], names, payload):
        raise Damaged("the listing's checksum is wrong")
    return KeptListing(names[:namespace_length].decode(), names[namespace_length:], payload, fetched_at_s)


def _checksum(head: bytes, names: bytes, payload: bytes) -> int:
    return xxhash.xxh3_64_intdigest(payload, xxhash.xxh3_64_intdigest(head + names))
