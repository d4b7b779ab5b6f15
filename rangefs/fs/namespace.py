"""Files and their versions over time: when upstream is asked about one, and what its answers change.

`Tree` knows what is; this module and `folders` ask. Each question is a task of
its own, is asked once for all who wait for it, and has a deadline; `asking`
has the rules.

What an ``await`` may break: while a question is under way the node may be
superseded or forgotten. After each one `spent` is looked at again, and changes
go through `Tree`, which ignores nodes that are not current.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from rangefs.core.entries import Entry, Kind
from rangefs.core.figures import Figures
from rangefs.core.intervals import covered_bytes
from rangefs.core.joining import joinable
from rangefs.core.settings import MountSettings
from rangefs.core.validators import compatible
from rangefs.core.versions import Stat
from rangefs.core.walk import Walk
from rangefs.core.window import WHOLE
from rangefs.errors import (
    Broken,
    DeadlineExceeded,
    IsADirectory,
    NotFound,
    RangefsError,
    RangesIgnored,
    Stale,
    Unreachable,
)
from rangefs.fs.asking import PAUSE_S, Asking
from rangefs.fs.folders import Folders
from rangefs.fs.tree import File, Folder, Node, Question, Tree
from rangefs.read.blob import Blob, agrees, names_the_tag
from rangefs.read.flight import Abandoned
from rangefs.read.reader import Reader
from rangefs.sources.base import Source
from rangefs.sources.clock import since_boot
from rangefs.store.store import Store, StoredObject

log = logging.getLogger(__name__)

# `ls -l` where sizes are not listed: the attributes of this many following names are asked for at once.
SIBLINGS = 64


class Namespace:
    """Attributes and opens of one mount; `folders` has its listings and look-ups.

    invalidate(parent, name)  tells the kernel that a name stands for something else now
    folders                   the listings, and the look-ups in them
    asking                    the rules, and how upstream is doing
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        reader: Reader,
        settings: MountSettings,
        figures: Figures,
        nursery: trio.Nursery,
        invalidate: Callable[[Folder, bytes], None],
        clock: Callable[[], float] = since_boot,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.tree = Tree()
        self._source = source
        self._store = store
        self._reader = reader
        self._figures = figures
        self._nursery = nursery
        self._invalidate = invalidate
        self.asking = Asking(settings, clock, wall)
        self.folders = Folders(self.tree, source, store, reader, self.asking, nursery, invalidate)

    # -- attributes ----------------------------------------------------------------

    async def resolve(self, file: File) -> None:
        """Find out what the listing did not say: size and time, by one HEAD for all who ask."""
        if file.size is not None or file.unsized:
            return
        file.parent.asked += 1
        if file.parent.asked > 1:  # someone walks through the folder: ask for those that follow
            self._resolve_siblings(file)
        await self.asking.within(self.asking.open_s, self._ask(file, self._learn))

    def _resolve_siblings(self, file: File) -> None:
        listing = file.parent.listing
        if listing is None or file.parent.children.get(file.name) is not file:
            return
        for entry in listing.after(file.name, SIBLINGS):
            node = self.tree.child(file.parent, entry) if entry.kind is Kind.FILE else None
            if isinstance(node, File) and node.size is None and not node.unsized and node.question is None:
                node.question = Question()
                self._nursery.start_soon(self._answer, node, node.question, self._learn)

    async def _learn(self, file: File) -> None:
        cached = await self.known(file)
        patience_s = self.asking.open_s if cached is None else self.asking.patience_s
        try:
            seen = await self.asking.within(patience_s, self._source.stat(file.key))
            if seen.mirrored and cached is not None:
                await self._check_stand_in(file, cached, seen)
            self.asking.answered()
            self._pinned(file, seen)
        except (Unreachable, DeadlineExceeded) as exc:
            known = await self._store.find(file.key)
            if known is None or not agrees(file.entry, Stat(known.version, known.mtime_ns)):
                raise
            self._show_stale(file, known, exc)

    # -- opening -------------------------------------------------------------------

    async def open(self, file: File) -> Blob:
        """The blob of a file that is being opened, pinned, and validated within the TTL.

        Raises `Stale` where the inode's version is not current any more: the kernel looks the name up again by itself.
        """
        now = self.asking.clock()
        if file.spent:
            raise Stale("the file has changed")
        if file.blob is None:
            file.blob = Blob(file.entry, None)
        if file.blob.superseded:  # found out by a fetch ahead, which had nobody to tell
            change = Stale("the file has changed", file.blob.successor)
            self.supersede(file, change)
            raise change
        if file.size == 0 and file.stat is None:
            return file.blob
        if now - self._vouched_at(file) >= self.asking.ttl_s and now - file.asked_at >= PAUSE_S:
            for flight in file.blob.flights:  # perhaps fetched ahead: someone waits for it now
                flight.ticket.urgent = True
            await self.asking.within(self.asking.open_s, self._ask(file, self._validate))
            if file.spent:
                raise Stale("the file has changed")
        elif not file.opens and file.stat is not None and not file.stale and not file.stat.mirrored:
            # It was asked for by a HEAD, for its size: that alone is not worth a row in the cache, an open file is.
            await self._store.note(file.stat, self.asking.wall() - (now - file.validated_at))
        return file.blob

    def _vouched_at(self, file: File) -> float:
        """When upstream last said that the pinned version is current: asked for it, or by listing its very tag."""
        folder = file.parent
        entry = folder.listing.by_name.get(file.name) if folder.listing is not None and not folder.recalled else None
        if file.stat is not None and entry is not None and entry.key == file.key and names_the_tag(entry, file.stat):
            return max(file.validated_at, folder.listed_at)
        return file.validated_at

    def opened(self, file: File) -> None:
        """There is one more handle."""
        file.opens += 1
        if file.blob is not None:
            file.blob.closed = False
        if file.opens == 1 and file.stat is not None:
            self._store.opened(file.stat.version)

    def closed(self, file: File) -> None:
        """A handle is gone. The last one ends the epoch of a version whose pages can't be trusted beyond it."""
        file.opens -= 1
        if file.opens or file.blob is None:
            return
        blob, stat = file.blob, file.blob.stat
        self._reader.close(blob)
        if stat is not None:
            self._store.closed(stat.version)
        if stat is None or not stat.version.level.durable:
            file.spent = file.size != 0
        if not blob.quiet:
            blob.on_quiet = lambda: self._slim(file, blob)
        else:
            self._slim(file, blob)
        self.tree.forget(file.ino, 0)

    @staticmethod
    def _slim(file: File, blob: Blob) -> None:
        """A closed file needs no index: what there is, the store knows. Its version is kept."""
        if not file.opens and file.blob is blob:
            file.blob = Blob(file.entry, blob.stat) if blob.stat else None

    def visited(self, file: File) -> None:
        """A file is being read from its start: fetch the small files that a walk through its folder comes to next."""
        folder = file.parent
        place = folder.place(file.name)
        if place is None or folder.listing is None:
            return
        if folder.walk is None:
            folder.walk = Walk()
        for at in folder.walk.visit(place):
            if at < len(folder.listing.entries):
                self._fetch_ahead(folder, folder.listing.entries[at])

    def _fetch_ahead(self, folder: Folder, entry: Entry) -> None:
        if entry.kind is not Kind.FILE or entry.size is None or not 0 < entry.size <= WHOLE:
            return
        file = self.tree.child(folder, entry)
        if isinstance(file, File) and file.blob is None and file.question is None:
            file.blob = Blob(entry, None)
            file.question = Question()
            self._nursery.start_soon(self._walked_to, file, file.blob, file.question)

    async def _walked_to(self, file: File, blob: Blob, question: Question) -> None:
        await self._answer(file, question, self._peek)
        blob.on_quiet = lambda: self._unvisited(file, blob)
        if blob.quiet:
            self._unvisited(file, blob)

    async def _peek(self, file: File) -> None:
        await self._pin(file, urgent=False)

    def _unvisited(self, file: File, blob: Blob) -> None:
        """What was fetched ahead is stored. A weak version that nobody has opened meanwhile has come for nothing."""
        if file.opens or file.blob is not blob:
            return
        if blob.stat is not None and not blob.stat.version.level.durable:
            self.opened(file)
            self.closed(file)
            return
        self._reader.close(blob)
        self._slim(file, blob)
        self.tree.forget(file.ino, 0)

    async def _validate(self, file: File) -> None:
        """Pin a provisional file, or ask whether the pinned version is still current."""
        if file.stat is None:
            await self._pin(file, urgent=True)
            return
        try:
            await self._compare(file, file.stat)
        except (Unreachable, DeadlineExceeded) as exc:
            if not self.asking.tolerable(file.validated_at):
                raise
            self.asking.failed(exc)
            file.stale, file.asked_at = True, self.asking.clock()

    async def _compare(self, file: File, stat: Stat) -> None:
        seen = await self.asking.within(self.asking.patience_s, self._source.stat(file.key))
        if seen.mirrored and await self._check_stand_in(file, stat, seen):
            raise Stale("its server does not answer: a mirror's version stands in", seen)
        if compatible(stat.version, seen):
            await self._validated(file, replace(stat, mirrored=stat.mirrored and seen.mirrored))
        elif file.stat is None and seen.version.size is not None and agrees(file.entry, seen):
            # Only the cache has the old version, this inode has shown nothing of it: no reason to be stale.
            self._figures.upstream.version_changes += 1
            await self._validated(file, seen)
        else:
            raise Stale("the file has changed", seen)

    async def _check_stand_in(self, file: File, known: Stat, seen: Stat) -> bool:
        """Only a mirror answers: is its version to be shown instead of a known one? Not where they are the same.

        Raises `Unreachable` where what is known is better: it is open, or cached whole; or the mirror's has another
        size, where nothing tells a change from a copy that was cut off.
        """
        if joinable(known.version, seen.version):
            return False
        whole = await self._held_bytes(known) == known.version.size
        if file.opens or whole or seen.version.size != known.version.size:
            raise Unreachable("its server does not answer, and the mirror has another version of this file")
        return True

    async def _pin(self, file: File, urgent: bool) -> None:
        """By what the cache knows, by a HEAD where the bytes are here already, else by fetching the first bytes."""
        known = await self._store.find(file.key)
        stat = Stat(known.version, known.mtime_ns) if known else None
        if known is None or stat is None or not agrees(file.entry, stat):
            await self._pin_by_fetching(file, urgent)
            return
        age_s = self.asking.wall() - known.validated_at_s
        if names_the_tag(file.entry, stat):
            age_s = min(age_s, self.asking.clock() - file.parent.listed_at)
        if 0 <= age_s < self.asking.ttl_s:
            self._pinned(file, stat, self.asking.clock() - age_s)
            return
        try:
            await self._compare(file, stat)
        except (Unreachable, DeadlineExceeded) as exc:
            self._show_stale(file, known, exc)

    def _show_stale(self, file: File, known: StoredObject, error: RangefsError) -> None:
        """Upstream fails, by `error`: show what the cache has, unless it is too old: then raises `error`."""
        age_s = self.asking.wall() - known.validated_at_s
        if not self.asking.offline and age_s >= self.asking.stale_s:
            raise error
        self._pinned(file, Stat(known.version, known.mtime_ns), self.asking.clock() - age_s)
        self.asking.failed(error)
        file.stale, file.asked_at = True, self.asking.clock()

    async def _pin_by_fetching(self, file: File, urgent: bool) -> None:
        blob = file.blob
        assert blob is not None
        flight = self._reader.head(blob, urgent)
        if flight is None and not urgent:
            raise Abandoned("no memory to fetch ahead")
        if flight is not None:
            await flight.wait(1)
            if isinstance(flight.failure, RangesIgnored):
                flight = None
            elif flight.failure is not None and blob.stat is None:
                raise flight.failure.again()
        await self._validated(file, blob.stat or await self._source.stat(file.key))

    async def _validated(self, file: File, stat: Stat) -> None:
        """Upstream has just said that this is the current version."""
        self.asking.answered()
        self._pinned(file, stat, self.asking.clock())
        if not stat.mirrored:  # it would drop what is cached of the primary's version
            await self._store.note(stat, self.asking.wall())

    def _pinned(self, file: File, stat: Stat, validated_at: float | None = None) -> None:
        """The version is known. Raises `Stale` where it is not the one that the inode has shown."""
        if file.blob is None:
            file.blob = Blob(file.entry, None)
        file.blob.pin(stat)
        file.stale = False
        file.validated_at = self.asking.clock() if validated_at is None else validated_at
        file.unsized = stat.version.size is None
        if file.size is None:
            file.size = stat.version.size
            file.mtime_ns = stat.mtime_ns if stat.mtime_ns is not None else file.mtime_ns

    # -- what is known, without asking upstream ------------------------------------

    def url(self, node: Node) -> str:
        """Where it comes from, without secrets."""
        return self._source.url(node.key)

    async def known(self, file: File) -> Stat | None:
        """The version that the cache has of a file that was not opened yet."""
        found = await self._store.find(file.key)
        stat = Stat(found.version, found.mtime_ns) if found else None
        return stat if stat and agrees(file.entry, stat) else None

    async def cached_bytes(self, file: File) -> int:
        """Bytes of the shown version on local disk."""
        stat = file.stat or await self.known(file)
        return await self._held_bytes(stat) if stat else 0

    async def _held_bytes(self, stat: Stat) -> int:
        return covered_bytes(await self._store.chunks(stat.version))

    # -- change --------------------------------------------------------------------

    def supersede(self, file: File, error: Stale) -> None:
        """An answer showed that the file is another one now, or gone."""
        if file.blob is not None:
            self._reader.supersede(file.blob)
        if file.spent:
            return
        if error.stat is None:  # what is there instead, only a listing can tell; the kernel looks up again but once
            self.folders.outdated(file.parent)
        if not isinstance(error, IsADirectory):
            self._figures.upstream.version_changes += 1
        self.tree.supersede(file, error.stat)
        if error.stat is not None:
            new = file.parent.children.get(file.name)
            if isinstance(new, File):
                new.validated_at = self.asking.clock()
        self._invalidate(file.parent, file.name)

    # -- asking --------------------------------------------------------------------

    async def _ask(self, file: File, how: Callable[[File], Awaitable[None]]) -> None:
        """Have one question about a file under way, and wait for its end. Raises its error."""
        if file.question is None:
            file.question = Question()
            self._nursery.start_soon(self._answer, file, file.question, how)
        question = file.question
        await question.done.wait()
        if isinstance(question.error, Abandoned):  # it was asked ahead, and given up: this time it matters
            await self._ask(file, how)
        elif question.error is not None:
            raise question.error.again()

    async def _answer(self, file: File, question: Question, how: Callable[[File], Awaitable[None]]) -> None:
        try:
            await self.asking.within(self.asking.open_s, how(file))
        except Stale as exc:
            self.supersede(file, exc)
            question.error = exc.again()
        except NotFound as exc:
            self.supersede(file, Stale(str(exc)))
            question.error = exc.again()
        except RangefsError as exc:
            self.asking.failed(exc)
            question.error = exc.again()
        except Exception:  # the boundary, as in `_refresh`
            log.exception("a question about a file failed: a bug in rangefs")
            question.error = Broken("a bug in rangefs, the log has more")
        finally:
            file.question = None
            question.done.set()
