"""The web source against real servers: every one of them, over the same tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rangefs.core.figures import UpstreamFigures
from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Level
from rangefs.errors import NotAListing, NotFound, RangesIgnored, Stale, Unreachable
from rangefs.sources.base import Ticket, read_all
from tests.conftest import FLAVOURS, StartServer
from tests.servers import Nginx, PythonHttp
from tests.serving import Server
from tests.sources.reading import opened, read_range, read_whole, walked

# These don't serve some awkward names, or under others: `tests.e2e.quirks` knows which.
PECULIAR = {"lighttpd", "rclone", "http.server"}


async def test_every_file_has_the_servers_own_bytes(any_server: Server) -> None:
    async with opened(any_server.url) as source:
        count = 0
        skip = b"names" if any_server.flavour in PECULIAR else None
        async for path, entry in walked(source, skip=skip):
            on_disk = any_server.root.joinpath(*map(os.fsdecode, path))
            if on_disk.stat().st_size > 4 << 20:
                continue
            truth = on_disk.read_bytes()
            stat = await source.stat(entry.key)
            assert stat.version.size == len(truth)
            assert await read_whole(source, entry.key, stat.version) == truth
            count += 1
        assert count > 15


async def test_ranges_agree_with_the_file(any_server: Server) -> None:
    key = b"sizes/size-150000.bin"
    truth = (any_server.root / "sizes" / "size-150000.bin").read_bytes()
    async with opened(any_server.url) as source:
        pin = (await source.stat(key)).version
        if not any_server.has_ranges:
            with pytest.raises(RangesIgnored):
                await read_range(source, key, 10, 20, pin)
            return
        for start, end in ((0, 1), (1000, 2000), (149_999, 150_000), (0, 150_000)):
            assert await read_range(source, key, start, end, pin) == truth[start:end]


async def test_first_answer_without_a_pin_tells_the_version(any_server: Server) -> None:
    key = b"sizes/size-4097.bin"
    async with opened(any_server.url) as source, source.fetch(key, 0, 65_536, None, Ticket()) as body:
        assert body.stat.version.size == body.end == 4097
        assert body.stat.version.level >= Level.DATE
        assert len(await read_all(body, 1 << 20) or b"") == 4097


async def test_a_range_of_an_empty_file_is_empty(any_server: Server) -> None:
    async with opened(any_server.url) as source:
        for start in (0, 100):
            async with source.fetch(b"sizes/size-0.bin", start, start + 10, None, Ticket()) as body:
                assert (body.start, body.end, body.stat.version.size) == (start, start, 0)
                assert await read_all(body, 1) == b""


async def test_a_range_past_the_end_without_a_pin_is_empty(any_server: Server) -> None:
    if not any_server.has_ranges:
        return
    async with opened(any_server.url) as source, source.fetch(b"sizes/size-512.bin", 512, 600, None, Ticket()) as body:
        assert (body.end, body.stat.version.size) == (512, 512)
        assert await read_all(body, 1) == b""


# Without lighttpd: its stat cache serves new bytes under the old validator for up to 2 s, which no client can see.
@pytest.mark.parametrize("flavour", ["nginx", "nginx-noetag", "apache-plain", "caddy", "rclone", "http.server"])
async def test_a_replaced_file_is_stale_under_its_old_pin(flavour: str, start_server: StartServer, www: Path) -> None:
    (www / "file").write_bytes(b"1" * 1000)
    os.utime(www / "file", (1e9, 1e9))
    server = start_server(FLAVOURS[flavour], www)
    figures = UpstreamFigures()
    async with opened(server.url, figures=figures) as source:
        pin = (await source.stat(b"file")).version
        assert await read_range(source, b"file", 0, 1000, pin) == b"1" * 1000
        (www / "new").write_bytes(b"2" * 1000)
        os.utime(www / "new", (1.1e9, 1.1e9))
        os.replace(www / "new", www / "file")
        with pytest.raises(Stale) as stale:
            await read_range(source, b"file", 0, 1000, pin)
        assert stale.value.stat is not None
        assert stale.value.stat.version != pin
        assert await read_range(source, b"file", 0, 1000, stale.value.stat.version) == b"2" * 1000
        os.truncate(www / "file", 500)
        with pytest.raises(Stale):
            await read_range(source, b"file", 0, 1000, pin)
        os.unlink(www / "file")
        with pytest.raises(Stale) as gone:
            await read_range(source, b"file", 0, 1000, pin)
        assert gone.value.stat is None


async def test_what_is_not_there_is_not_found(any_server: Server) -> None:
    async with opened(any_server.url) as source:
        with pytest.raises(NotFound):
            await source.stat(b"no-such-file")
        with pytest.raises(NotFound):
            await source.list(b"no-such-folder/")
        with pytest.raises(NotFound):
            await read_range(source, b"no-such-file", 0, 10)


async def test_a_single_file_is_a_listing_of_one(any_server: Server) -> None:
    async with opened(any_server.url + "sizes/size-4097.bin") as source:
        (entry,) = (await source.list(b"")).entries
        assert (entry.name, entry.size) == (b"size-4097.bin", 4097)
        assert len(await read_range(source, entry.key, 0, 5000)) == 4097


async def test_a_folder_without_its_slash_is_found(any_server: Server) -> None:
    async with opened(any_server.url + "sizes") as source:
        assert b"size-4097.bin" in (await source.list(b"")).by_name
        assert len(await read_range(source, b"size-4097.bin", 0, 5000)) == 4097


async def test_an_index_file_in_place_of_the_listing_is_an_error(start_server: StartServer, www: Path) -> None:
    (www / "index.html").write_text("<html><body><h1>Welcome</h1><p>Nothing to list here.</p></body></html>")
    server = start_server(Nginx, www)
    with pytest.raises(NotAListing):
        async with opened(server.url):
            pass


async def test_a_server_that_is_gone_is_unreachable_never_empty(start_server: StartServer, www: Path) -> None:
    (www / "file").write_bytes(b"here")
    server = start_server(Nginx, www)
    async with opened(server.url) as source:
        server.stop()
        with pytest.raises(Unreachable):
            await source.list(b"")


async def test_keep_alive_connections_are_used_again(start_server: StartServer, www: Path) -> None:
    (www / "file").write_bytes(b"x" * 300_000)
    server = start_server(lambda root, scratch: Nginx(root, scratch, extra="add_header X-Conn $connection;"), www)
    connections = set()
    async with opened(server.url) as source:
        pin = (await source.stat(b"file")).version
        for start in range(0, 300_000, 100_000):
            async with source.fetch(b"file", start, start + 100_000, pin, Ticket()) as body:
                left = 100_000
                while left:  # a reader that stops at the last byte, without asking whether there are more
                    left -= await body.readinto(memoryview(bytearray(left)))
                connections.add(body._answer.headers["x-conn"])  # type: ignore[attr-defined]
        with pytest.raises(NotFound):
            await read_range(source, b"missing", 0, 10)
        async with source.fetch(b"file", 0, 10, pin, Ticket()) as body:
            connections.add(body._answer.headers["x-conn"])  # type: ignore[attr-defined]
    assert len(connections) == 1


async def test_origin_without_ranges_is_not_asked_for_them_again(start_server: StartServer, www: Path) -> None:
    (www / "file").write_bytes(b"x" * 1000)
    figures = UpstreamFigures()
    async with opened(start_server(PythonHttp, www).url, UpstreamSettings(), figures) as source:
        pin = (await source.stat(b"file")).version
        with pytest.raises(RangesIgnored):
            await read_range(source, b"file", 10, 20, pin)
        before = figures.requests
        with pytest.raises(RangesIgnored):
            await read_range(source, b"file", 10, 20, pin)
        assert figures.requests == before
        assert await read_range(source, b"file", 0, 1000, pin) == b"x" * 1000
