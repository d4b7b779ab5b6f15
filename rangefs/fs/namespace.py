"""Names and versions over time: when upstream is asked, and what its answers change.

`Tree` knows what is; this module asks. Each question is a task of its own, is
asked once for all who wait for it, and has a deadline. An upstream that fails
is never taken for one that says "gone": what is known is shown as stale for
``--stale-if-error``.

What an ``await`` may break: while a question is under way the node may be
superseded or forgotten. After each one `spent` is looked at again, and changes
go through `Tree`, which ignores nodes that are not current.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import quote

import trio

from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.figures import Figures
from rangefs.core.intervals import IntervalMap
from rangefs.core.listing import kept
from rangefs.core.settings import MountSettings
from rangefs.core.validators import compatible, tag_of
from rangefs.core.versions import Level, Stat
from rangefs.core.walk import Walk
from rangefs.core.window import WHOLE
from rangefs.errors import (
    Broken,
    DeadlineExceeded,
    InvalidName,
    NameTooLong,
    NotFound,
    RangefsError,
    RangesIgnored,
    Stale,
    Unreachable,
)
from rangefs.fs.tree import NEVER, File, Folder, Node, Question, Tree
from rangefs.read.blob import Blob, agrees
from rangefs.read.flight import Abandoned
from rangefs.read.reader import Reader
from rangefs.sources.base import Finder, Source
from rangefs.store.store import Store, StoredObject

log = logging.getLogger(__name__)

T = TypeVar("T")

# A silent origin counts as failing after this where there is a cached version to show instead (SEMANTICS §5).
VALIDATE_S = 2.0
# A folder of a page or two is listed within this, which answers all that comes after; a huge one is not waited for.
FIND_AFTER_S = 0.5
# After a failure, what is stale is shown for this long before upstream is asked again.
PAUSE_S = 5.0
# `ls -l` where sizes are not listed: the attributes of this many following names are asked for at once.
SIBLINGS = 64
NAME_MAX = 255  # limits.h; FUSE itself would take 1,024


class Namespace:
    """Look-ups, listings, attributes and opens of one mount.

    invalidate(parent, name)  tells the kernel that a name stands for something else now
    trouble                   why upstream can't be asked; None while it answers
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
        clock: Callable[[], float] = trio.current_time,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.tree = Tree()
        self.trouble: str | None = None
        self._source = source
        self._store = store
        self._reader = reader
        self._settings = settings
        self._ttl_s = settings.metadata_ttl_s
        self._open_s = settings.upstream.open_timeout_s
        self._figures = figures
        self._nursery = nursery
        self._invalidate = invalidate
        self._clock = clock
        self._wall = wall

    # -- folders -----------------------------------------------------------------

    async def listing(self, folder: Folder) -> Listing:
        """What is in the folder, at most the TTL old; where upstream fails, or is silent for 2 s, what was known."""
        if folder.listing is None:
            await self._recall(folder)
        if not self._settled(folder):
            if folder.refresh is None:
                folder.refresh = Question()
                self._nursery.start_soon(self._refresh, folder, folder.refresh)
            await self._answered(folder, folder.refresh)
        assert folder.listing is not None
        return folder.listing

    def _settled(self, folder: Folder) -> bool:
        """Need upstream not be asked now?"""
        now = self._clock()
        fresh = now - folder.listed_at < self._ttl_s and not folder.recalled
        return folder.listing is not None and (fresh or now - folder.asked_at < PAUSE_S)

    async def _answered(self, folder: Folder, question: Question) -> None:
        """Wait for the answer; only briefly where there is something to show instead. Raises the question's error."""
        stale_will_do = folder.listing is not None and self._tolerable(folder.listed_at)
        with trio.move_on_after(VALIDATE_S if stale_will_do else float("inf")) as patience:
            await question.done.wait()
        if question.error is not None:
            raise question.error
        if patience.cancelled_caught and not question.done.is_set():  # it goes on, and its answer will be used
            folder.stale, folder.asked_at = True, self._clock()

    async def lookup(self, folder: Folder, name: bytes) -> Node:
        """The node that a name stands for now. Raises `NotFound`, `NameTooLong`."""
        if len(name) > NAME_MAX:
            raise NameTooLong(f"{len(name)} bytes are too many for a name")
        entry = await self._within(self._open_s, self._entry(folder, name))
        if entry is None and folder.listing is not None and not folder.listing.complete:
            return await self._unlisted(folder, name)
        if entry is None:
            raise NotFound(f"no such name: {name!r}")
        return self.tree.child(folder, entry)

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
        stat = await self._within(self._open_s, self._source.stat(key))
        return self.tree.child(folder, Entry(name, Kind.FILE, key, stat.version.size, stat.mtime_ns))

    async def _refresh(self, folder: Folder, question: Question) -> None:
        try:
            await self._within(self._settings.upstream.read_timeout_s, self._relist(folder))
        except RangefsError as exc:
            stale = self._failed(exc) and folder.listing is not None and self._tolerable(folder.listed_at)
            folder.stale, folder.asked_at = stale, self._clock()
            if not stale:
                folder.listing = None
                question.error = exc
        except Exception:  # the boundary: in a task of the mount's nursery nothing may escape
            log.exception("a listing failed: a bug in rangefs")
            folder.asked_at = self._clock()
            question.error = Broken("a bug in rangefs, the log has more")
        finally:
            folder.refresh = None
            question.done.set()

    async def _recall(self, folder: Folder) -> None:
        """The listing that the cache has of an earlier mount."""
        found = await self._store.load_listing(folder.key)
        listing = kept.decode(found[0]) if found else None
        if found is not None and listing is not None and folder.listing is None:
            self.tree.update(folder, listing, self._clock() - max(0.0, self._wall() - found[1]))
            folder.recalled = True

    async def _relist(self, folder: Folder) -> None:
        listing = await self._source.list(folder.key)
        self.trouble = None
        known = dict(folder.children)
        for name in self.tree.update(folder, listing, self._clock()):
            node = known[name]
            if isinstance(node, File) and node.blob is not None and node.blob.stat is not None:
                self._reader.doubt(node.blob)
            self._invalidate(folder, name)
        await self._store.save_listing(folder.key, kept.encode(listing), self._wall())

    # -- attributes ----------------------------------------------------------------

    async def resolve(self, file: File) -> None:
        """Find out what the listing did not say: size and time, by one HEAD for all who ask."""
        if file.size is not None or file.unsized:
            return
        file.parent.asked += 1
        if file.parent.asked > 1:  # someone walks through the folder: ask for those that follow
            self._resolve_siblings(file)
        await self._within(self._open_s, self._ask(file, self._learn))

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
        try:
            self._pinned(file, await self._source.stat(file.key))
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
        now = self._clock()
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
        if now - self._vouched_at(file) >= self._ttl_s and now - file.asked_at >= PAUSE_S:
            for flight in file.blob.flights:  # perhaps fetched ahead: someone waits for it now
                flight.ticket.urgent = True
            await self._within(self._open_s, self._ask(file, self._validate))
            if file.spent:
                raise Stale("the file has changed")
        return file.blob

    def _vouched_at(self, file: File) -> float:
        """When upstream last said that the pinned version is current: asked for it, or by listing its very tag."""
        folder = file.parent
        entry = folder.listing.by_name.get(file.name) if folder.listing is not None and not folder.recalled else None
        if file.stat is not None and entry is not None and entry.key == file.key and _names_the_tag(entry, file.stat):
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
            if not self._tolerable(file.validated_at):
                raise
            self._failed(exc)
            file.stale, file.asked_at = True, self._clock()

    async def _compare(self, file: File, stat: Stat) -> None:
        seen = await self._within(VALIDATE_S, self._source.stat(file.key))
        if not compatible(stat.version, seen):
            raise Stale("the file has changed", seen)
        await self._validated(file, stat)

    async def _pin(self, file: File, urgent: bool) -> None:
        """By what the cache knows, by a HEAD where the bytes are here already, else by fetching the first bytes."""
        known = await self._store.find(file.key)
        stat = Stat(known.version, known.mtime_ns) if known else None
        if known is None or stat is None or not agrees(file.entry, stat):
            await self._pin_by_fetching(file, urgent)
            return
        age_s = self._wall() - known.validated_at_s
        if _names_the_tag(file.entry, stat):
            age_s = min(age_s, self._clock() - file.parent.listed_at)
        if 0 <= age_s < self._ttl_s:
            self._pinned(file, stat, self._clock() - age_s)
            return
        try:
            await self._compare(file, stat)
        except (Unreachable, DeadlineExceeded) as exc:
            self._show_stale(file, known, exc)

    def _show_stale(self, file: File, known: StoredObject, error: RangefsError) -> None:
        """Upstream fails, by `error`: show what the cache has, unless it is too old: then raises `error`."""
        age_s = self._wall() - known.validated_at_s
        if not self._settings.offline and age_s >= self._settings.stale_if_error_s:
            raise error
        self._pinned(file, Stat(known.version, known.mtime_ns), self._clock() - age_s)
        self._failed(error)
        file.stale, file.asked_at = True, self._clock()

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
                raise flight.failure
        await self._validated(file, blob.stat or await self._source.stat(file.key))

    async def _validated(self, file: File, stat: Stat) -> None:
        """Upstream has just said that this is the current version."""
        self._pinned(file, stat, self._clock())
        await self._store.note(stat, self._wall())

    def _pinned(self, file: File, stat: Stat, validated_at: float | None = None) -> None:
        """The version is known. Raises `Stale` where it is not the one that the inode has shown."""
        if file.blob is None:
            file.blob = Blob(file.entry, None)
        file.blob.pin(stat)
        self.trouble = None
        file.stale = False
        file.validated_at = self._clock() if validated_at is None else validated_at
        file.unsized = stat.version.size is None
        if file.size is None:
            file.size = stat.version.size
            file.mtime_ns = stat.mtime_ns if stat.mtime_ns is not None else file.mtime_ns

    def name_lasts_s(self, folder: Folder) -> float:
        """For how long a name of this folder stands for what it does now, as far as its listing goes."""
        left_s = folder.listed_at + self._ttl_s - self._clock()
        return max(left_s, PAUSE_S if folder.stale else 0.0)

    # -- what is known, without asking upstream ------------------------------------

    def url(self, file: File) -> str:
        """Where the bytes come from, without secrets."""
        return self._source.url(file.key)

    def state(self, file: File) -> str:
        """``fresh``, ``stale`` (shown past its TTL because upstream fails) or ``offline``."""
        if self._settings.offline:
            return "offline"
        return "stale" if file.stale or file.parent.stale else "fresh"

    async def known(self, file: File) -> Stat | None:
        """The version that the cache has of a file that was not opened yet."""
        found = await self._store.find(file.key)
        stat = Stat(found.version, found.mtime_ns) if found else None
        return stat if stat and agrees(file.entry, stat) else None

    async def cached_bytes(self, file: File) -> int:
        """Bytes of the shown version on local disk."""
        stat = file.stat or await self.known(file)
        chunks = await self._store.chunks(stat.version) if stat else ()
        held: IntervalMap[int] = IntervalMap()
        for chunk in chunks:
            held.assign(chunk.start, chunk.end, chunk.id)
        return sum(segment.end - segment.start for segment in held)

    # -- change --------------------------------------------------------------------

    def supersede(self, file: File, error: Stale) -> None:
        """An answer showed that the file is another one now, or gone."""
        if file.blob is not None:
            self._reader.supersede(file.blob)
        if file.spent:
            return
        self._figures.upstream.version_changes += 1
        self.tree.supersede(file, error.stat)
        if error.stat is not None:
            new = file.parent.children.get(file.name)
            if isinstance(new, File):
                new.validated_at = self._clock()
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
            raise question.error

    async def _answer(self, file: File, question: Question, how: Callable[[File], Awaitable[None]]) -> None:
        try:
            await self._within(self._open_s, how(file))
        except Stale as exc:
            self.supersede(file, exc)
            question.error = exc
        except NotFound as exc:
            self.supersede(file, Stale(str(exc)))
            question.error = exc
        except RangefsError as exc:
            self._failed(exc)
            question.error = exc
        except Exception:  # the boundary, as in `_refresh`
            log.exception("a question about a file failed: a bug in rangefs")
            question.error = Broken("a bug in rangefs, the log has more")
        finally:
            file.question = None
            question.done.set()

    async def _within(self, timeout_s: float, work: Awaitable[T]) -> T:
        with trio.move_on_after(timeout_s):
            return await work
        raise DeadlineExceeded(f"no answer from upstream within {timeout_s:g} s")

    def _failed(self, error: RangefsError) -> bool:
        """Did upstream fail to answer at all? Remembers why."""
        if isinstance(error, Unreachable | DeadlineExceeded):
            self.trouble = str(error)
            return True
        return False

    def _tolerable(self, then: float) -> bool:
        """May what was true `then` be shown while upstream fails?"""
        if self._settings.offline:
            return True
        return then != NEVER and self._clock() - then < max(self._settings.stale_if_error_s, self._ttl_s)


def _names_the_tag(entry: Entry, stat: Stat) -> bool:
    """Does the listing say that this version is the current one, as surely as an answer would?"""
    return stat.version.level >= Level.STRONG and bool(entry.etag) and entry.etag == tag_of(stat.version)
