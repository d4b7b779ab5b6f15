"""Connections: httpcore's, kept and handed out by us behind httpx's transport interface.

Why not httpx's own transport: it reads 64 KiB at a time, which costs half of
the throughput (0.5 against 0.8 to 1.06 GB/s on loopback, 2 cores, 2026-11),
offers no place to check the address that a name resolved to, and normalises
paths. Why not httpcore's pool: for each request it polls every idle socket
and counts its connections once per connection; with 16 of them a small GET
cost 0.80 ms of CPU instead of 0.38. Why not httpx's client: it follows
redirects with foreign credentials, decodes bodies, and costs 0.3 ms more.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
import trio
from httpcore import AsyncNetworkStream

from rangefs.core.settings import KiB, MiB
from rangefs.errors import Denied, UsageError

# Reads grow from the first to the second while the socket keeps filling them, so that small answers don't pay for
# large buffers. 64 KiB is httpcore's own; above 1 MiB nothing was gained.
READ_MIN_BYTES = 64 * KiB
READ_MAX_BYTES = MiB
# Idle connections are closed before a server does it (nginx 75 s, Apache 5 s: the pool also looks before reuse).
KEEPALIVE_S = 60.0

Connection = httpcore.AsyncConnectionInterface

#: may a connection to this host name end at this address?
Door = Callable[[str, str], bool]


class Transport(httpx.AsyncBaseTransport):
    """Sends one request, as it is, on a connection that was idle or is new. Whoever asks limits how many there are.

    The exact target is taken from ``request.extensions["target"]`` where it is given. (httpcore knows that extension
    too, but would put it into a proxy's CONNECT as well, so it goes no further than here.)
    Raises httpcore's exceptions (`failures` translates them) and `Denied` for certificates and closed doors.

    max_idle  connections kept open for later, all origins together
    """

    def __init__(self, max_idle: int, tls: ssl.SSLContext, proxy: httpcore.Proxy | None, door: Door) -> None:
        # Only its factory is used: it knows which kind of connection goes through which kind of proxy.
        self._factory = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            proxy=proxy,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=Backend(door if proxy is None else None),
        )
        self._max_idle = max_idle
        self._idle: list[Connection] = []  # least recently used first
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.extensions.get("target", request.url.raw_path),
        )
        connection = await self._take(url.origin)
        answer = await connection.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=url,
                headers=request.headers.raw,
                extensions={"timeout": request.extensions.get("timeout", {})},
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_RawBody(answer, connection, self))

    async def drop_idle(self) -> None:
        """Closes all idle connections: after silence on one of them, the way they took may be gone."""
        idle, self._idle = self._idle, []
        await _close(idle)

    async def aclose(self) -> None:
        """Closes the idle connections now and the busy ones when their answers are closed."""
        self._closed = True
        await self.drop_idle()

    async def _take(self, origin: httpcore.Origin) -> Connection:
        """The idle connection to `origin` that was used last and is still good, or a new one."""
        expired = []
        found = None
        for connection in reversed(self._idle):
            if connection.can_handle_request(origin):
                if not connection.has_expired():
                    found = connection
                    break
                expired.append(connection)
        for connection in (*expired, *([found] if found else ())):
            self._idle.remove(connection)
        await _close(expired)
        return found or self._factory.create_connection(origin)

    async def give_back(self, connection: Connection) -> None:
        """The answer on `connection` is over. Not idle means that it was given up in the middle, and is closed."""
        if not connection.is_idle():
            return
        self._idle.append(connection)
        surplus = len(self._idle) if self._closed else max(0, len(self._idle) - self._max_idle)
        closing, self._idle = self._idle[:surplus], self._idle[surplus:]
        await _close(closing)


async def _close(connections: list[Connection]) -> None:
    with trio.CancelScope(shield=True):  # closing a socket does not wait
        for connection in connections:
            await connection.aclose()


class _RawBody(httpx.AsyncByteStream):
    """The body's bytes as they come, neither decoded nor translated. Iterate once."""

    def __init__(self, answer: httpcore.Response, connection: Connection, transport: Transport) -> None:
        self._answer = answer
        self._connection = connection
        self._transport = transport
        self._pieces: AsyncIterator[bytes] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._answer.stream
        assert not isinstance(stream, Iterable)
        self._pieces = stream.__aiter__()
        return self

    async def __anext__(self) -> bytes:
        assert self._pieces is not None
        try:
            return await self._pieces.__anext__()
        except BaseException:
            self._pieces = None  # a generator that raised is over
            raise

    async def aclose(self) -> None:
        """Gives back the connection if the body has been read to its end, else closes it. Does not wait.

        httpcore iterates through nested generators. Left alone half-way they are finalised by the garbage collector,
        much later and with a warning each; so the socket is made to fail and they are run to their ends.
        """
        if self._pieces is not None:
            network = self._answer.extensions["network_stream"]
            assert isinstance(network, Stream)
            network.abandon()
            with suppress(httpcore.ReadError, httpcore.RemoteProtocolError):
                async for _ in self._pieces:  # what had been received, 1 MiB at most
                    pass
            self._pieces = None
        await self._answer.aclose()
        await self._transport.give_back(self._connection)


class Backend(httpcore.AsyncNetworkBackend):
    """Opens trio's sockets. `door` is asked about each address before a byte is sent; None asks nobody (proxies)."""

    def __init__(self, door: Door | None) -> None:
        self._door = door

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            try:
                stream = await trio.open_tcp_stream(host, port)
            except OSError as error:
                raise httpcore.ConnectError(_reason(error)) from error
            address = stream.socket.getpeername()[0]
            if self._door is not None and not self._door(host, address):
                await trio.aclose_forcefully(stream)
                raise Denied(f"{host} leads to the private address {address}, where the mount's own host is not")
            return Stream(stream)
        raise httpcore.ConnectTimeout("no connection in time")

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class Stream(httpcore.AsyncNetworkStream):
    """A socket, or TLS over one."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[Any]) -> None:
        self._stream = stream
        self._read_bytes = READ_MIN_BYTES
        self._abandoned = False

    def abandon(self) -> None:
        """No more reads: the next one fails without looking at the socket."""
        self._abandoned = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """More than `max_bytes` on purpose: h11 takes what it is given, and each round costs the same."""
        if self._abandoned:
            raise httpcore.ReadError("given up")
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            try:
                data = await self._stream.receive_some(self._read_bytes)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise httpcore.ReadError(_reason(error)) from error
            if len(data) == self._read_bytes:
                self._read_bytes = min(READ_MAX_BYTES, 2 * self._read_bytes)
            elif len(data) < self._read_bytes // 4:
                self._read_bytes = max(READ_MIN_BYTES, self._read_bytes // 2)
            return bytes(data)
        raise httpcore.ReadTimeout("silent")

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            try:
                await self._stream.send_all(buffer)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise httpcore.WriteError(_reason(error)) from error
            return
        raise httpcore.WriteTimeout("silent")

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncNetworkStream:
        stream: trio.SSLStream[Any] = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            try:
                await stream.do_handshake()
            except trio.BrokenResourceError as error:
                await self.aclose()
                if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                    why = error.__cause__.verify_message
                    raise Denied(f"the certificate of {server_hostname} is not good: {why} (--ca-file?)") from error
                raise httpcore.ConnectError(f"TLS failed: {_reason(error)}") from error
            except BaseException:
                await self.aclose()
                raise
            return Stream(stream)
        await self.aclose()
        raise httpcore.ConnectTimeout("no TLS handshake in time")

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks for; the rest of its vocabulary is for callers that we don't have."""
        if info == "is_readable":
            stream = self._stream
            while isinstance(stream, trio.SSLStream):
                stream = stream.transport_stream
            return stream.socket.is_readable()
        if info == "ssl_object":
            return None  # asked for to find HTTP/2, which we never offer
        return None


def _reason(error: BaseException) -> str:
    """The system's own words, without trio's wrapping."""
    cause = error
    while not isinstance(cause, OSError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(error, OSError) and isinstance(error.__cause__, BaseExceptionGroup):
        cause = error.__cause__.exceptions[-1]
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__


def tls_context(ca_file: Path | None, client_cert: Path | None) -> ssl.SSLContext:
    """The system's trust, or `ca_file` alone; `client_cert` is a PEM file with certificate and key."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if client_cert is not None:
            context.load_cert_chain(client_cert)
    except OSError as error:  # SSLError is one
        raise UsageError(f"can't load {client_cert or ca_file}: {_reason(error)}") from error
    return context


def proxy_at(url: str) -> httpcore.Proxy:
    """An http(s) proxy. Raises `UsageError`."""
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise UsageError("--proxy: expected http://HOST:PORT")
    return httpcore.Proxy(url)
