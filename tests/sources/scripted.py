"""An origin that answers exactly the bytes that a test scripts, however wrong, on a raw socket."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import trio


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def range(self) -> tuple[int, int] | None:
        """``[start, end)`` as asked."""
        if "range" not in self.headers:
            return None
        first, last = self.headers["range"].removeprefix("bytes=").split("-")
        return int(first), int(last) + 1


class Wire:
    """The connection, in the hands of a script."""

    def __init__(self, stream: trio.abc.Stream, raw: trio.SocketStream) -> None:
        self._stream = stream
        self._raw = raw

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def goodbye(self) -> None:
        """Say so before the close: TLS's close_notify, which trio leaves out where it may."""
        if isinstance(self._stream, trio.SSLStream):
            with trio.move_on_after(1), suppress(trio.BrokenResourceError):
                await self._stream.unwrap()

    async def reset(self) -> None:
        """RST instead of FIN."""
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._raw.aclose()

    async def pump_to(self, other: trio.abc.SendStream) -> None:
        """Hands on whatever comes, for proxies."""
        while data := await self._stream.receive_some():
            await other.send_all(data)

    async def closed_by_peer(self) -> None:
        """Waits until the other side has closed, in whatever way."""
        with suppress(trio.BrokenResourceError):
            while await self._stream.receive_some():
                pass


Script = Callable[[Asked, Wire], Awaitable[bool]]  #: whether the connection may be used again


@dataclass(slots=True)
class Origin:
    """A scripted server under way: its address, and what it was asked so far."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/"


def reply(status: int, headers: dict[str, str] | None = None, body: bytes = b"", length: bool = True) -> bytes:
    """A whole answer; `length` says whether it has a Content-Length of its body (where none is given)."""
    fields = dict(headers or {})
    if length and not {"content-length", "transfer-encoding"} & {name.lower() for name in fields}:
        fields["Content-Length"] = str(len(body))
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@asynccontextmanager
async def origin(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """Serves `script` on a free loopback port."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = Origin(listener.socket.getsockname()[1], scheme="https" if tls else "http")
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, partial(_talk, server, script, tls), [listener]))
        yield server
        nursery.cancel_scope.cancel()


async def _talk(server: Origin, script: Script, tls: ssl.SSLContext | None, raw: trio.SocketStream) -> None:
    server.connections += 1
    stream: trio.abc.Stream = trio.SSLStream(raw, tls, server_side=True, https_compatible=True) if tls else raw
    wire, pending = Wire(stream, raw), b""
    try:
        while True:
            while b"\r\n\r\n" not in pending:
                data = await stream.receive_some()
                if not data:
                    return
                pending += bytes(data)
            head, pending = pending.split(b"\r\n\r\n", 1)
            asked = _parsed(head)
            server.asked.append(asked)
            if not await script(asked, wire):
                return
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
        return  # the client went, as scripts often make it
    finally:
        await trio.aclose_forcefully(raw)


def _parsed(head: bytes) -> Asked:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    fields = (line.split(":", 1) for line in lines)
    return Asked(method, target, {name.lower(): value.strip() for name, value in fields})


class Honest:
    """A well-behaved server of one body for every path; tests change what they want to be wrong."""

    def __init__(self, body: bytes, etag: str = '"x"') -> None:
        self.body = body
        self.etag = etag

    async def __call__(self, asked: Asked, wire: Wire) -> bool:
        await wire.send(self.answer(asked))
        return True

    def answer(self, asked: Asked) -> bytes:
        fields = {"ETag": self.etag, "Accept-Ranges": "bytes"}
        if asked.headers.get("if-match", self.etag) != self.etag:
            return reply(412)
        if asked.method == "HEAD":
            return reply(200, fields | {"Content-Length": str(len(self.body))})
        if asked.range is None:
            return reply(200, fields, self.body)
        start, end = asked.range
        end = min(end, len(self.body))
        if start >= end:
            return reply(416, {"Content-Range": f"bytes */{len(self.body)}"})
        return reply(206, fields | {"Content-Range": f"bytes {start}-{end - 1}/{len(self.body)}"}, self.body[start:end])
