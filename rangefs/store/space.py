"""How much of the disk the cache takes, and may take. Pages of 4 KiB; everything in the folder counts.

Space is reserved before a byte is written, so the cap holds at every instant.
A little of it stays unused: ext4 takes a block more for a file in over four
pieces, and someone who sums up a folder while files move and go sees some of them twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from rangefs.core.settings import KiB, MiB
from rangefs.store.disk import PAGE, DiskSpace

FIXED_PAGES = 9  #: the folder and its five, lock, CURRENT, CURRENT.next
LAST_BYTES = 256 * KiB  #: left free on any disk, for the manifest: a full one can't even say what it drops
NAMES_A_PAGE = 64  #: folders that one page of their parent certainly holds


@dataclass(slots=True)
class Space:
    """The books of pages.

    limit_pages    the cap, less the slack
    chunk_pages    files in their places
    reserved_pages promised to writes under way
    folders        fan-out folders that exist
    other_pages    manifest, listings, what is set aside
    """

    limit_pages: int
    chunk_pages: int = 0
    reserved_pages: int = 0
    folders: int = 0
    other_pages: int = 0
    free_bytes: int = 1 << 62  #: of the disk, as last seen
    keep_free_bytes: int = 0

    @classmethod
    def of(cls, cap_bytes: int) -> Space:
        return cls(limit_pages=(cap_bytes - min(cap_bytes // 32, 16 * MiB)) // PAGE)

    @property
    def used_pages(self) -> int:
        """What the folder takes now, reservations left out."""
        parents = 2 * (self.folders // NAMES_A_PAGE)
        return FIXED_PAGES + self.chunk_pages + self.folders + parents + self.other_pages

    def shortfall(self, pages: int) -> int:
        """Pages that must go before `pages` more may be written; 0 or less where there is room."""
        over_cap = self.used_pages + self.reserved_pages + pages - self.limit_pages
        over_free = -(-(self.keep_free_bytes - self.free_bytes) // PAGE) + self.reserved_pages + pages
        return max(over_cap, over_free)

    def reserve(self, pages: int) -> bool:
        """Take room for a write, if there is."""
        if self.shortfall(pages) > 0:
            return False
        self.reserved_pages += pages
        return True

    def settle(self, pages: int) -> None:
        """The write that `reserve` was for has happened."""
        self.reserved_pages -= pages
        self.chunk_pages += pages
        self.free_bytes -= pages * PAGE

    def release(self, pages: int) -> None:
        """The write that `reserve` was for will not happen."""
        self.reserved_pages -= pages

    def freed(self, pages: int) -> None:
        """Chunk files of so many pages are gone."""
        self.chunk_pages -= pages
        self.free_bytes += pages * PAGE

    def look(self, found: DiskSpace, keep_free_bytes: int) -> None:
        """Take in what statvfs said."""
        self.free_bytes = found.free_bytes
        self.keep_free_bytes = max(keep_free_bytes, LAST_BYTES)
