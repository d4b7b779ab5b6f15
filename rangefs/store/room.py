"""Making room: dropping chunks and their files, so that what comes next fits under the cap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import trio

from rangefs.core.eviction import Choice, choose
from rangefs.core.ledger import ChunkRow
from rangefs.store import aside
from rangefs.store.disk import Disk
from rangefs.store.layout import FAN_OUT_BITS
from rangefs.store.parts import Parts

AT_ONCE_PAGES = 4096
"""Evict in steps of 16 MiB at most: a step is one log frame and one trip to a thread."""

ROUND = 64  #: how often the cache's size is evicted before the hand begins anew at the latest


class Room:
    """Reserves space, evicting where needed. One task evicts at a time; the others wait and look again."""

    def __init__(self, parts: Parts, set_aside: list[aside.AsideEntry]) -> None:
        self._parts = parts
        self._making = trio.Lock()
        self._since_round = 0  # pages evicted since the hand last began at the oldest
        self.replace_aside(set_aside)

    def replace_aside(self, set_aside: list[aside.AsideEntry]) -> None:
        """Another folder, or the first: this is what lies in its aside/."""
        self._aside = set_aside
        self._parts.aside_pages = sum(entry.pages for entry in set_aside)

    async def reserve(self, pages: int) -> bool:
        """Promise `pages` to a write; False where even eviction can't find them. Cancellation reserves nothing."""
        self._parts.show()
        if self._parts.space.reserve(pages):
            return True
        if pages > self._parts.space.limit_pages:
            return False
        async with self._making:
            while not self._parts.space.reserve(pages):
                if not await self._evict(self._parts.space.shortfall(pages)):
                    return False
        return True

    async def shrink(self) -> bool:
        """Bring the cache below its limits again, if others took the disk's space. False where nothing more can go."""
        async with self._making:
            self._parts.show()
            while (over := self._parts.space.shortfall(0)) > 0:
                if not await self._evict(over):
                    return False
        return True

    async def make(self, pages: int) -> bool:
        """Drop about so much, whatever the limits say: the disk was full before they were reached."""
        async with self._making:
            return await self._evict(pages)

    async def _evict(self, pages: int) -> bool:
        """Drop about `pages` worth of chunks, and their files. False if nothing can go."""
        if self._aside:
            await self._drop_aside(self._aside.pop(0))
            return True
        parts = self._parts
        ledger = parts.ledger
        choice = choose(
            ledger.chunks,
            ledger.hand,
            min(pages, AT_ONCE_PAGES),
            ledger.is_pinned,
            parts.open_counts.__contains__,
        )
        self._age(choice)
        chunks = [chunk for row in choice.rows if (chunk := ledger.chunk(ledger.chunks.ids[row])) is not None]
        parts.figures.evicted_bytes += sum(chunk.length for chunk in chunks)
        await self.drop(chunks)
        return bool(chunks)

    def _age(self, choice: Choice) -> None:
        """Move the hand. A scan that goes on and on keeps it from coming round, and what was once hot would stay for
        ever: after 64 times the cache it begins at the oldest again."""
        ledger = self._parts.ledger
        self._since_round = 0 if choice.hand < ledger.hand else self._since_round + choice.pages
        ledger.hand = choice.hand
        if self._since_round > ROUND * self._parts.space.limit_pages:
            ledger.hand = self._since_round = 0

    async def drop(self, chunks: Sequence[ChunkRow], tell: bool = True) -> None:
        """Forget chunks, write that down, unlink their files. Not to be cancelled: it ends by itself.

        tell  the reader, by `on_drop`
        """
        if not chunks:
            return
        parts = self._parts
        before = parts.manifest.sequence
        parts.clearing.append(before)
        parts.forget(chunks, tell)
        with trio.CancelScope(shield=True):
            # If the log can't be written the files go all the same: an absent file is a miss, and a full disk
            # that needs a record before it may be emptied stays full.
            await parts.manifest.flush()
            await self.unlink(chunks)
        parts.clearing.remove(before)
        parts.show()

    async def unlink(self, chunks: Sequence[ChunkRow]) -> None:
        """Remove the files of chunks that are in the books no more. Shield it."""
        parts = self._parts
        for chunk in chunks:
            parts.shelf.forget(chunk.chunk_id)
        paths = [parts.layout.chunk(chunk.chunk_id, chunk.ephemeral) for chunk in chunks]
        await parts.threads.run(lambda: unlink_all(parts.disk, paths))
        parts.space.freed(sum(chunk.pages for chunk in chunks))
        await self._drop_folders({(chunk.ephemeral, chunk.chunk_id >> FAN_OUT_BITS) for chunk in chunks})

    async def _drop_folders(self, touched: Iterable[tuple[bool, int]]) -> None:
        parts = self._parts
        for ephemeral, number in touched:
            if (ephemeral, number) not in parts.folders:
                continue
            if parts.folder_is_empty(ephemeral, number):
                path = parts.layout.chunk_folder(number << FAN_OUT_BITS, ephemeral)
                parts.folders.discard((ephemeral, number))
                if not await parts.threads.run(lambda path=path: remove_folder(parts.disk, path)):  # type: ignore[misc]
                    parts.folders.add((ephemeral, number))
                parts.dirty_parent = True
            elif not ephemeral:
                parts.dirty_folders.add(number)

    async def _drop_aside(self, entry: aside.AsideEntry) -> None:
        parts = self._parts

        def remove() -> None:
            try:
                aside.remove_tree(parts.disk, entry.path)
            except OSError:
                return

        await parts.threads.run(remove)
        parts.aside_pages -= entry.pages
        parts.show()

    def keep_aside(self, entry: aside.AsideEntry) -> None:
        """A bad chunk was moved to aside/."""
        self._aside.append(entry)
        self._parts.aside_pages += entry.pages

    async def look_at_disk(self) -> None:
        """Ask the file system how much is free."""
        parts = self._parts
        try:
            found = await parts.threads.run(lambda: parts.disk.space(parts.layout.root))
        except OSError:
            return
        parts.space.look(found, parts.settings.min_free.of(found.total_bytes))

    @property
    def aside_count(self) -> int:
        return len(self._aside)


def unlink_all(disk: Disk, paths: Iterable[Path]) -> None:
    """As many as the disk lets us; what stays is found by ``cache gc``."""
    for path in paths:
        try:
            disk.unlink(path)
        except OSError:
            continue


def remove_folder(disk: Disk, path: Path) -> bool:
    try:
        disk.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
