"""https: whom to trust, and that doubt is never tried again."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Level, Version
from rangefs.errors import Denied, TooManyRedirects, Unreachable, UsageError
from tests.sources.reading import opened, read_range, read_whole
from tests.sources.scripted import Asked, Honest, Wire, origin, reply

BODY = bytes(range(256)) * 4096
PIN = Version(b"file", Level.STRONG, '"x"', len(BODY))


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


async def test_a_trusted_server_is_read(certificate: Path) -> None:
    settings = UpstreamSettings(ca_file=certificate)
    async with (
        origin(Honest(BODY), server_side(certificate)) as server,
        opened(server.url, settings, connect=False) as source,
    ):
        assert await read_range(source, b"file", 0, len(BODY), PIN) == BODY
        assert await read_range(source, b"file", 5, 10, PIN) == BODY[5:10]
        assert server.connections == 1


async def test_an_unknown_certificate_is_denied_at_once(certificate: Path) -> None:
    async with origin(Honest(BODY), server_side(certificate)) as server, opened(server.url, connect=False) as source:
        with pytest.raises(Denied, match="certificate"):
            await read_range(source, b"file", 0, 10, PIN)
        assert server.connections == 1


async def test_a_certificate_for_another_name_is_denied(certificate: Path) -> None:
    settings = UpstreamSettings(ca_file=certificate)
    async with origin(Honest(BODY), server_side(certificate)) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        async with opened(url, settings, connect=False) as source:
            with pytest.raises(Denied, match="certificate"):
                await read_range(source, b"file", 0, 10, PIN)


@pytest.mark.parametrize("goodbye", [True, False])
async def test_a_body_that_only_the_close_ends_is_whole_only_after_tls_said_goodbye(
    certificate: Path, goodbye: bool
) -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(200, {"Connection": "close"}, BODY[: len(BODY) if goodbye else 1000], length=False))
        if goodbye:
            await wire.goodbye()
        return False

    settings = UpstreamSettings(ca_file=certificate)
    async with (
        origin(script, server_side(certificate)) as server,
        opened(server.url, settings, connect=False) as source,
    ):
        if goodbye:
            assert await read_whole(source, b"file") == BODY
        else:
            with pytest.raises(Unreachable, match="goodbye"):
                await read_whole(source, b"file")


async def test_https_never_leads_to_plain_http(certificate: Path) -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(302, {"Location": plain.url}))
        return True

    settings = UpstreamSettings(ca_file=certificate)
    async with (
        origin(Honest(BODY)) as plain,
        origin(script, server_side(certificate)) as server,
        opened(server.url, settings, connect=False) as source,
    ):
        with pytest.raises(TooManyRedirects):
            await read_range(source, b"file", 0, 10, PIN)
        assert not plain.asked


def test_a_ca_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    from rangefs.core.figures import UpstreamFigures
    from rangefs.sources.registry import open_source

    (tmp_path / "ca").write_text("not a certificate")
    for path in (tmp_path / "ca", tmp_path / "missing"):
        with pytest.raises(UsageError):
            open_source("https://host/", UpstreamSettings(ca_file=path), UpstreamFigures())
