"""Format version 1, byte for byte: a cache written today must be read by every later version, or be set aside."""

from __future__ import annotations

import dataclasses
import itertools
from array import array

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core import records, snapshot
from rangefs.core.chunkfile import (
    BLOCK,
    ChunkName,
    Damaged,
    UnknownFormat,
    block_sums,
    data_offset_of,
    decode_header,
    encode_header,
)
from rangefs.core.ledger import Ledger
from rangefs.core.listingfile import KeptListing, decode_listing, encode_listing
from rangefs.core.versions import Level, Version

VERSION = Version(b"dir/k\xff", Level.STRONG, '"e"', 1000, "gzip")
NAME = ChunkName(0x1234, "http://x/", VERSION, 5, 100, 20)
RECORDS: list[records.Record] = [
    records.NamespaceRecord(bytes(range(16)), "http://x/"),
    records.ObjectRecord(1, bytes(range(16)), VERSION, -5, 2.5),
    records.ObjectRecord(2, bytes(range(16)), Version(b"", Level.NONE, "", None), None, 0.0),
    records.AddRecord(0x1234, 1, 100, 20, 2),
    records.DropRecord(7),
    records.TouchRecord(0x1234),
    records.PinRecord(1, True),
    records.PinRecord(2, False),
    records.ValidatedRecord(1, 3.5),
    records.IdsRecord(9, 1033),
    records.MarkRecord(41, 40),
]


def small_snapshot() -> bytes:
    ledger = Ledger()
    for record in RECORDS:
        ledger.apply(record)
    snapshot.squeeze(ledger)
    return b"".join(snapshot.encode_snapshot(ledger, 7, 43))


def test_golden_bytes_of_format_1() -> None:
    frame = records.encode_frame(7, 42, b"".join(map(records.encode, RECORDS)))
    found = {
        "chunk header": encode_header(NAME, block_sums([memoryview(b"x" * 20)])).hex(),
        "log header": records.encode_log_header(7, 42).hex(),
        "frame": xxhash.xxh3_64_hexdigest(frame),
        "small frame": records.encode_frame(7, 42, records.encode(records.DropRecord(7))).hex(),
        "snapshot": xxhash.xxh3_64_hexdigest(small_snapshot()),
        "current": snapshot.encode_current(17).decode(),
        "listing": b"".join(encode_listing(KeptListing("http://x/", b"dir/", b"payload", 1.5))).hex(),
    }
    assert found == GOLDEN


GOLDEN: dict[str, str] = {
    "chunk header": (
        "72616e67656673430100030300100000341200000000000064000000000000001400000000400000e803000000000000"
        "050000000000000009000600030004006a393d78e1e8ce53687474703a2f2f782f6469722f6bff226522677a6970bf72"
        "9687093206b5"
    ),
    "log header": "72616e676566734c01000000070000002a000000000000007877c283047fc1ce",
    "frame": "675db69493977d6f",
    "small frame": "52464c31070000002a00000000000000090000000000000010df6273926488bf030700000000000000",
    "snapshot": "b63e948853961242",
    "current": "rangefs-cache 1 generation 17 xxh3 15d245aae4533efc\n",
    "listing": (
        "72616e6765667344010009000400000007000000000000000000f83f00a8278988aaee50687474703a2f2f782f646972"
        "2f7061796c6f6164"
    ),
}


@given(
    st.builds(
        Version,
        st.binary(max_size=300),
        st.sampled_from(Level),
        st.text(st.characters(codec="latin-1"), max_size=50),
        st.none() | st.integers(0, 1 << 62),
        st.sampled_from(["", "gzip", "br"]),
    ),
    st.none() | st.integers(-(1 << 62), 1 << 62),
    st.integers(0, 1 << 62),
    st.binary(min_size=1, max_size=3 * BLOCK),
)
def test_a_header_says_what_was_put_in(version: Version, mtime_ns: int | None, start: int, data: bytes) -> None:
    name = ChunkName(77, "https://example.org/", version, mtime_ns, start, len(data))
    found = decode_header(encode_header(name, block_sums([memoryview(data)])))
    assert found.name == name
    assert found.data_offset == data_offset_of(name.namespace, version, len(data))
    assert found.block_sums == array(
        "Q", [xxhash.xxh3_64_intdigest(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    )


@given(st.binary(min_size=1, max_size=3 * BLOCK), st.lists(st.integers(0, 3 * BLOCK), max_size=6))
def test_block_sums_do_not_depend_on_where_pieces_end(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [memoryview(data)[start:end] for start, end in itertools.pairwise(edges)]
    assert block_sums(pieces) == block_sums([memoryview(data)])


def test_every_changed_byte_of_a_header_is_noticed() -> None:
    good = encode_header(NAME, block_sums([memoryview(b"x" * 20)]))
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x41
        with pytest.raises((Damaged, UnknownFormat)):
            decode_header(bytes(bad) + bytes(4096))


def test_every_changed_byte_of_a_frame_ends_the_log() -> None:
    head = records.encode_log_header(7, 42)
    good = head + b"".join(records.encode_frame(7, 42 + i, records.encode(RECORDS[3 + i])) for i in range(3))
    assert [frame.sequence for frame in records.frames(good, 7, 42)] == [42, 43, 44]
    second = len(head) + records.FRAME_BYTES + len(records.encode(RECORDS[3]))
    for at in range(second, len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x41
        found = list(records.frames(bytes(bad), 7, 42))
        assert 1 <= len(found) < 3
        assert all(good[frame.end - len(frame.payload) : frame.end] == frame.payload for frame in found)


def test_a_truncated_last_frame_is_ignored() -> None:
    head = records.encode_log_header(7, 42)
    good = head + b"".join(records.encode_frame(7, 42 + i, records.encode(RECORDS[3])) for i in range(3))
    for end in range(len(head), len(good)):
        assert len(list(records.frames(good[:end], 7, 42))) < 3


def test_frames_of_another_epoch_or_out_of_sequence_are_ignored() -> None:
    head = records.encode_log_header(7, 42)
    payload = records.encode(RECORDS[3])
    first = records.encode_frame(7, 42, payload)
    assert len(list(records.frames(head + first + records.encode_frame(6, 43, payload), 7, 42))) == 1
    assert len(list(records.frames(head + first + records.encode_frame(7, 44, payload), 7, 42))) == 1
    assert len(list(records.frames(head + first + bytes(100), 7, 42))) == 1
    assert not list(records.frames(head + first, 7, 41))


def test_every_changed_byte_of_a_snapshot_is_noticed_or_padding() -> None:
    good = small_snapshot()
    assert snapshot.decode_snapshot(good).ledger.chunks.live == 1
    unnoticed = 0
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x41
        try:
            snapshot.decode_snapshot(bytes(bad))
        except (Damaged, UnknownFormat):
            continue
        assert good[at] == 0
        unnoticed += 1
    assert unnoticed <= 7 * 20  # padding between sections


def test_another_format_is_told_from_damage() -> None:
    text = b"rangefs-cache 2 generation 5"
    with pytest.raises(UnknownFormat):
        snapshot.decode_current(text + b" xxh3 %016x\n" % xxhash.xxh3_64_intdigest(text))
    for bad in (b"", b"rangefs-cache 1 generation 5 xxh3 0000000000000000\n", snapshot.encode_current(5)[:-1]):
        with pytest.raises(Damaged):
            snapshot.decode_current(bad)


def test_every_changed_byte_of_current_and_a_listing_is_noticed() -> None:
    for raw, decode in (
        (snapshot.encode_current(5), snapshot.decode_current),
        (b"".join(encode_listing(KeptListing("http://x/", b"d", b"p", 1.0))), decode_listing),
    ):
        for at in range(len(raw)):
            bad = bytearray(raw)
            bad[at] ^= 0x11
            with pytest.raises((Damaged, UnknownFormat)):
                decode(bytes(bad))  # type: ignore[operator]


@given(st.lists(st.sampled_from(RECORDS)))
def test_records_are_read_back(some: list[records.Record]) -> None:
    assert list(records.decode_all(b"".join(map(records.encode, some)))) == some


@given(st.binary(min_size=1, max_size=60))
def test_records_that_are_none_are_damage(raw: bytes) -> None:
    try:
        found = list(records.decode_all(raw))
    except Damaged:
        return
    assert all(dataclasses.is_dataclass(record) for record in found)
