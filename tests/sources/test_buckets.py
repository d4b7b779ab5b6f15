"""``gs://`` and ``az://`` against their emulators: pages, single objects, refusals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rangefs.core.entries import Kind
from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Level
from rangefs.errors import NotFound, Stale
from rangefs.sources.buckets import BucketSource
from tests.conftest import StartServer
from tests.emulators import Azurite, Emulator, FakeGcs
from tests.sources.reading import opened, read_range

EMULATORS: dict[str, type[Emulator]] = {"gcs": FakeGcs, "azure": Azurite}
LEVELS = {"gcs": Level.IMMUTABLE, "azure": Level.STRONG}


@pytest.fixture(params=sorted(EMULATORS))
def store(
    request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Emulator:
    for name in [name for name in os.environ if name.startswith(("AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_STORAGE_KEY", Azurite.key)
    server = start_server(EMULATORS[request.param], tmp_path)
    server.flavour = request.param
    assert isinstance(server, Emulator)
    return server


def settings_of(store: Emulator) -> UpstreamSettings:
    return UpstreamSettings(endpoint_url=store.url.rstrip("/"))


@pytest.mark.parametrize("page", [1, 2, 7, 19, 20, 21])
async def test_a_folder_is_whole_whatever_the_page_size(
    store: Emulator, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten files and ten folders, so that the ends of pages fall before, between and after both."""
    monkeypatch.setattr("rangefs.sources.gcs.PAGE_OBJECTS", page)
    monkeypatch.setattr("rangefs.sources.azure.PAGE_BLOBS", page)
    for number in range(10):
        store.put(f"many/{number}a", b"x" * number)
        store.put(f"many/{number}b/inside", b"y")
    async with opened(store.source, settings_of(store)) as source:
        listing = await source.list(b"many/")
        files = {entry.name: entry.size for entry in listing.entries if entry.kind is Kind.FILE}
        assert files == {b"%da" % number: number for number in range(10)}
        folders = [entry.name for entry in listing.entries if entry.kind is Kind.FOLDER]
        assert sorted(folders) == [b"%db" % number for number in range(10)]
        assert listing.refused == 0


async def test_a_version_is_told_by_stat_listing_and_answer_alike(store: Emulator) -> None:
    store.put("file", b"0123456789")
    async with opened(store.source, settings_of(store)) as source:
        (entry,) = (await source.list(b"")).entries
        stat = await source.stat(b"file")
        assert stat.version.level is LEVELS[store.flavour]
        assert stat.version.validator == entry.etag
        assert await read_range(source, b"file", 2, 5, stat.version) == b"234"
        assert await read_range(source, b"file", 0, 1_000_000) == b"0123456789"


async def test_an_empty_object_is_empty(store: Emulator) -> None:
    store.put("empty", b"")
    async with opened(store.source, settings_of(store)) as source:
        assert (await source.stat(b"empty")).version.size == 0
        assert await read_range(source, b"empty", 0, 100) == b""


async def test_a_replaced_object_is_stale_and_the_new_version_is_told(store: Emulator) -> None:
    store.put("file", b"old!")
    async with opened(store.source, settings_of(store)) as source:
        old = await source.stat(b"file")
        store.put("file", b"new!")
        with pytest.raises(Stale) as stale:
            await read_range(source, b"file", 0, 4, old.version)
        assert stale.value.stat == await source.stat(b"file")
        store.delete("file")
        with pytest.raises(Stale) as gone:
            await read_range(source, b"file", 0, 4, old.version)
        assert gone.value.stat is None
        with pytest.raises(NotFound, match="file"):
            await source.stat(b"file")


async def test_what_is_not_there_is_not_found(store: Emulator) -> None:
    async with opened(store.source + "nothing", settings_of(store), connect=False) as source:
        with pytest.raises(NotFound, match="nothing"):
            await source.connect()


async def test_an_empty_bucket_is_an_empty_folder(store: Emulator) -> None:
    async with opened(store.source, settings_of(store)) as source:
        assert (await source.list(b"")).entries == ()


async def test_one_name_is_found_as_the_listing_has_it(store: Emulator) -> None:
    for key in ("a", "a/inside", "a!", "only/inside", "100% +?#", "n" * 300):
        store.put(key, b"x")
    async with opened(store.source, settings_of(store)) as source:
        assert isinstance(source, BucketSource)
        listing = await source.list(b"")
        for entry in listing.entries:
            assert entry.name.startswith(b"%%") or await source.find(b"", entry.name) == entry
        assert await source.find(b"", b"nothing") is None
