"""Connections: kept while they are good, dropped when they are not, and led through proxies."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.figures import UpstreamFigures
from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Level, Version
from rangefs.errors import BadAnswer, Denied, Unreachable, UsageError
from rangefs.sources.heads import Request
from rangefs.sources.streams import PlainStream
from rangefs.sources.urls import Origin
from rangefs.sources.web import WebSource
from rangefs.sources.wire import Connection, State
from tests.sources.reading import opened, read_range
from tests.sources.scripted import Asked, Honest, Wire, origin, reply

BODY = bytes(range(256)) * 16
PIN = Version(b"file", Level.STRONG, '"x"', len(BODY))
HONEST = Honest(BODY)


async def test_one_connection_serves_requests_that_follow_each_other() -> None:
    async with origin(HONEST) as server, opened(server.url, connect=False) as source:
        for start in range(0, 1000, 100):
            assert await read_range(source, b"file", start, start + 100, PIN) == BODY[start : start + 100]
        await source.stat(b"file")
        assert server.connections == 1


@pytest.mark.parametrize(
    "headers", [b"Connection: close\r\n", b"Connection: keep-alive, Close\r\n"], ids=["close", "among-others"]
)
async def test_a_connection_that_says_close_is_not_used_again(headers: bytes) -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        head, body = HONEST.answer(asked).split(b"\r\n\r\n", 1)
        await wire.send(head + b"\r\n" + headers + b"\r\n" + body)
        return True

    async with origin(script) as server, opened(server.url, connect=False) as source:
        for start in (0, 100):
            await read_range(source, b"file", start, start + 100, PIN)
        assert server.connections == 2


async def test_bytes_after_a_body_are_never_taken_for_the_next_answer() -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(HONEST.answer(asked) + reply(200, {"ETag": '"x"'}, b"smuggled"))
        return True

    async with origin(script) as server, opened(server.url, connect=False) as source:
        for start in (0, 100):
            assert await read_range(source, b"file", start, start + 100, PIN) == BODY[start : start + 100]
        assert server.connections == 2


async def test_a_server_that_closes_idle_connections_costs_no_error() -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(HONEST.answer(asked))
        return False

    figures = UpstreamFigures()
    async with origin(script) as server, opened(server.url, figures=figures, connect=False) as source:
        for start in range(0, 500, 100):
            assert await read_range(source, b"file", start, start + 100, PIN) == BODY[start : start + 100]
    assert figures.errors == 0


async def test_after_silence_idle_connections_are_made_anew() -> None:
    silent = False

    async def script(asked: Asked, wire: Wire) -> bool:
        if silent and wire in used:
            await wire.closed_by_peer()
            return False
        used.add(wire)
        await wire.send(HONEST.answer(asked))
        return True

    used: set[Wire] = set()
    async with origin(script) as server:
        source = WebSource(server.url, UpstreamSettings(), UpstreamFigures(), stall_timeout_s=0.1)
        async with trio.open_nursery() as nursery:
            for start in range(0, 1600, 100):
                nursery.start_soon(read_range, source, b"file", start, start + 100, PIN)
        silent, before = True, len(server.asked)  # as after a suspend: every connection is a black hole
        assert await read_range(source, b"file", 0, 100, PIN) == BODY[:100]
        assert len(server.asked) == before + 2
        await source.aclose()


@pytest.mark.parametrize("way", ["hangs up", "resets", "is silent"])
async def test_a_request_lost_with_an_idle_connection_is_sent_again_on_a_new_one(way: str) -> None:
    """Also where all idle connections have died, as after a move: not each of them costs a try."""
    dead = 0

    async def script(asked: Asked, wire: Wire) -> bool:
        nonlocal dead
        if dead and server.connections <= 4:
            dead -= 1
            if way == "resets":
                await wire.reset()
            elif way == "is silent":
                await wire.closed_by_peer()
            return False
        if not dead:
            await trio.sleep(0.05)  # so that each of the first four takes a connection of its own
        await wire.send(HONEST.answer(asked))
        return True

    figures = UpstreamFigures()
    async with origin(script) as server, opened(server.url, figures=figures, connect=False) as source:
        async with trio.open_nursery() as nursery:
            for start in range(4):
                nursery.start_soon(read_range, source, b"file", start, start + 10, PIN)
        assert server.connections == 4
        dead = 4
        with trio.fail_after(5):
            assert await read_range(source, b"file", 0, 100, PIN) == BODY[:100]
        assert (server.connections, dead) == (5, 3)
        assert figures.retries == 0


async def test_interim_answers_are_passed_over_but_not_without_end(no_pauses: None) -> None:
    async def early_hints(asked: Asked, wire: Wire) -> bool:
        await wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * hints + HONEST.answer(asked))
        return True

    hints = 2
    async with origin(early_hints) as server, opened(server.url, connect=False) as source:
        assert await read_range(source, b"file", 0, 100, PIN) == BODY[:100]
        hints = 1000
        with pytest.raises(Unreachable, match="interim"):
            await read_range(source, b"file", 0, 100, PIN)


async def test_a_head_without_end_is_refused_early(no_pauses: None) -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            await wire.send(b"X: " + b"y" * 10_000 + b"\r\n")
        await wire.closed_by_peer()
        return False

    async with origin(script) as server:
        source = WebSource(server.url, UpstreamSettings(), UpstreamFigures(), stall_timeout_s=5)
        with trio.fail_after(4), pytest.raises(Unreachable):  # nobody waits for its end
            await read_range(source, b"file", 0, 100, PIN)
        await source.aclose()


async def test_no_door_is_opened_to_another_kind_of_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(302, {"Location": f"http://localhost:{inner.port}/secret"}))
        return True

    # Seen from outside, our own loopback is a public place and "localhost" leads to a private one.
    kinds = iter(["global", "loopback", "loopback"])
    monkeypatch.setattr("rangefs.sources.redirects._kind", lambda address: next(kinds))
    async with origin(HONEST) as inner, origin(script) as outer, opened(outer.url, connect=False) as source:
        with pytest.raises(Denied, match="private address"):
            await read_range(source, b"file", 0, 100, PIN)
        assert not inner.asked


# -- any answer, in any pieces -------------------------------------------------------


class Pieces:
    """A server's side that has been said already, in pieces; the end of the connection comes after them.

    Every second look finds nothing yet.
    """

    cut_off = False

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = deque(piece for piece in pieces if piece)
        self._looks = 0
        self._wish = 1

    def receive_now(self, buffer: memoryview) -> int | None:
        self._looks += 1
        return None if self._looks % 2 else self._next(buffer)

    async def receive_into(self, buffer: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        assert self._wish <= max(1, sum(map(len, self._pieces))), "a socket would wait for ever"
        return self._next(buffer)

    def _next(self, buffer: memoryview) -> int:
        piece = self._pieces.popleft() if self._pieces else b""
        if len(piece) > len(buffer):
            self._pieces.appendleft(piece[len(buffer) :])
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        return count

    def wake_at(self, count: int) -> None:
        self._wish = count

    def send_now(self, data: bytes) -> int:
        return len(data) // 2

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def spoken(wire: bytes, cuts: list[int]) -> tuple[bytes, State]:
    """What a connection makes of `wire` cut at `cuts`: the body, and the state it is left in."""
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    stream = Pieces([wire[a:b] for a, b in pairwise(edges)])
    connection = Connection(stream, Origin("http", "host", 80))  # type: ignore[arg-type]
    await connection.ask(Request("GET", b"/", {"host": "host"}), 1.0, 1.0)
    body, buffer = b"", memoryview(bytearray(700))
    while count := await connection.readinto(buffer):
        body += buffer[:count]
    return body, connection.state


@given(st.binary(max_size=2000), st.lists(st.integers(0, 5000), max_size=8), st.lists(st.integers(1, 300), max_size=5))
def test_any_framing_cut_anywhere_gives_the_body(body: bytes, cuts: list[int], sizes: list[int]) -> None:
    chunks, rest = b"", body
    for size in [*sizes, len(body)]:
        if rest:
            chunks += b"%x\r\n%s\r\n" % (len(rest[:size]), rest[:size])
            rest = rest[size:]
    chunked = reply(200, {"Transfer-Encoding": "chunked"}, chunks + b"0\r\n\r\n")
    for wire, left in (
        (reply(200, {}, body), State.IDLE),
        (chunked, State.IDLE),
        (reply(200, {}, body, length=False), State.OVER),
        (reply(200, {"Connection": "close"}, body), State.OVER),
        (reply(103).replace(b"Content-Length: 0\r\n", b"") + reply(200, {}, body), State.IDLE),
    ):
        assert trio.run(spoken, wire, cuts) == (body, left)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_no_bytes_break_a_connection_but_in_the_known_ways(noise: bytes, cuts: list[int]) -> None:
    for wire in (noise, b"HTTP/1.1 200 OK\r\n" + noise, reply(200, {"Transfer-Encoding": "chunked"}, noise)):
        with suppress(httpx.TransportError):
            trio.run(spoken, wire, cuts)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "9" * 5000},
        {"Content-Length": "-1"},
        {"Content-Length": "1, 2"},
        {"Content-Length": "0x10"},
        {"Transfer-Encoding": "gzip, chunked"},
        {"Transfer-Encoding": "chunked", "Content-Range": "bytes 0-9/" + "9" * 5000},
    ],
    ids=["huge", "negative", "two", "hex", "two-codings", "huge-total"],
)
async def test_framing_that_cannot_be_is_one_clear_error(headers: dict[str, str], no_pauses: None) -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(206, {"ETag": '"x"', **headers}, b"5\r\nhello\r\n0\r\n\r\n"))
        return False

    async with origin(script) as server, opened(server.url, connect=False) as source:
        with pytest.raises((Unreachable, BadAnswer)):
            await read_range(source, b"file", 0, 100, PIN)


# -- proxies -----------------------------------------------------------------------


async def test_a_plain_request_goes_to_the_proxy_whole() -> None:
    async with origin(HONEST) as proxy:
        settings = UpstreamSettings(proxy=proxy.url)
        async with opened("http://far.example/a%20b/", settings, connect=False) as source:
            assert await read_range(source, b"file", 0, 100, PIN) == BODY[:100]
        (asked,) = proxy.asked
        assert asked.target == "http://far.example/a%20b/file"
        assert asked.headers["host"] == "far.example"


async def test_an_encrypted_request_goes_through_a_tunnel(certificate: Path) -> None:
    async def proxy_script(asked: Asked, wire: Wire) -> bool:
        assert asked.method == "CONNECT"
        host, port = asked.target.split(":")
        upstream = await trio.open_tcp_stream(host, int(port))
        await wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with upstream, trio.open_nursery() as nursery:
            nursery.start_soon(wire.pump_to, upstream)
            async for data in upstream:
                await wire.send(data)
            nursery.cancel_scope.cancel()
        return False

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with origin(HONEST, context) as server, origin(proxy_script) as proxy:
        settings = UpstreamSettings(proxy=proxy.url, ca_file=certificate)
        async with opened(server.url, settings, connect=False) as source:
            assert await read_range(source, b"file", 0, 100, PIN) == BODY[:100]
        assert "authorization" not in proxy.asked[0].headers
        assert [asked.method for asked in proxy.asked] == ["CONNECT"]


async def test_a_proxy_that_refuses_is_unreachable(no_pauses: None) -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(403))
        return False

    async with origin(script) as proxy:
        settings = UpstreamSettings(proxy=proxy.url)
        async with opened("https://far.example/", settings, connect=False) as source:
            with pytest.raises(Unreachable, match="proxy"):
                await read_range(source, b"file", 0, 100, PIN)


def test_a_proxy_must_be_a_web_proxy() -> None:
    for proxy in ("socks5://localhost:1080", "localhost:8080", "http://user:pw@host/"):
        with pytest.raises(UsageError):
            WebSource("http://host/", UpstreamSettings(proxy=proxy), UpstreamFigures())


# -- naps: a fast body is looked at a few times, not at each packet ---------------------


@asynccontextmanager
async def talking(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[Connection]:
    """A connection to a server on loopback that reads one request and then does as told."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # the test has seen enough
            await stream.receive_some()
            await serve(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        stream = PlainStream(await trio.open_tcp_stream("127.0.0.1", port))
        connection = Connection(stream, Origin("http", "127.0.0.1", port))
        yield connection
        await connection.aclose()
        nursery.cancel_scope.cancel()


FAST, PACED = 4 << 20, 64 << 10


async def paced(stream: trio.SocketStream) -> None:
    """A head, and 4 MiB at 64 KiB a millisecond or so: fast enough to nap between."""
    await stream.send_all(b"HTTP/1.1 206 Partial\r\nContent-Length: %d\r\n\r\n" % FAST)
    for _ in range(FAST // PACED):
        await stream.send_all(bytes(PACED))
        await trio.sleep(0.001)


async def test_a_fast_body_wakes_its_reader_seldom_and_comes_whole() -> None:
    buffer, got, reads = memoryview(bytearray(FAST)), 0, 0
    async with talking(paced) as connection:
        await connection.ask(Request("GET", b"/", {"host": "host"}), 5, 5)
        with trio.fail_after(10):
            while count := await connection.readinto(buffer[got:] or buffer):
                got, reads = got + count, reads + 1
        assert got == FAST
        assert connection.good
    assert reads <= FAST // PACED // 2


async def test_what_has_come_before_a_silence_is_not_lost_in_a_nap() -> None:
    async def then_silent(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 206 Partial\r\nContent-Length: %d\r\n\r\n" % (2 * FAST))
        for _ in range(FAST // PACED):
            await stream.send_all(bytes(PACED))
            await trio.sleep(0.001)
        await stream.send_all(b"last words")
        await trio.sleep_forever()

    buffer, got, silent = memoryview(bytearray(2 * FAST)), 0, False
    async with talking(then_silent) as connection:
        await connection.ask(Request("GET", b"/", {"host": "host"}), 5, 0.3)
        with trio.fail_after(10):
            while not silent:
                try:
                    got += await connection.readinto(buffer[got:])
                except httpx.ReadTimeout:
                    silent = True
    assert got == FAST + len(b"last words")


async def test_an_idle_connection_notices_a_single_byte_that_nobody_asked_for() -> None:
    async def one_too_many(stream: trio.SocketStream) -> None:
        await paced(stream)
        await go.wait()
        await stream.send_all(b"!")
        await trio.sleep_forever()

    go, buffer = trio.Event(), memoryview(bytearray(FAST))
    async with talking(one_too_many) as connection:
        await connection.ask(Request("GET", b"/", {"host": "host"}), 5, 5)
        while await connection.readinto(buffer):
            pass
        assert connection.good
        go.set()
        with trio.fail_after(5):
            while connection.good:
                await trio.sleep(0.001)
