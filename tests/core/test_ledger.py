"""The books against a naive model, and through their own log and snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.ledger import Ledger
from rangefs.core.records import (
    AddRecord,
    DropRecord,
    IdsRecord,
    NamespaceRecord,
    ObjectRecord,
    PinRecord,
    Record,
    TouchRecord,
    ValidatedRecord,
    decode_all,
    encode,
    namespace_digest,
)
from rangefs.core.snapshot import decode_snapshot, encode_snapshot, squeeze
from rangefs.core.versions import Level, Version

DIGEST = namespace_digest("http://x/")


@dataclass
class Model:
    """The same books, the slow way."""

    objects: dict[int, Version] = field(default_factory=dict)
    validated: dict[int, float] = field(default_factory=dict)
    chunks: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    pinned: set[int] = field(default_factory=set)

    def apply(self, record: Record) -> None:
        match record:
            case ObjectRecord() if record.number not in self.objects:
                self.objects[record.number] = record.version
                self.validated[record.number] = record.validated_at_s
            case AddRecord(chunk_id, number, start, length, pages):
                if number in self.objects and chunk_id not in self.chunks and chunk_id not in self.dropped:
                    self.chunks[chunk_id] = (number, start, length, pages)
            case DropRecord(chunk_id) if chunk_id in self.chunks:
                del self.chunks[chunk_id]
                self.dropped.add(chunk_id)
            case ValidatedRecord(number, at) if number in self.objects:
                self.validated[number] = at
            case PinRecord(number, pinned) if number in self.objects:
                (self.pinned.add if pinned else self.pinned.discard)(number)


def compare(ledger: Ledger, model: Model) -> None:
    ledger.check()
    objects = ledger.objects
    found: dict[int, tuple[int, int, int, int]] = {}
    for row in range(len(objects)):
        number = objects.numbers[row]
        assert objects.version(row) == model.objects[number]
        assert objects.validated[row] == model.validated[number]
        assert ledger.is_pinned(number) == (number in model.pinned)
        assert ledger.row_of_version(DIGEST, model.objects[number]) == row
        for chunk in ledger.chunks_of(row):
            found[chunk.chunk_id] = (chunk.number, chunk.start, chunk.length, chunk.pages)
    assert found == model.chunks
    assert ledger.chunks.live_pages == sum(chunk[3] for chunk in model.chunks.values())


numbers = st.integers(1, 5)
ids = st.integers(1, 40)
RECORDS = st.lists(
    st.one_of(
        st.builds(AddRecord, ids, numbers, st.integers(0, 100), st.integers(1, 1000), st.integers(1, 9)),
        st.builds(DropRecord, ids),
        st.builds(TouchRecord, ids),
        st.builds(PinRecord, numbers, st.booleans()),
        st.builds(ValidatedRecord, numbers, st.floats(0, 1e9)),
    ),
    max_size=60,
)
OBJECTS: list[Record] = [
    NamespaceRecord(DIGEST, "http://x/"),
    *(
        ObjectRecord(number, DIGEST, Version(b"key %d" % (number % 3), Level.STRONG, f'"{number}"', None), 7, 1.0)
        for number in range(1, 6)
    ),
]


@given(RECORDS)
def test_the_books_agree_with_a_naive_model(records: list[Record]) -> None:
    ledger, model = Ledger(), Model()
    for record in OBJECTS + records:
        ledger.apply(record)
        model.apply(record)
    compare(ledger, model)


@given(RECORDS, st.integers(0, 60))
def test_the_books_survive_their_log_and_their_snapshot(records: list[Record], cut: int) -> None:
    ledger, model = Ledger(), Model()
    for record in OBJECTS + records[:cut]:
        ledger.apply(record)
        model.apply(record)
    squeeze(ledger)
    compare(ledger, model)
    again = decode_snapshot(b"".join(encode_snapshot(ledger, 3, 17)))
    assert (again.generation, again.first_sequence) == (3, 17)
    compare(again.ledger, model)
    for record in decode_all(b"".join(map(encode, records[cut:]))):
        again.ledger.apply(record)
        model.apply(record)
    compare(again.ledger, model)


@given(RECORDS)
def test_replaying_over_a_newer_state_changes_nothing(records: list[Record]) -> None:
    ledger, model = Ledger(), Model()
    for record in OBJECTS + records:
        ledger.apply(record)
        model.apply(record)
    for record in [*OBJECTS, *(record for record in records if isinstance(record, AddRecord))]:
        if not isinstance(record, AddRecord) or record.chunk_id in model.dropped | set(model.chunks):
            ledger.apply(record)
    compare(ledger, model)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12, unique=True))
def test_chunks_that_come_out_of_order_keep_their_rows_in_order(order: list[int]) -> None:
    ledger, model = Ledger(), Model()
    for record in [*OBJECTS, *(AddRecord(chunk_id, 1, chunk_id, 1, 1) for chunk_id in order)]:
        ledger.apply(record)
        model.apply(record)
    compare(ledger, model)
    ledger.apply(IdsRecord(5, 9))
    assert (ledger.settled, ledger.ahead) == (5, 9)
