"""Which chunks go when room is needed: SIEVE, made aware of pins and of open files.

Chunks stand in order of arrival. A hand walks from the oldest to the newest and
then begins again; where it stands, a chunk that was used again since the hand
last came by is spared once, any other goes (Zhang et al., "SIEVE is Simpler
than LRU", NSDI 2024). New chunks arrive behind the hand's way, ahead of it in
order, so during one long sequential read the hand walks through the hot set
once and then eats the scan's own chunks as fast as they come: a scan of any
length costs the hot set nothing. LRU would lose all of it. S3-FIFO does as well on published
traces but needs a ghost list that survives a remount.

What counts as use is the caller's to say (`columns.VISITED`); reading a chunk
for the first time does not, else each byte of a scan would count.

Of an open file, chunks that came last and were not read to their end (fetched
ahead, or half-way through) are spared as long as there is something else, and no
longer: a file larger than the cache must still be readable. Only what came last, a
sixteenth of the cache at most: a reader is served from memory as the bytes arrive, so most
chunks of a scan are never seen to be read, and sparing them all would cost the hot set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rangefs.core.columns import CONSUMED, LIVE, VISITED, ChunkColumns

PATIENCE = 4096
"""Rows that one choice may spare before it takes what comes (about 1 ms): the loop that answers readers waits for it.
A hot set of n chunks loses n/4096 of itself to this, once."""

RECENT_ROWS = 64
RECENT_SHARE = 16
"""A sixteenth of what is stored. Not more: a hand that finds nothing but spared chunks comes round to the hot set."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Rows to drop, the pages they free, and the row at which the hand now stands."""

    rows: tuple[int, ...]
    pages: int
    hand: int


def choose(
    chunks: ChunkColumns,
    hand: int,
    need_pages: int,
    pinned: Callable[[int], bool],
    held: Callable[[int], bool],
    spared: Callable[[int], None] = lambda row: None,
) -> Choice:
    """Rows whose files take `need_pages` at least, or all that may go if that is less.

    pinned, held  of an object's number: never to go; open, so to go last
    spared        told of each row that lost its `VISITED` here: the only change made. Dropping is the caller's.
    """
    taken: list[int] = []
    seen: set[int] = set()
    freed = 0
    patience = PATIENCE
    flags, numbers = chunks.flags, chunks.numbers
    count = len(chunks)
    recent = _first_recent_row(chunks)
    for step in range(3 * count):
        if freed >= need_pages:
            break
        if hand >= count:
            hand = 0
        row, hand = hand, hand + 1
        flag = flags[row]
        if not flag & LIVE or row in seen or pinned(numbers[row]):
            continue
        if patience > 0:
            if flag & VISITED:
                flags[row] = flag & ~VISITED
                spared(row)
                patience -= 1
                continue
            if row >= recent and step < 2 * count and not flag & CONSUMED and held(numbers[row]):
                patience -= 1
                continue
        taken.append(row)
        seen.add(row)
        freed += chunks.pages[row]
    return Choice(tuple(taken), freed, hand)


def _first_recent_row(chunks: ChunkColumns) -> int:
    """Where the chunks begin that came last."""
    row = len(chunks)
    left = chunks.live_pages // RECENT_SHARE
    for row in range(len(chunks) - 1, max(-1, len(chunks) - 1 - RECENT_ROWS), -1):
        if chunks.flags[row] & LIVE:
            left -= chunks.pages[row]
            if left < 0:
                return row + 1
    return row
