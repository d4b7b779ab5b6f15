"""Connections: httpcore's pool behind httpx's transport interface, with sockets that read more at a time.

Why not httpx's own transport: it reads 64 KiB at a time, which costs half of
the throughput (0.5 against 0.8 to 1.06 GB/s on loopback, 2 cores, 2026-11),
offers no place to check the address that a name resolved to, and normalises
paths. Why not its client: it follows redirects with foreign credentials,
decodes bodies, and costs another 0.3 ms of CPU a request.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable
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

#: may a connection to this host name end at this address?
Door = Callable[[str, str], bool]


class Transport(httpx.AsyncBaseTransport):
    """Sends one request, as it is, on a pooled connection.

    The exact target is taken from ``request.extensions["target"]`` where it is given. (httpcore knows that extension
    too, but would put it into a proxy's CONNECT as well, so it goes no further than here.)
    Raises httpcore's exceptions (`exchange` translates them) and `Denied` for certificates and closed doors.
    """

    def __init__(self, max_connections: int, tls: ssl.SSLContext, proxy: httpcore.Proxy | None, door: Door) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            proxy=proxy,
            max_connections=max_connections,
            # httpcore counts all connections against this: a lower number makes a busy pool close good ones.
            max_keepalive_connections=max_connections,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=Backend(door if proxy is None else None),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=url.raw_scheme,
                    host=url.raw_host,
                    port=url.port,
                    target=request.extensions.get("target", url.raw_path),
                ),
                headers=request.headers.raw,
                extensions={"timeout": request.extensions.get("timeout", {})},
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_RawBody(answer))

    async def aclose(self) -> None:
        await self._pool.aclose()


class _RawBody(httpx.AsyncByteStream):
    """The body's bytes as they come, neither decoded nor translated."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._answer.stream
        assert not isinstance(stream, Iterable)
        return stream.__aiter__()

    async def aclose(self) -> None:
        await self._answer.aclose()


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

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """More than `max_bytes` on purpose: h11 takes what it is given, and each round costs the same."""
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
