"""A primary and its mirrors: the primary's word, anybody's bytes, nothing mixed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from rangefs.core.figures import UpstreamFigures
from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Level, Stat, Version
from rangefs.errors import NotFound, Stale, Unreachable
from rangefs.sources.base import Ticket, read_all
from rangefs.sources.mirrored import open_mirrored
from rangefs.sources.mirrors import Mirrors
from tests.sources.reading import read_body, read_range, read_whole
from tests.sources.site import File, Site, online

BODY = random.Random(7).randbytes(1 << 20)
OTHER = random.Random(8).randbytes(1 << 20)


@asynccontextmanager
async def fleet(
    *sites: Site, settings: UpstreamSettings | None = None, figures: UpstreamFigures | None = None, run: bool = True
) -> AsyncIterator[Mirrors]:
    """The sites online, the first one as the primary, connected as far as they are up."""
    async with trio.open_nursery() as nursery, _all_online(list(sites)):
        source = open_mirrored(
            sites[0].url,
            [site.url for site in sites[1:]],
            settings or UpstreamSettings(),
            figures or UpstreamFigures(),
        )
        assert isinstance(source, Mirrors)
        try:
            await source.connect()
            if run:
                nursery.start_soon(source.run)
                await until(lambda: all(sites[u.number].mode != "up" or u.connected for u in source.upstreams))
            yield source
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await source.aclose()


@asynccontextmanager
async def _all_online(sites: list[Site]) -> AsyncIterator[None]:
    if not sites:
        yield
        return
    async with online(sites[0]), _all_online(sites[1:]):
        yield


async def until(true: Callable[[], bool], limit_s: float = 10) -> None:
    with trio.fail_after(limit_s):
        while not true():
            await trio.sleep(0.01)


def twins(count: int = 2, **more: File) -> list[Site]:
    """Sites with the same file under the same tag."""
    return [Site({"file": File(BODY), **more}) for _ in range(count)]


async def ahead(source: Mirrors, start: int, end: int, pin: Version) -> bytes:
    return await read_body(source.fetch(b"file", start, end, pin, Ticket(urgent=False)))


# -- failover --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["hang up", "silent", "503"])
async def test_mirrors_serve_while_the_primary_does_not(mode: str) -> None:
    primary, mirror = twins()
    async with fleet(primary, mirror) as source:
        pin = (await source.stat(b"file")).version
        primary.mode = mode
        began = trio.current_time()
        for at in range(0, 20 * 1000, 1000):
            assert await read_range(source, b"file", at, at + 1000, pin) == BODY[at : at + 1000]
        assert trio.current_time() - began < 5
        assert (await source.stat(b"file")) == Stat(pin, (await source.stat(b"file")).mtime_ns)
        assert (await source.stat(b"file")).mirrored


@pytest.mark.parametrize("mode", ["cut", "stall"])
async def test_a_body_that_breaks_off_goes_on_from_a_mirror(mode: str) -> None:
    primary, mirror = twins()
    async with fleet(primary, mirror) as source:
        pin = (await source.stat(b"file")).version
        primary.mode = mode
        got, room = b"", memoryview(bytearray(1 << 16))
        for _ in range(30):
            try:
                async with source.fetch(b"file", len(got), len(BODY), pin, Ticket()) as body:
                    while count := await body.readinto(room):
                        got += room[:count]
            except Unreachable:
                continue
            break
        assert got == BODY


async def test_the_primary_is_used_again_once_it_answers() -> None:
    primary, mirror = twins()
    async with fleet(primary, mirror) as source:
        pin = (await source.stat(b"file")).version
        primary.mode = "silent"
        for _ in range(5):
            await read_range(source, b"file", 0, 1000, pin)
        await source.stat(b"file")  # where the mirror was faster by a hair, the reads have passed the primary by
        await until(lambda: bool(source.reasons))
        primary.mode = "up"
        await read_range(source, b"file", 0, 1000, pin)
        await until(lambda: not source.reasons)
        asked = len(primary.asked)
        assert not (await source.stat(b"file")).mirrored
        assert len(primary.asked) > asked


async def test_many_readers_when_the_primary_dies_are_no_herd() -> None:
    primary, mirror = twins()
    async with fleet(primary, mirror, settings=UpstreamSettings(max_connections=64)) as source:
        pin = (await source.stat(b"file")).version
        primary.mode = "silent"
        before = len(primary.asked)
        got: list[bytes] = []

        async def read(at: int) -> None:
            for again in range(5):
                got.append(await read_range(source, b"file", at + again, at + again + 1, pin))

        async with trio.open_nursery() as nursery:
            for at in range(100):
                nursery.start_soon(read, at)
        assert len(got) == 500
        assert len(primary.asked) - before <= 64 + 8  # those that were under way when it fell silent, and probes
        assert len(mirror.asked) <= 520


# -- the primary's word ------------------------------------------------------------------


async def test_what_only_a_mirror_lacks_is_not_missing() -> None:
    primary, mirror = twins()
    primary.files["more"] = File(b"more")
    async with fleet(primary, mirror) as source:
        primary.mode = "hang up"
        with pytest.raises(Unreachable):
            with trio.fail_after(30):
                await source.stat(b"more")
        listing = await source.list(b"")
        assert listing.mirrored
        assert not listing.complete


async def test_what_the_primary_lacks_is_missing_whatever_mirrors_have() -> None:
    primary, mirror = twins()
    mirror.files["more"] = File(b"more")
    async with fleet(primary, mirror) as source:
        with pytest.raises(NotFound):
            await source.stat(b"more")
        assert b"more" not in (await source.list(b"")).by_name


async def test_a_mirrors_other_version_is_no_change() -> None:
    primary, mirror = Site({"file": File(BODY)}), Site({"file": File(OTHER, '"y"')})
    async with fleet(primary, mirror) as source:
        pin = (await source.stat(b"file")).version
        for at in range(0, 50_000, 1000):
            assert await ahead(source, at, at + 1000, pin) == BODY[at : at + 1000]
        primary.mode = "hang up"
        with pytest.raises(Unreachable), trio.fail_after(30):
            await read_range(source, b"file", 0, 10, pin)


async def test_a_change_on_the_primary_is_one_though_a_mirror_has_the_old_version() -> None:
    primary, mirror = twins()
    async with fleet(primary, mirror) as source:
        pin = (await source.stat(b"file")).version
        primary.files["file"] = File(OTHER, '"y"')
        with pytest.raises(Stale):
            await read_range(source, b"file", 0, 10, pin)


async def test_a_version_of_a_mirror_is_served_wholly_by_it_and_never_joined() -> None:
    primary, mirror, third = (Site({"file": File(BODY, tag)}) for tag in ('"x"', 'W/"weak"', 'W/"weak"'))
    third.files["file"] = File(OTHER, 'W/"weak"')
    async with fleet(primary, mirror, third) as source:
        primary.mode = "hang up"
        async with source.fetch(b"file", 0, 10, None, Ticket()) as body:
            pin = body.stat.version
            first = await read_all(body, 10)
        assert pin.level is Level.WEAK
        assert body.stat.mirrored
        (whole,) = [text for text in (BODY, OTHER) if text[:10] == first]
        for at in range(0, 100_000, 5000):
            assert await ahead(source, at, at + 5000, pin) == whole[at : at + 5000]
        primary.mode = "up"
        await until(lambda: not source.reasons)
        assert await read_range(source, b"file", 70, 99, pin) == whole[70:99]
        assert (await source.stat(b"file")).version.validator == '"x"'


@pytest.mark.parametrize("etag", ['W/"same"', ""])
async def test_weak_tags_and_dates_never_join_origins(etag: str) -> None:
    primary, mirror = Site({"file": File(BODY, etag)}), Site({"file": File(OTHER, etag)})
    async with fleet(primary, mirror) as source:
        pin = (await source.stat(b"file")).version
        before = len([a for a in mirror.asked if a.target == "/file"])
        for at in range(0, 50_000, 1000):
            assert await ahead(source, at, at + 1000, pin) == BODY[at : at + 1000]
        primary.mode = "hang up"
        with pytest.raises(Unreachable), trio.fail_after(30):
            await read_range(source, b"file", 0, 10, pin)
        assert len([a for a in mirror.asked if a.target == "/file"]) == before


async def test_a_mirror_of_another_size_under_the_same_tag_is_not_joined() -> None:
    primary, mirror = Site({"file": File(BODY)}), Site({"file": File(BODY[:1000])})
    async with fleet(primary, mirror) as source:
        pin = (await source.stat(b"file")).version
        for at in range(0, 50_000, 500):
            assert await ahead(source, at, at + 500, pin) == BODY[at : at + 500]


# -- sharding ----------------------------------------------------------------------------


async def test_ranges_ahead_are_spread_and_each_byte_is_asked_for_once() -> None:
    sites = twins(3)
    async with fleet(*sites) as source:
        pin = (await source.stat(b"file")).version
        got: dict[int, bytes] = {}

        async def read(at: int) -> None:
            got[at] = await ahead(source, at, at + (1 << 16), pin)

        async with trio.open_nursery() as nursery:
            for at in range(0, len(BODY), 1 << 16):
                nursery.start_soon(read, at)
        assert b"".join(got[at] for at in sorted(got)) == BODY
        shares = [site.bytes_of("file") for site in sites]
        assert sum(shares) == len(BODY)
        assert all(share >= len(BODY) // 6 for share in shares), shares


async def test_a_stranger_is_not_tried_for_each_new_file() -> None:
    names = [f"file{number}" for number in range(40)]
    primary = Site({name: File(BODY) for name in names})
    mirror = Site({name: File(BODY, '"inode"') for name in names})
    async with fleet(primary, mirror) as source:
        for name in names:
            pin = (await source.stat(name.encode())).version
            async with source.fetch(name.encode(), 0, 1000, pin, Ticket(urgent=False)) as one:
                second = source.fetch(name.encode(), 1000, 2000, pin, Ticket(urgent=False))
                assert await read_body(second) == BODY[1000:2000]
                assert await read_all(one, 1000) == BODY[:1000]
        assert 8 < len(mirror.asked) <= 1 + 2 * 8
        assert any("other versions" in reason for reason in source.reasons)


# -- starting ------------------------------------------------------------------------------


async def test_it_connects_while_only_a_mirror_answers_and_finds_the_primary_later() -> None:
    primary, mirror = twins()
    primary.mode = "silent"
    with trio.fail_after(20):
        async with fleet(primary, mirror) as source:
            assert (await source.list(b"")).mirrored
            assert await read_whole(source, b"file") == BODY
            primary.mode = "up"
            await until(lambda: not source.reasons)
            assert not (await source.list(b"")).mirrored


async def test_nobody_answers_is_unreachable() -> None:
    sites = twins()
    for site in sites:
        site.mode = "hang up"
    with pytest.raises((Unreachable, ExceptionGroup)):
        async with fleet(*sites):
            pass


async def test_a_primary_whose_name_nobody_knows_is_one_that_does_not_answer() -> None:
    async with online(twins()[0]) as mirror:
        source = open_mirrored("http://no-such-host.invalid/", [mirror.url], UpstreamSettings(), UpstreamFigures())
        with trio.fail_after(10):
            await source.connect()
            assert (await source.stat(b"file")).mirrored
            assert await read_whole(source, b"file") == BODY
        await source.aclose()


# -- doors -----------------------------------------------------------------------------------


async def test_credentials_stay_with_the_primary(tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("X-Api-Key: s3cret\n")
    (tmp_path / "netrc").write_text("default login user password s3cret\n")
    for name in ("headers", "netrc"):
        (tmp_path / name).chmod(0o600)
    settings = UpstreamSettings(header_file=tmp_path / "headers", headers=(("X-Custom", "s3cret"),))
    primary, mirror = twins()
    async with fleet(primary, mirror, settings=settings) as source:
        pin = (await source.stat(b"file")).version
        primary.mode = "hang up"
        await read_range(source, b"file", 0, 10, pin)
        assert "s3cret" in str(primary.asked)
        assert "s3cret" not in str(mirror.asked)
        assert mirror.asked
    primary, mirror = twins()
    async with fleet(primary, mirror, settings=UpstreamSettings(netrc=tmp_path / "netrc")):
        assert "authorization" in primary.asked[0].headers
        assert all("authorization" not in asked.headers for asked in mirror.asked)


async def test_the_figures_of_all_are_the_mounts() -> None:
    figures = UpstreamFigures()
    sites = twins(2)
    async with fleet(*sites, figures=figures) as source:
        pin = (await source.stat(b"file")).version
        for at in range(0, 10_000, 1000):
            await ahead(source, at, at + 1000, pin)
        shown = source.shown()
        assert [one["role"] for one in shown] == ["primary", "mirror"]
        assert sum(one["requests"] for one in shown) == figures.requests == sum(len(site.asked) for site in sites)
        assert sum(one["bytes"] for one in shown) == figures.bytes
        assert figures.in_flight == 0
        assert all(upstream.health.queued_bytes == 0 for upstream in source.upstreams)
