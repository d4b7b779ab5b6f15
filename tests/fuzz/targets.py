"""Everything that reads bytes which others wrote, each as a function of bytes that may raise only what it declares.

`TARGETS` is what `test_parsers` plays in CI and `run` for hours. A target returns nothing; it raises where a parser let
something else escape than its declared errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import trio

from rangefs.core import ranges, retry, validators
from rangefs.core.chunkfile import Damaged, UnknownFormat, decode_header
from rangefs.core.listing import kept
from rangefs.core.listing.azure import parse_azure_page
from rangefs.core.listing.catalog import parse_catalog
from rangefs.core.listing.gcs import parse_gcs_page
from rangefs.core.listing.index import parse_index
from rangefs.core.listing.objects import listing_of
from rangefs.core.listing.s3 import parse_s3_page
from rangefs.core.listing.store_errors import parse_store_error
from rangefs.core.listing.webdav import parse_multistatus
from rangefs.core.listingfile import decode_listing
from rangefs.core.records import decode_all, decode_log_header, encode_frame, frames
from rangefs.core.snapshot import decode_current, decode_snapshot
from rangefs.core.versions import Level, Version
from rangefs.errors import NotADirectory, NotAListing, TooLarge, TooManyRedirects, UsageError
from rangefs.ops import control
from rangefs.sources.heads import Request
from rangefs.sources.redirects import next_hop
from rangefs.sources.streams import PlainStream
from rangefs.sources.urls import Origin, Url, parse_url
from rangefs.sources.wire import Connection

SAMPLES = Path(__file__).parent.parent / "samples"
PAGE = "http://host/folder/"
BASE = Url(Origin("http", "host", 80), b"/folder/file?query")
PIN = Version(b"key", Level.STRONG, '"x"', 1000)
NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Target:
    """One parser.

    seeds  samples (globs below tests/samples) and texts that are right: mutation starts from them
    """

    play: Callable[[bytes], None]
    globs: tuple[str, ...] = ()
    texts: tuple[bytes, ...] = ()

    def seeds(self) -> list[bytes]:
        found = [path.read_bytes() for glob in self.globs for path in sorted(SAMPLES.glob(glob))]
        return [*self.texts, *(seed[:20_000] for seed in found)]


def index(content_type: str) -> Callable[[bytes], None]:
    def play(data: bytes) -> None:
        with suppress(NotAListing, TooLarge):
            listing = parse_index(data, content_type, PAGE, b"folder/")
            for entry in listing.entries:
                assert entry.key.startswith(b"folder/"), entry
                assert 0 < len(entry.name) <= 255, entry
                assert not set(entry.name) & {0, 47}, entry
                assert entry.name not in (b".", b".."), entry
            again = kept.decode(kept.encode(listing))
            assert again is not None
            assert again.entries == listing.entries

    return play


def store_page(parse: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def play(data: bytes) -> None:
        with suppress(NotAListing, TooLarge):
            listing_of([parse(data)], b"", b"")  # type: ignore[list-item]  # each of them gives a page

    return play


def multistatus(data: bytes) -> None:
    with suppress(NotAListing, TooLarge, NotADirectory):
        parse_multistatus(data, PAGE, b"folder/")


def catalog(data: bytes) -> None:
    with suppress(NotAListing, TooLarge):
        parse_catalog(data, "http://host/files")


def header(data: bytes) -> None:
    """One value in every place where a header's value is read."""
    text = data.decode("latin-1")
    span = ranges.parse_content_range(text)
    assert span is None or 0 <= span.start <= span.end
    validators.parse_date(text)
    pause_s = retry.retry_after_s(text, NOW)
    assert pause_s is None or pause_s >= 0
    for name in (
        "etag",
        "last-modified",
        "date",
        "content-length",
        "content-range",
        "content-encoding",
        "content-type",
    ):
        headers = {"content-range": "bytes 0-99/1000", "etag": '"x"', name: text}
        for status in (200, 206, 416):
            ranges.judge(status, headers, b"key", 0, 100, PIN, NOW)
            ranges.judge(status, headers, b"key", 0, 100, None, NOW)
            ranges.judge_whole(status, headers, b"key", PIN, NOW)


def location(data: bytes) -> None:
    text = data.decode("latin-1")
    with suppress(TooManyRedirects):
        hop = next_hop(BASE, text)
        assert hop.origin.scheme in ("http", "https")
        assert b"\r" not in hop.target
        assert b"\n" not in hop.target
        assert b" " not in hop.target
    with suppress(UsageError):
        parse_url(text)


def wire(data: bytes) -> None:
    """An answer, head and body, as it comes off a socket in two pieces."""

    async def talk() -> None:
        ours, theirs = (trio.SocketStream(one) for one in trio.socket.socketpair())
        connection = Connection(PlainStream(ours), Origin("http", "host", 80))
        async with trio.open_nursery() as nursery, theirs:
            nursery.start_soon(send_and_end, theirs, data)
            with suppress(httpx.TransportError):
                await connection.ask(Request("GET", b"/", {"host": "host"}), 1, 1)
                size, buffer = 0, memoryview(bytearray(65_536))
                while count := await connection.readinto(buffer):
                    size += count
                assert size <= len(data)
            await connection.aclose()

    trio.run(talk)


async def send_and_end(stream: trio.SocketStream, data: bytes) -> None:
    half = len(data) // 2
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.send_all(data[:half])
        await stream.send_all(data[half:])
        await stream.send_eof()


def log_records(data: bytes) -> None:
    """A frame that was written so, and one that was not."""
    with suppress(Damaged):
        for count, _ in enumerate(decode_all(data)):
            assert count <= len(data)
    with suppress(Damaged, UnknownFormat):
        decode_log_header(data)
    for _ in frames(data, 1, 1, 0):
        pass
    if data:
        assert [frame.payload for frame in frames(encode_frame(1, 1, data) + data, 1, 1, 0)][:1] == [data]


def cache_file(data: bytes) -> None:
    for decode in (decode_header, decode_snapshot, decode_current, decode_listing):
        with suppress(Damaged, UnknownFormat):
            decode(data)
    kept.decode(data)


def request(data: bytes) -> None:
    """A line on the control socket."""

    async def echo(words: dict[str, object]) -> object:
        return sorted(words)

    answer = trio.run(control._reply, data.partition(b"\n")[0], {"status": echo})
    assert isinstance(json.loads(answer)["ok"], bool)


def store_error(data: bytes) -> None:
    found = parse_store_error(data)
    assert found is None or "\n" not in found.code + found.message


ANSWERS = (
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
    b'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 304 Not Modified\r\nETag: W/"x"\r\n\r\n',
)
HEADERS = (
    *(b"bytes 0-99/1000", b"bytes */1000", b"bytes 0-99/*", b'"etag"', b'W/"etag"', b"gzip", b"120"),
    *(b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"),
    b"multipart/byteranges; boundary=x",
)
LOCATIONS = (
    *(b"/x?y#z", b"https://host:8443/a/../b", b"//[::1]:80/x", b"http://user:pass@host/", b"file:///etc/passwd"),
    *(b"http://host\\@elsewhere/", b"%2e%2e/x", b"http://0x7f.1/", b""),
)
TARGETS: dict[str, Target] = {
    "html": Target(index("text/html"), ("*html*/*.body", "apache-*/*.body", "caddy-html/*.body", "mini_httpd/*.body")),
    "json": Target(index("application/json"), ("*-json/*.body",)),
    "xml": Target(index("text/xml"), ("nginx-xml/*.body",)),
    "sniffed": Target(index(""), ("lighttpd/*.body", "caddy-json/*.body", "nginx-xml/*.body")),
    "s3": Target(store_page(parse_s3_page), ("s3-*/*.body",)),
    "azure": Target(store_page(parse_azure_page), ("azure-*/*.body",)),
    "gcs": Target(store_page(parse_gcs_page), ("gcs-*/*.body",)),
    "webdav": Target(multistatus, ("*-dav/*.body",)),
    "catalog": Target(catalog, ("catalogs/*",)),
    "store error": Target(store_error, ("s3-*/no-*.body", "azure-*/no-*.body", "gcs-*/no-*.body")),
    "header": Target(header, texts=HEADERS),
    "location": Target(location, texts=LOCATIONS),
    "wire": Target(wire, texts=ANSWERS),
    "log records": Target(log_records),
    "cache file": Target(cache_file, texts=(b'[2,true,0,0,[["x",false,"x",5,null,0,""]]]',)),
    "request": Target(request, texts=(b'{"command": "status"}',)),
}
