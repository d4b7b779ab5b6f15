"""Coming back when the cache folder is gone, was replaced, or could not be had at the start.

Everything that the books say is forgotten (the reader is told), and the folder
is opened anew: made if it is not there, recovered if it holds something. Open
handles stay open; their chunks are fetched again as they are read.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from rangefs import errors
from rangefs.core.columns import LIVE
from rangefs.core.versions import Version
from rangefs.store import starting
from rangefs.store.health import in_words
from rangefs.store.listings import Listings
from rangefs.store.parts import NO_LOCK, Parts
from rangefs.store.room import Room


async def is_ours(parts: Parts) -> bool:
    """Is the folder still the one whose lock we hold?"""
    if parts.lock_fd == NO_LOCK:
        return False
    try:
        return await parts.threads.run(lambda: parts.disk.same_file(parts.lock_fd, parts.layout.lock))
    except OSError:
        return True  # the disk can't say; other calls will tell


async def come_back(parts: Parts, room: Room, listings: Listings) -> bool:
    """Give up the old folder, open the new. False: not yet. Shielded: half of it would be no cache at all."""
    done = False
    with trio.CancelScope(shield=True):
        await _give_up(parts)
        found = await _find(parts)
        if found is not None:
            handles = parts.handles()
            await starting.adopt(parts, found)
            room.replace_aside(found.aside)
            listings.replace_known(found.listings)
            _take_over(parts, handles)
            parts.health.clear("folder")
            done = True
    return done


async def _find(parts: Parts) -> starting.Found | None:
    try:
        return await parts.threads.run(lambda: starting.find(parts.disk, parts.layout))
    except OSError as error:
        parts.health.fail("folder", in_words(error), parts.now())
    except errors.CacheLocked as error:
        parts.health.fail("folder", str(error), parts.now())
    return None


def _take_over(parts: Parts, handles: Sequence[tuple[Version, int]]) -> None:
    """Handles that were open before are open in the new books."""
    parts.open_counts.clear()
    for version, count in handles:
        row = parts.ledger.row_of_version(parts.namespace, version)
        if row is None:
            row = parts.new_object(version, None, 0.0)
        parts.open_counts[parts.ledger.objects.numbers[row]] = count


async def _give_up(parts: Parts) -> None:
    if parts.lock_fd != NO_LOCK:
        # No new write begins without the lock; those under way end in the old folder.
        fd, parts.lock_fd = parts.lock_fd, NO_LOCK
        await parts.threads.run(lambda: parts.disk.close(fd))
    while parts.writing or parts.clearing or parts.space.reserved_pages:
        await trio.sleep(0.01)
    chunks = parts.ledger.chunks
    gone = [chunks.ids[row] for row in range(len(chunks)) if chunks.flags[row] & LIVE]
    parts.figures.dropped_chunks += len(gone)
    parts.forget([chunk for chunk_id in gone if (chunk := parts.ledger.chunk(chunk_id)) is not None])
    parts.shelf.clear()
    parts.dirty.clear()
    parts.dirty_folders.clear()
    parts.show()
