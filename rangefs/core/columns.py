"""What the cache holds, as columns: a million chunks are a few arrays, not a million Python objects.

Rows are appended, killed in place, and squeezed out at a checkpoint (`compact`).
Chunk rows are in order of chunk id, so the row of an id is found by bisection
and row order is the order of arrival, which is all that eviction needs. The
chunks of one object are a chain through `nexts`, newest first, so an object's
rows are read when it is first asked for, and nothing per object at a mount.

Costs: `append`, `fill`, `kill` O(1), `row_of` O(log n), `compact` O(n).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate, compress

from rangefs.core.versions import Level, Version

NO_ROW = 0xFFFF_FFFF

# Flags of a chunk.
LIVE = 1  #: the chunk file is there, as far as we know
VISITED = 2  #: used again since the eviction's hand last came by
CONSUMED = 4  #: read to its end once; reading on is use
AWAITED = 8  #: the id is given out, the file is being written
EPHEMERAL = 16  #: of a version that must not outlive its handles: never in the manifest

# Flags of an object.
PINNED = 1
PASSING = 2  #: an ephemeral version: never in the manifest

CHUNK_COLUMNS = (("ids", "Q"), ("numbers", "I"), ("starts", "Q"), ("lengths", "I"), ("pages", "H"), ("nexts", "I"))
OBJECT_COLUMNS = (
    ("numbers", "I"),
    ("hashes", "Q"),
    ("sizes", "Q"),
    ("mtimes", "q"),
    ("validated", "d"),
    ("heads", "I"),
    ("counts", "I"),
    ("names_at", "Q"),
)


class ChunkColumns:
    """One row a chunk.

    ids, numbers (of the object), starts and lengths (bytes, within the object), pages (on disk, header included),
    nexts (row of the next older chunk of the object, or `NO_ROW`), flags.
    """

    __slots__ = ("flags", "ids", "lengths", "live", "live_pages", "nexts", "numbers", "pages", "starts")

    def __init__(self) -> None:
        self.ids = array("Q")
        self.numbers = array("I")
        self.starts = array("Q")
        self.lengths = array("I")
        self.pages = array("H")
        self.nexts = array("I")
        self.flags = bytearray()
        self.live = 0
        self.live_pages = 0

    def __len__(self) -> int:
        return len(self.ids)

    def row_of(self, chunk_id: int) -> int | None:
        """The row of an id, whatever its state."""
        row = bisect_left(self.ids, chunk_id)
        return row if row < len(self.ids) and self.ids[row] == chunk_id else None

    def row_at_or_after(self, chunk_id: int) -> int:
        """The first row whose id is not below `chunk_id`; the number of rows where there is none."""
        return bisect_left(self.ids, chunk_id)

    def live_row_of(self, chunk_id: int) -> int | None:
        row = self.row_of(chunk_id)
        return row if row is not None and self.flags[row] & LIVE else None

    def append(self, chunk_id: int) -> int:
        """A row for an id above all others, awaiting its chunk. Ids finish out of order; rows must not."""
        assert not self.ids or chunk_id > self.ids[-1]
        self.ids.append(chunk_id)
        self.numbers.append(0)
        self.starts.append(0)
        self.lengths.append(0)
        self.pages.append(0)
        self.nexts.append(NO_ROW)
        self.flags.append(AWAITED)
        return len(self.ids) - 1

    def fill(self, row: int, number: int, start: int, length: int, pages: int, flags: int = 0) -> None:
        """The chunk of an awaited row is there."""
        assert not self.flags[row] & LIVE
        self.numbers[row] = number
        self.starts[row] = start
        self.lengths[row] = length
        self.pages[row] = pages
        self.flags[row] = LIVE | flags
        self.live += 1
        self.live_pages += pages

    def kill(self, row: int) -> None:
        """The chunk is gone. Its row stays in its object's chain until someone walks it."""
        assert self.flags[row] & LIVE
        self.flags[row] = 0
        self.live -= 1
        self.live_pages -= self.pages[row]

    def give_up(self, row: int) -> None:
        """The awaited chunk will not come."""
        self.flags[row] &= ~AWAITED


class ObjectColumns:
    """One row an object, that is, a version of a key.

    numbers, hashes (of namespace and key), sizes, mtimes, validated (epoch seconds), levels, heads (row of the newest
    chunk), counts (of live chunks), flags, and where the texts lie in `names`.
    """

    __slots__ = (
        "_base_hashes",
        "_base_rows",
        "_fresh",
        "counts",
        "flags",
        "hashes",
        "heads",
        "levels",
        "live",
        "mtimes",
        "names",
        "names_at",
        "numbers",
        "sizes",
        "validated",
    )

    def __init__(self) -> None:
        self.numbers = array("I")
        self.hashes = array("Q")
        self.sizes = array("Q")
        self.mtimes = array("q")
        self.validated = array("d")
        self.heads = array("I")
        self.counts = array("I")
        self.names_at = array("Q")
        self.levels = bytearray()
        self.flags = bytearray()
        self.names = bytearray()
        self.live = 0  #: objects that have a chunk
        self._base_hashes = array("Q")  # sorted; what was there at the last (re)build
        self._base_rows = array("I")
        self._fresh: dict[int, list[int]] = {}  # hash -> rows that came since

    def __len__(self) -> int:
        return len(self.numbers)

    def row_of(self, number: int) -> int | None:
        row = bisect_left(self.numbers, number)
        return row if row < len(self.numbers) and self.numbers[row] == number else None

    def rows_of_hash(self, key_hash: int) -> Iterator[int]:
        """All rows whose key hashes so, older first."""
        at = bisect_left(self._base_hashes, key_hash)
        while at < len(self._base_hashes) and self._base_hashes[at] == key_hash:
            yield self._base_rows[at]
            at += 1
        yield from self._fresh.get(key_hash, ())

    def append(
        self,
        number: int,
        key_hash: int,
        namespace: bytes,
        version: Version,
        mtime_ns: int | None,
        validated_at_s: float,
        flags: int = 0,
    ) -> int:
        assert not self.numbers or number > self.numbers[-1]
        self.numbers.append(number)
        self.hashes.append(key_hash)
        self.sizes.append(_NONE_SIZE if version.size is None else version.size)
        self.mtimes.append(_NONE_MTIME if mtime_ns is None else mtime_ns)
        self.validated.append(validated_at_s)
        self.heads.append(NO_ROW)
        self.counts.append(0)
        self.names_at.append(len(self.names))
        self.levels.append(version.level)
        self.flags.append(flags)
        self.names += _pack_names(namespace, version)
        row = len(self.numbers) - 1
        self._fresh.setdefault(key_hash, []).append(row)
        return row

    def namespace(self, row: int) -> bytes:
        at = self.names_at[row]
        return bytes(self.names[at : at + 16])

    def version(self, row: int) -> Version:
        """The row as a value (about 2 µs)."""
        key, validator, encoding = _unpack_names(self.names, self.names_at[row])
        size = self.sizes[row]
        return Version(
            key,
            Level(self.levels[row]),
            validator.decode("utf-8", "surrogateescape"),
            None if size == _NONE_SIZE else size,
            encoding.decode(),
        )

    def has_key(self, row: int, namespace: bytes, key: bytes) -> bool:
        """Is the row a version of this key? Without making a value of the row."""
        at = self.names_at[row]
        start = namespace + len(key).to_bytes(2, "little")
        key_at = at + len(start) + 4  # behind two more lengths
        return self.names[at : at + len(start)] == start and self.names[key_at : key_at + len(key)] == key

    def has(self, row: int, namespace: bytes, version: Version) -> bool:
        """Is the row this version? Without making a value of the row."""
        at = self.names_at[row]
        names = _pack_names(namespace, version)
        return (
            self.names[at : at + len(names)] == names
            and self.sizes[row] == (_NONE_SIZE if version.size is None else version.size)
            and self.levels[row] == version.level
        )

    def mtime_ns(self, row: int) -> int | None:
        mtime = self.mtimes[row]
        return None if mtime == _NONE_MTIME else mtime

    def index_all(self) -> None:
        """Sort the hashes; a snapshot keeps them so, which is why a mount need not sort."""
        rows = sorted(range(len(self)), key=self.hashes.__getitem__)
        self.use_index(array("Q", map(self.hashes.__getitem__, rows)), array("I", rows))

    @property
    def sorted_index(self) -> tuple[array[int], array[int]]:
        """Hashes in order and their rows, as of the last `index_all`."""
        return self._base_hashes, self._base_rows

    def use_index(self, hashes: array[int], rows: array[int]) -> None:
        self._base_hashes, self._base_rows, self._fresh = hashes, rows, {}


_NONE_SIZE = (1 << 64) - 1
_NONE_MTIME = -(1 << 63)


def _pack_names(namespace: bytes, version: Version) -> bytes:
    validator = version.validator.encode("utf-8", "surrogateescape")
    encoding = version.encoding.encode()
    lengths = (len(version.key), len(validator), len(encoding))
    return b"".join(
        (namespace, *(length.to_bytes(2, "little") for length in lengths), version.key, validator, encoding)
    )


def _unpack_names(names: bytearray, at: int) -> tuple[bytes, bytes, bytes]:
    at += 16
    first, second, third = (int.from_bytes(names[at + 2 * i : at + 2 * i + 2], "little") for i in range(3))
    at += 6
    return (
        bytes(names[at : at + first]),
        bytes(names[at + first : at + first + second]),
        bytes(names[at + first + second : at + first + second + third]),
    )


def names_length(names: bytearray, at: int) -> int:
    """Bytes that one object's texts take in `names`."""
    return 22 + sum(int.from_bytes(names[at + 16 + 2 * i : at + 18 + 2 * i], "little") for i in range(3))


def compact(chunks: ChunkColumns, objects: ObjectColumns, keep_object: bytearray, hand: int) -> int:
    """Squeeze out dead chunk rows and the objects whose byte in `keep_object` is 0; both columns change in place.

    An object with a live or awaited chunk must be kept. Returns the new row for the eviction's hand.
    About 0.25 µs a row: 1,000,000 chunks take a quarter of a second, once a checkpoint.
    """
    wanted = bytes(1 if flags & (LIVE | AWAITED) else 0 for flags in range(256))
    alive = chunks.flags.translate(wanted)
    hand = sum(alive[:hand])
    for name, code in CHUNK_COLUMNS:
        setattr(chunks, name, array(code, compress(getattr(chunks, name), alive)))
    chunks.flags = bytearray(compress(chunks.flags, alive))
    if not all(keep_object):
        _compact_objects(objects, keep_object)
    _chain(chunks, objects)
    objects.index_all()
    return hand


def _compact_objects(objects: ObjectColumns, keep: bytearray) -> None:
    kept_names = [objects.names[at : at + names_length(objects.names, at)] for at in compress(objects.names_at, keep)]
    for name, code in OBJECT_COLUMNS:
        setattr(objects, name, array(code, compress(getattr(objects, name), keep)))
    objects.levels = bytearray(compress(objects.levels, keep))
    objects.flags = bytearray(compress(objects.flags, keep))
    ends = list(accumulate(map(len, kept_names), initial=0))
    objects.names_at = array("Q", ends[:-1])
    objects.names = bytearray().join(kept_names)


def _chain(chunks: ChunkColumns, objects: ObjectColumns) -> None:
    """Link each object's live chunks anew, newest first."""
    row_of = dict(zip(objects.numbers, range(len(objects)), strict=True))
    heads = array("I", [NO_ROW]) * len(objects)
    nexts = array("I", [NO_ROW]) * len(chunks)
    for row, (number, flags) in enumerate(zip(chunks.numbers, chunks.flags, strict=True)):
        if flags & LIVE:
            object_row = row_of[number]
            nexts[row] = heads[object_row]
            heads[object_row] = row
    chunks.nexts, objects.heads = nexts, heads
