"""Folder listings kept for offline use and quick remounts: files found by the hash of their key.

They have no record in the manifest. At most a tenth of the cache is theirs, and
`MAX_FILES` of them, oldest out first; a start looks at each file's size (15 ms for all).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress

from rangefs.core.chunkfile import Damaged
from rangefs.core.ledger import key_hash
from rangefs.core.listingfile import KeptListing, decode_listing, encode_listing
from rangefs.store.disk import PAGE, Disk, pages, read_all, write_all
from rangefs.store.health import in_words
from rangefs.store.layout import Layout, hex_name
from rangefs.store.parts import NO_LOCK, Parts
from rangefs.store.room import Room

SHARE = 10  #: a tenth of the cache at most
MAX_FILES = 16384
NAMES_A_PAGE = 64


class Listings:
    """Belongs to the event loop's thread. `known`: pages by hash, oldest first."""

    def __init__(self, parts: Parts, room: Room, known: OrderedDict[int, int]) -> None:
        self._parts = parts
        self._room = room
        self.replace_known(known)

    def replace_known(self, known: OrderedDict[int, int]) -> None:
        """Another folder, or the first: these are its files."""
        self._known = known
        self._pages = sum(known.values())
        self._parts.listing_pages = self._pages + len(known) // NAMES_A_PAGE

    async def save(self, key: bytes, payload: bytes, fetched_at_s: float) -> None:
        """Keep it, if there is room. Never raises for the disk."""
        parts = self._parts
        pieces = encode_listing(KeptListing(parts.namespace_text, key, payload, fetched_at_s))
        needed = pages(sum(map(len, pieces)))
        share = parts.settings.size_bytes // SHARE // PAGE
        if parts.lock_fd == NO_LOCK or needed > share // 2 or not parts.health.may_try("write", parts.now()):
            return
        name = key_hash(parts.namespace, key)
        while self._known and (self._pages + needed > share or len(self._known) >= MAX_FILES):
            await self._drop(next(iter(self._known)))
        if not await self._room.reserve(needed):
            return
        try:
            await parts.threads.run(lambda: _write(parts.disk, parts.layout, name, pieces))
        except OSError as error:
            parts.health.fail("write", in_words(error), parts.now())
        else:
            parts.health.clear("write")
            self._count(name, needed)
            parts.written_bytes += sum(map(len, pieces))
        finally:
            parts.space.release(needed)
            parts.show()

    async def load(self, key: bytes) -> KeptListing | None:
        """The listing last kept of `key`; None where there is none, or it is damaged."""
        parts = self._parts
        name = key_hash(parts.namespace, key)
        if name not in self._known:
            return None
        limit = parts.settings.size_bytes
        try:
            raw = await parts.threads.run(lambda: read_all(parts.disk, parts.layout.listings / f"{name:x}", limit))
            found = decode_listing(raw)
        except (OSError, Damaged, ValueError):
            await self._drop(name)
            return None
        return found if (found.namespace, found.key) == (parts.namespace_text, key) else None

    def _count(self, name: int, size_pages: int) -> None:
        self._pages += size_pages - self._known.pop(name, 0)
        self._known[name] = size_pages
        self._parts.listing_pages = self._pages + len(self._known) // NAMES_A_PAGE

    async def _drop(self, name: int) -> None:
        parts = self._parts

        def remove() -> None:
            with suppress(OSError):
                parts.disk.unlink(parts.layout.listings / f"{name:x}")

        await parts.threads.run(remove)
        self._pages -= self._known.pop(name, 0)
        parts.listing_pages = self._pages + len(self._known) // NAMES_A_PAGE
        parts.show()


def look(disk: Disk, layout: Layout) -> OrderedDict[int, int]:
    """The listings there are: pages by hash, oldest first. Blocking. Raises `OSError`."""
    found = []
    for name in disk.listdir(layout.listings):
        number = hex_name(name)
        if number is not None:
            info = disk.info(layout.listings / name)
            found.append((info.mtime_ns, number, pages(info.size_bytes)))
    return OrderedDict((number, size_pages) for _, number, size_pages in sorted(found))


def _write(disk: Disk, layout: Layout, name: int, pieces: list[bytes]) -> None:
    """Whole or not at all; not synced, for a lost listing is a request, and a torn one is known by its checksum."""
    staged = layout.staging / f"listing-{name:x}"
    fd = disk.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(disk, fd, pieces, 0)
        disk.rename(staged, layout.listings / f"{name:x}")
    except BaseException:
        with suppress(OSError):
            disk.unlink(staged)
        raise
    finally:
        disk.close(fd)
