"""Names over time against a source whose every answer a test can hold, change or refuse, and a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.settings import CacheSettings, MountSettings, ViewSettings
from rangefs.core.versions import Stat
from rangefs.errors import Broken, IsADirectory, NotFound, Stale, Unreachable
from rangefs.fs import folders
from rangefs.fs.namespace import Namespace
from rangefs.fs.tree import File, Folder
from rangefs.sources.offline import Offline
from tests.read.conftest import Bench, MiB, bench
from tests.read.scripted import ScriptedSource


@dataclass
class Listed(ScriptedSource):
    """A folder that shows the one file.

    broken  what listing it raises
    folders  keys that turn out to be those of folders
    """

    entries: tuple[Entry, ...] = ()
    broken: Exception | None = None
    lists: int = 0
    complete: bool = True
    folders: frozenset[bytes] = frozenset()
    gate: trio.Event = field(default_factory=trio.Event)

    async def list(self, key: bytes) -> Listing:
        self.lists += 1
        await trio.lowlevel.checkpoint()
        if self.broken is not None:
            raise self.broken
        return Listing(self.entries or (self.entry(),), complete=self.complete)

    async def stat(self, key: bytes) -> Stat:
        if self.bug is not None:
            raise self.bug
        if key in self.folders:
            raise IsADirectory("it has a slash")
        if key not in (b"file", b"an%20other"):
            raise NotFound("404")
        return await super().stat(key)

    def entry(self) -> Entry:
        return Entry(b"file", Kind.FILE, b"file", size=len(self.data))


@dataclass
class House:
    bench: Bench
    names: Namespace
    source: Listed
    invalidated: list[bytes]

    async def file(self) -> File:
        node = await self.names.folders.lookup(self.names.tree.root, b"file")
        assert isinstance(node, File)
        return node

    async def opened(self) -> File:
        """As the kernel opens: a stale inode is looked up again, once."""
        file = await self.file()
        try:
            await self.names.open(file)
        except Stale:
            file = await self.file()
            await self.names.open(file)
        self.names.opened(file)
        return file

    async def read(self, file: File, start: int, end: int) -> bytes:
        assert file.blob is not None
        try:
            return await self.bench.read(file.blob, start, end)
        except Stale as error:
            self.names.supersede(file, error)
            raise


@asynccontextmanager
async def house(folder: Path, content: bytes, ttl_s: float = 60) -> AsyncIterator[House]:
    async with bench(folder, content) as b:
        source = Listed(content)
        b.source = b.flights.source = source
        settings = MountSettings("test", folder, CacheSettings(folder), ViewSettings(0, 0), metadata_ttl_s=ttl_s)
        invalidated: list[bytes] = []
        names = Namespace(
            source,
            b.store,
            b.reader,
            settings,
            b.figures,
            b.nursery,
            lambda parent, name: invalidated.append(name),
            clock=b.clock,
        )
        yield House(b, names, source, invalidated)


async def test_a_bug_in_a_listing_is_an_error_for_who_asks_and_not_the_end(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, content) as h:
        h.source.broken = RecursionError("an odd page")
        with pytest.raises(Broken):
            await h.file()
        h.source.broken = None
        assert (await h.file()).size == len(content)
    assert "an odd page" in caplog.text


async def test_a_bug_in_a_question_about_a_file_is_an_error_for_who_asks_and_not_the_end(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, content) as h:
        file = await h.file()
        h.source.ranges, h.source.bug = False, ZeroDivisionError("an odd answer")
        with pytest.raises(Broken):
            await h.names.open(file)
        h.source.bug = None
        h.bench.later_s = 2
        assert (await h.opened()).stat is not None
    assert "an odd answer" in caplog.text


async def test_a_change_that_a_fetch_ahead_found_is_seen_by_the_next_open(tmp_path: Path, content: bytes) -> None:
    async with house(tmp_path, content) as h:
        old = await h.opened()
        assert old.blob is not None
        h.source.data, h.source.tag = bytes(5), '"2"'
        h.bench.flights.launch(old.blob, 8 * MiB, 9 * MiB, urgent=False)
        await wait_all_tasks_blocked()
        new = await h.opened()
        assert new is not old
        assert new.size == 5
        assert await h.read(new, 0, 5) == bytes(5)


async def test_what_landed_just_before_a_listing_shows_a_change_is_fetched_again(
    tmp_path: Path, content: bytes
) -> None:
    async with house(tmp_path, content, ttl_s=1) as h:
        file = await h.opened()
        await h.read(file, 0, 1000)
        asked = len(h.source.asked)
        h.source.entries = (Entry(b"file", Kind.FILE, b"file", size=len(content) + 1),)
        h.bench.later_s = 1.5
        assert await h.file() is not file
        h.source.tag = '"2"'
        with pytest.raises(Stale):
            await h.read(file, 0, 1000)
        assert len(h.source.asked) > asked


async def test_what_was_being_stored_when_a_change_showed_is_not_trusted_either(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its chunk is in the store for a moment before it is dropped: a first look there must not find it."""
    async with house(tmp_path, content, ttl_s=1) as h:
        dropping, drop = trio.Event(), trio.Event()

        async def slow(chunk_ids: object) -> None:
            dropping.set()
            await drop.wait()

        monkeypatch.setattr(h.bench.flights.store, "discard", slow)
        file = await h.opened()
        await h.read(file, 0, 1000)
        assert file.blob is not None
        for flight in list(file.blob.flights):
            with trio.fail_after(5):
                await flight.wait(flight.end)
        h.source.entries = (Entry(b"file", Kind.FILE, b"file", size=len(content) + 1),)
        h.bench.later_s = 1.5
        assert await h.file() is not file
        h.source.tag = '"2"'
        try:
            with trio.fail_after(5):
                await dropping.wait()
            with pytest.raises(Stale):
                await h.read(file, 0, 1000)
        finally:
            drop.set()


async def test_a_listing_kept_from_an_earlier_mount_never_replaces_a_newer_one(tmp_path: Path, content: bytes) -> None:
    async with house(tmp_path, content) as h:
        await h.file()
        await wait_all_tasks_blocked(0.05)
    async with house(tmp_path, content + b"more") as h:
        root = h.names.tree.root
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(h.names.folders.listing, root)
        assert root.listing is not None
        assert not root.recalled
        assert root.listing.entries[0].size == len(content) + 4


async def test_the_listing_that_a_mount_begins_with_is_used_at_once_and_kept_and_not_for_long(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "FIRST_LISTING_S", 0.2)
    async with house(tmp_path, content) as h:
        h.names.folders.begin(Listing((h.source.entry(),)), h.names.asking.clock())
        await h.file()
        assert h.source.lists == 0
        await trio.sleep(0.3)
        await h.file()
        assert h.source.lists == 1
    another = tmp_path / "another"  # where no question has kept one
    another.mkdir()
    async with house(another, content) as h:
        h.source.broken = Unreachable("down")
        h.names.folders.begin(Listing((h.source.entry(),)), h.names.asking.clock() - 60)
        await h.file()
        assert h.source.lists == 1, "older than the TTL: asked for"
        await wait_all_tasks_blocked(0.05)
    async with house(another, content) as h:
        h.source.broken = Unreachable("down")
        await h.file()
        assert h.names.tree.root.recalled


async def test_offline_nothing_is_asked_and_the_cache_is_shown(tmp_path: Path, content: bytes) -> None:
    async with house(tmp_path, content) as h:
        h.source.entries = (Entry(b"file", Kind.FILE, b"file"),)  # as on pages without sizes
        file = await h.opened()
        assert await h.read(file, 0, 200_000) == content[:200_000]
        await wait_all_tasks_blocked(0.05)
    async with house(tmp_path, content) as h:
        h.bench.flights.source = h.names._source = h.names.folders._source = Offline(h.source)
        h.names.asking.offline = True
        file = await h.file()
        await h.names.resolve(file)
        assert file.size == len(content), "ls -l shows what the cache knows"
        await h.names.open(file)
        h.names.opened(file)
        assert await h.read(file, 0, 200_000) == content[:200_000]
        with pytest.raises(Unreachable):
            await h.read(file, 9 * MiB, 9 * MiB + 10)
        assert h.source.asked == []
        assert h.source.lists == 0


async def test_a_name_that_a_cut_off_listing_does_not_have_is_asked_for(tmp_path: Path, content: bytes) -> None:
    async with house(tmp_path, content) as h:
        root = h.names.tree.root
        h.source.complete = False
        node = await h.names.folders.lookup(root, b"an other")
        assert isinstance(node, File)
        assert node.size == len(content)
        assert await h.names.folders.lookup(root, b"an other") is node
        with pytest.raises(NotFound):
            await h.names.folders.lookup(root, b"nothing")
        h.source.complete = True
        h.bench.later_s = 120
        with pytest.raises(NotFound):
            await h.names.folders.lookup(root, b"an other")


async def test_a_file_that_is_gone_has_its_folder_listed_anew_at_the_next_look_up(
    tmp_path: Path, content: bytes
) -> None:
    """The kernel looks up again but once: a node made of the old listing would be stale once more."""
    async with house(tmp_path, content) as h:
        file = await h.opened()
        h.source.entries = (Entry(b"other", Kind.FILE, b"other", 5),)
        h.names.supersede(file, Stale("412, and then 404"))
        with pytest.raises(NotFound):
            await h.file()
        assert h.source.lists == 2


async def test_a_file_of_which_only_the_cache_has_an_old_version_opens_at_once(tmp_path: Path, content: bytes) -> None:
    async with house(tmp_path, content, ttl_s=0.01) as h:
        old = await h.opened()
        await h.read(old, 0, 1000)
        h.names.closed(old)
        assert old.blob is not None
        while not old.blob.quiet:
            await trio.sleep(0.01)
        h.source.entries = (Entry(b"file", Kind.FILE, b"file", len(content), mtime_ns=5, mtime_precision_ns=1 << 60),)
        h.source.tag = '"2"'
        await trio.sleep(0.05)
        file = await h.file()
        assert file is not old
        await h.names.open(file)
        assert file.stat is not None
        assert file.stat.version.validator == '"2"'
        assert h.bench.figures.upstream.version_changes == 1


async def test_a_listed_file_that_is_a_folder_is_one_at_its_next_look_up(tmp_path: Path, content: bytes) -> None:
    async with house(tmp_path, content) as h:
        h.source.entries = (Entry(b"sub", Kind.FILE, b"sub"),)
        h.source.folders = frozenset({b"sub"})
        file = await h.names.folders.lookup(h.names.tree.root, b"sub")
        assert isinstance(file, File)
        h.source.entries = (Entry(b"sub", Kind.FOLDER, b"sub/"),)  # the source remembers
        with pytest.raises(Stale):
            await h.names.resolve(file)
        assert h.invalidated == [b"sub"]
        assert isinstance(await h.names.folders.lookup(h.names.tree.root, b"sub"), Folder)
        assert (h.source.lists, h.bench.figures.upstream.version_changes) == (2, 0)


async def test_a_folder_beyond_the_end_of_a_cut_off_listing_is_found(tmp_path: Path, content: bytes) -> None:
    async with house(tmp_path, content) as h:
        h.source.complete, h.source.folders = False, frozenset({b"sub"})
        node = await h.names.folders.lookup(h.names.tree.root, b"sub")
        assert isinstance(node, Folder)
        assert node.key == b"sub/"


async def test_names_that_come_and_go_leave_no_nodes_behind(tmp_path: Path, content: bytes) -> None:
    async with house(tmp_path, content, ttl_s=1) as h:
        for size in range(5):
            h.source.entries = (Entry(b"file", Kind.FILE, b"file", size=size),)
            await h.file()  # nobody tells the kernel of it
            h.bench.later_s += 2
        assert len(h.names.tree.nodes) == 2, "the root, and the file"
