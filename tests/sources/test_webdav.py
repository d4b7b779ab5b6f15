"""WebDAV servers that answer otherwise than they should, and those who ask for a password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rangefs.core.entries import Kind
from rangefs.core.settings import UpstreamSettings
from rangefs.errors import BadAnswer, Denied, NotAListing, NotFound, TooLarge, Unreachable, UsageError
from rangefs.sources import webdav
from tests.sources.reading import opened, read_range
from tests.sources.scripted import Asked, Honest, Wire, origin, reply

BODY = b"0123456789" * 50


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rangefs.sources.exchange.random.random", lambda: 0.0)


def multistatus(folder: str, *files: str, folders: tuple[str, ...] = (), status: int = 207) -> bytes:
    def response(href: str, properties: str) -> str:
        good = "<status>HTTP/1.1 200 OK</status>"
        return f"<response><href>{href}</href><propstat><prop>{properties}</prop>{good}</propstat></response>"

    kind = "<resourcetype><collection/></resourcetype>"
    parts = [response(folder, kind), *(response(folder + name + "/", kind) for name in folders)]
    parts += [response(folder + name, f"<getcontentlength>{len(BODY)}</getcontentlength>") for name in files]
    xml = f"<?xml version='1.0'?><multistatus xmlns='DAV:'>{''.join(parts)}</multistatus>"
    return reply(status, {"Content-Type": "application/xml"}, xml.encode())


def scripted(of: Callable[[Asked], bytes]) -> Callable[[Asked, Wire], Awaitable[bool]]:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(of(asked))
        return True

    return script


def share(asked: Asked) -> bytes:
    """``/dav/`` with a file and a folder, in it one more file."""
    if asked.method != "PROPFIND":
        return Honest(BODY).answer(asked)
    if asked.target == "/dav/":
        return multistatus("/dav/", "a%20b", folders=("sub",))
    return multistatus("/dav/sub/", "c") if asked.target == "/dav/sub/" else reply(404)


def dav(url: str) -> str:
    return url.replace("http://", "webdav://")


async def test_folders_are_asked_for_one_level_deep_and_files_by_their_hrefs() -> None:
    async with origin(scripted(share)) as server, opened(dav(server.url) + "dav") as source:
        listing = await source.list(b"")
        assert {(entry.name, entry.kind, entry.key) for entry in listing.entries} == {
            (b"a b", Kind.FILE, b"a%20b"),
            (b"sub", Kind.FOLDER, b"sub/"),
        }
        assert [entry.key for entry in (await source.list(b"sub/")).entries] == [b"sub/c"]
        assert await read_range(source, b"a%20b", 5, 15) == BODY[5:15]
        assert {asked.headers["depth"] for asked in server.asked if asked.method == "PROPFIND"} == {"1"}
        assert server.asked[-1].target == "/dav/a%20b"


async def test_a_root_that_redirects_is_taken_where_it_leads_and_a_folder_below_is_not() -> None:
    def of(asked: Asked) -> bytes:
        if asked.target == "/old/":
            return reply(301, {"Location": "/dav/"})
        if asked.target == "/dav/sub/":
            return reply(302, {"Location": "/elsewhere/"})
        return multistatus("/elsewhere/", "x") if asked.target == "/elsewhere/" else share(asked)

    async with origin(scripted(of)) as server, opened(dav(server.url) + "old/") as source:
        assert len((await source.list(b"")).entries) == 2
        with pytest.raises(NotAListing, match="redirects away"):
            await source.list(b"sub/")


@pytest.mark.parametrize("status", [405, 501])
async def test_a_server_without_webdav_is_named_as_such(status: int) -> None:
    async with origin(scripted(lambda asked: reply(status))) as server:
        with pytest.raises(BadAnswer, match="no WebDAV"):
            async with opened(dav(server.url)):
                pass


@pytest.mark.parametrize(
    "answer",
    [
        reply(207, {"Content-Type": "text/html"}, b"<html>Welcome</html>"),
        reply(207, {}, b""),
        multistatus("/other/", "x"),
        reply(207, {}, b"<multistatus xmlns='DAV:'/>"),
        reply(207, {}, b"<!DOCTYPE a [<!ENTITY b 'c'>]><multistatus xmlns='DAV:'/>"),
    ],
)
async def test_what_is_no_listing_is_never_an_empty_folder(answer: bytes) -> None:
    async with (
        origin(scripted(lambda asked: answer)) as server,
        opened(dav(server.url) + "dav/", connect=False) as source,
    ):
        with pytest.raises(NotAListing):
            await source.list(b"")


async def test_a_listing_that_breaks_off_is_unreachable_and_one_without_end_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(asked: Asked, wire: Wire) -> bool:
        await wire.send(multistatus("/", "x")[:-30])
        return False

    async with origin(broken) as server, opened(dav(server.url), connect=False) as source:
        with pytest.raises(Unreachable):
            await source.list(b"")
    monkeypatch.setattr(webdav, "PAGE_LIMIT_BYTES", 1000)
    many = multistatus("/", *(f"file{number}" for number in range(100)))
    async with origin(scripted(lambda asked: many)) as server, opened(dav(server.url), connect=False) as source:
        with pytest.raises(TooLarge):
            await source.list(b"")


async def test_a_folder_that_is_gone_is_not_found() -> None:
    async with origin(scripted(share)) as server, opened(dav(server.url) + "dav/") as source:
        with pytest.raises(NotFound):
            await source.list(b"gone/")
        with pytest.raises(NotFound):
            async with opened(dav(server.url) + "nothing/"):
                pass


async def test_a_password_or_token_is_sent_and_its_lack_said(tmp_path: Path) -> None:
    def of(asked: Asked) -> bytes:
        return share(asked) if asked.headers.get("authorization") == "Bearer planted" else reply(401)

    secret = tmp_path / "token"
    secret.write_text("planted\n")
    secret.chmod(0o600)
    async with origin(scripted(of)) as server:
        with pytest.raises(Denied, match="--netrc"):
            async with opened(dav(server.url) + "dav/"):
                pass
        async with opened(dav(server.url) + "dav/", UpstreamSettings(bearer_token_file=secret)) as source:
            assert await read_range(source, b"a%20b", 0, 10) == BODY[:10]
            assert "planted" not in source.identity + repr(source)


@pytest.mark.parametrize("spec", ["webdav://host/a?b=c", "webdav:///path", "webdav://me:secret@host/"])
async def test_a_spec_that_is_no_folder_or_holds_a_password_is_refused(spec: str) -> None:
    with pytest.raises(UsageError) as refused:
        async with opened(spec, connect=False):
            pass
    assert "secret" not in str(refused.value)
