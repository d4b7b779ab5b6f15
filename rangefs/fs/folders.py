"""Folders over time: when they are listed, and what a newer listing changes.

A folder is asked for once for all who wait, in a task of its own. One listing
feeds everything: look-ups, negatives, attributes, readdir. What the cache kept
of an earlier mount is shown only where upstream fails, or is silent for 2 s
while the question goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import quote

import trio

from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.listing import kept
from rangefs.errors import Broken, InvalidName, IsADirectory, NameTooLong, NotFound, RangefsError
from rangefs.fs.asking import PAUSE_S, Asking
from rangefs.fs.tree import NEVER, File, Folder, Node, Question, Tree
from rangefs.read.reader import Reader
from rangefs.sources.base import Finder, Source
from rangefs.store.store import Store

log = logging.getLogger(__name__)

# A folder of a page or two is listed within this, which answers all that comes after; a huge one is not waited for.
FIND_AFTER_S = 0.5
# An automount begins with an access, which finds the root listed; whoever comes later gets what is there by then.
FIRST_LISTING_S = 2.0
PROBE_NAME = b"-"  # of a file that need not exist
NAME_MAX = 255  # limits.h; FUSE itself would take 1,024


class Folders:
    """Listings and look-ups of one mount.

    invalidate(parent, name)  tells the kernel that a name stands for something else now
    """

    def __init__(
        self,
        tree: Tree,
        source: Source,
        store: Store,
        reader: Reader,
        asking: Asking,
        nursery: trio.Nursery,
        invalidate: Callable[[Folder, bytes], None],
    ) -> None:
        self._tree = tree
        self._source = source
        self._store = store
        self._reader = reader
        self._asking = asking
        self._nursery = nursery
        self._invalidate = invalidate

    def begin(self, listing: Listing, asked_at: float) -> None:
        """The root's listing, as the mount has found it: as good as any, but not for long."""
        self._tree.update(self._tree.root, listing, asked_at)
        self._nursery.start_soon(self._begin, self._tree.root, listing)

    async def _begin(self, root: Folder, listing: Listing) -> None:
        try:
            await self._keep(root, listing)
        except Exception:  # the boundary, as in `_refresh`
            log.exception("a listing could not be kept: a bug in rangefs")
        await trio.sleep(FIRST_LISTING_S)
        if root.listing is listing:
            self.outdated(root)

    async def listing(self, folder: Folder) -> Listing:
        """What is in the folder, at most the TTL old; where upstream fails, or is silent for 2 s, what was known."""
        if folder.listing is None:
            await self._recall(folder)
        if not self._settled(folder):
            await self._answered(folder, self._ask(folder))
        assert folder.listing is not None
        return folder.listing

    def _ask(self, folder: Folder) -> Question:
        """Have one question about the folder under way."""
        if folder.refresh is None:
            folder.refresh = Question()
            self._nursery.start_soon(self._refresh, folder, folder.refresh)
        return folder.refresh

    def _settled(self, folder: Folder) -> bool:
        """Need upstream not be asked now?"""
        now = self._asking.clock()
        fresh = now - folder.listed_at < self._asking.ttl_s and not folder.recalled
        return folder.listing is not None and (fresh or now - folder.asked_at < PAUSE_S)

    async def _answered(self, folder: Folder, question: Question) -> None:
        """Wait for the answer; only briefly where there is something to show instead. Raises the question's error."""
        stale_will_do = folder.listing is not None and self._asking.tolerable(folder.listed_at)
        patience_s = self._asking.patience_s if stale_will_do else float("inf")
        with trio.move_on_after(patience_s) as patience:
            await question.done.wait()
        if question.error is not None:
            raise question.error.again()
        if patience.cancelled_caught and not question.done.is_set():  # it goes on, and its answer will be used
            folder.stale, folder.asked_at = True, self._asking.clock()
            self._asking.was_silent(patience_s)

    async def probe(self) -> None:
        """Ask the one small question that shows whether upstream answers: the root's page, or what is cheaper."""
        root = self._tree.root
        if not isinstance(self._source, Finder):
            await self._ask(root).done.wait()
            return
        try:
            await self._asking.within(self._asking.open_s, self._source.find(root.key, PROBE_NAME))
        except RangefsError as exc:
            self._asking.failed(exc)
        else:
            self._asking.answered()

    async def lookup(self, folder: Folder, name: bytes) -> Node:
        """The node that a name stands for now. Raises `NotFound`, `NameTooLong`."""
        if len(name) > NAME_MAX:
            raise NameTooLong(f"{len(name)} bytes are too many for a name")
        entry = await self._asking.within(self._asking.open_s, self._entry(folder, name))
        if entry is None and folder.listing is not None and not folder.listing.complete:
            return await self._unlisted(folder, name)
        if entry is None:
            raise NotFound(f"no such name: {name!r}")
        return self._tree.child(folder, entry)

    async def _entry(self, folder: Folder, name: bytes) -> Entry | None:
        """From the folder's listing; where that takes long, by a question of its own beside it."""
        if not isinstance(self._source, Finder) or self._settled(folder):
            return (await self.listing(folder)).by_name.get(name)
        with trio.move_on_after(FIND_AFTER_S):
            return (await self.listing(folder)).by_name.get(name)
        try:
            return await self._source.find(folder.key, name)
        except InvalidName:  # a hashed name
            return (await self.listing(folder)).by_name.get(name)

    async def _unlisted(self, folder: Folder, name: bytes) -> Node:
        """A name that a listing known to be cut off does not have: upstream knows. Raises `NotFound`."""
        known = folder.children.get(name)
        if isinstance(known, File) and not known.spent:
            return known
        key = folder.key + quote(name, safe="").encode()
        try:
            stat = await self._asking.within(self._asking.open_s, self._source.stat(key))
        except IsADirectory:
            return self._tree.child(folder, Entry(name, Kind.FOLDER, key + b"/"))
        return self._tree.child(folder, Entry(name, Kind.FILE, key, stat.version.size, stat.mtime_ns))

    async def _refresh(self, folder: Folder, question: Question) -> None:
        try:
            await self._asking.within(self._asking.read_s, self._relist(folder))
        except RangefsError as exc:
            stale = self._asking.failed(exc) and folder.listing is not None and self._asking.tolerable(folder.listed_at)
            folder.stale, folder.asked_at = stale, self._asking.clock()
            if not stale:
                folder.listing = None
                question.error = exc.again()
        except Exception:  # the boundary: in a task of the mount's nursery nothing may escape
            log.exception("a listing failed: a bug in rangefs")
            folder.asked_at = self._asking.clock()
            question.error = Broken("a bug in rangefs, the log has more")
        finally:
            folder.refresh = None
            question.done.set()

    async def _recall(self, folder: Folder) -> None:
        """The listing that the cache has of an earlier mount."""
        found = await self._store.load_listing(folder.key)
        listing = kept.decode(found[0]) if found else None
        if found is not None and listing is not None and folder.listing is None:
            self._tree.update(folder, listing, self._asking.clock() - max(0.0, self._asking.wall() - found[1]))
            folder.recalled = True

    async def _relist(self, folder: Folder) -> None:
        asked_at = self._asking.clock()
        listing = await self._source.list(folder.key)
        self._asking.answered()
        known, now = folder.listing, self._asking.clock()
        if not listing.mirrored:
            self._update(folder, listing, now, asked_at)
            await self._keep(folder, listing)
        elif known is None or known.mirrored or not self._asking.tolerable(folder.listed_at):
            self._update(folder, listing, now, asked_at)
        else:  # what the primary has said holds; a mirror may only add to it
            recalled, listed_at = folder.recalled, folder.listed_at
            self._update(folder, known.with_more(listing), listed_at, listed_at)
            folder.stale, folder.asked_at, folder.recalled = True, now, recalled

    async def _keep(self, folder: Folder, listing: Listing) -> None:
        """For when upstream can't be reached."""
        await self._store.save_listing(folder.key, kept.encode(listing), self._asking.wall())

    def _update(self, folder: Folder, listing: Listing, now: float, asked_at: float) -> None:
        known = dict(folder.children)
        for name in self._tree.update(folder, listing, now, asked_at):
            node = known[name]
            if isinstance(node, File) and node.blob is not None and node.blob.stat is not None:
                self._reader.doubt(node.blob)
            self._invalidate(folder, name)

    def outdated(self, folder: Folder) -> None:
        """An answer has shown that its listing is not the last word any more: the next look-up asks for a new one."""
        folder.listed_at = min(folder.listed_at, self._asking.clock() - self._asking.ttl_s)
        folder.asked_at = NEVER

    def name_lasts_s(self, folder: Folder) -> float:
        """For how long a name of this folder stands for what it does now, as far as its listing goes."""
        left_s = folder.listed_at + self._asking.ttl_s - self._asking.clock()
        return max(left_s, PAUSE_S if folder.stale else 0.0)
