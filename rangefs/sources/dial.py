"""From an origin to a byte stream: name, address, proxy, TLS."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h11
import httpx
import trio

from rangefs.core.settings import KiB
from rangefs.errors import Denied, UsageError
from rangefs.sources.streams import ByteStream, PlainStream
from rangefs.sources.tls import TlsStream
from rangefs.sources.urls import Origin

#: may a connection to this host name end at this address?
Door = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens connections. Raises httpx's connection errors, and `Denied` for certificates and closed doors.

    door   is asked about each address before a byte is sent; through a proxy, which looks names up itself, it isn't
    proxy  None for direct connections
    """

    tls: ssl.SSLContext
    door: Door
    proxy: Origin | None = None

    async def dial(self, origin: Origin, timeout_s: float) -> ByteStream:
        """A stream on which requests to `origin` can be written, within `timeout_s`."""
        with trio.move_on_after(timeout_s):
            if self.proxy is None:
                return await self._direct(origin, self.door)
            stream = await self._direct(self.proxy, None)
            if origin.scheme == "http":
                return stream
            try:
                await _connect_through(stream, origin)
            except BaseException:
                await stream.aclose()
                raise
            return await self._secured(stream, origin.host)
        raise httpx.ConnectTimeout("no connection in time")

    async def _direct(self, origin: Origin, door: Door | None) -> ByteStream:
        try:
            stream = PlainStream(await trio.open_tcp_stream(origin.host, origin.port))
        except OSError as error:
            raise httpx.ConnectError(reason(error)) from error
        try:
            address = stream.socket.getpeername()[0]
        except OSError as error:  # gone again already
            await stream.aclose()
            raise httpx.ConnectError(reason(error)) from error
        if door is not None and not door(origin.host, address):
            await stream.aclose()
            raise Denied(f"{origin.host} leads to the private address {address}, where the mount's own host is not")
        return await self._secured(stream, origin.host) if origin.scheme == "https" else stream

    async def _secured(self, stream: ByteStream, host: str) -> ByteStream:
        secured = TlsStream(stream, self.tls, host)
        try:
            await secured.do_handshake()
        except ssl.SSLCertVerificationError as error:
            await stream.aclose()
            raise Denied(f"the certificate of {host} is not good: {error.verify_message} (--ca-file?)") from error
        except (OSError, trio.BrokenResourceError) as error:  # SSLError is one
            await stream.aclose()
            raise httpx.ConnectError(f"TLS failed: {reason(error)}") from error
        except BaseException:
            await stream.aclose()
            raise
        return secured


async def _connect_through(stream: ByteStream, origin: Origin) -> None:
    """Asks the proxy at the other end for a tunnel (RFC 9110 9.3.6)."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}"
    talk = h11.Connection(h11.CLIENT)
    buffer = memoryview(bytearray(4 * KiB))
    try:
        await stream.send_all(
            talk.send(h11.Request(method="CONNECT", target=target, headers=[("Host", target)])) or b""
        )
        await stream.send_all(talk.send(h11.EndOfMessage()) or b"")
        while (event := talk.next_event()) is h11.NEED_DATA or isinstance(event, h11.InformationalResponse):
            if event is h11.NEED_DATA:
                talk.receive_data(bytes(buffer[: await stream.receive_into(buffer)]))
    except (h11.RemoteProtocolError, OSError, trio.BrokenResourceError) as error:
        raise httpx.ProxyError(reason(error)) from error
    if not isinstance(event, h11.Response) or not 200 <= event.status_code < 300:
        status = event.status_code if isinstance(event, h11.Response) else "none"
        raise httpx.ProxyError(f"the proxy opens no tunnel (status {status})")


def reason(error: BaseException) -> str:
    """The system's own words, without the wrapping of those who passed them on."""
    cause = error
    while not isinstance(cause, OSError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(error, OSError) and isinstance(error.__cause__, BaseExceptionGroup):
        cause = error.__cause__.exceptions[-1]
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and (cause.errno or 0) > 0:
        return os.strerror(cause.errno or 0)  # not cause.strerror: trio puts Python's own form of an address before it
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__


def tls_context(ca_file: Path | None, client_cert: Path | None) -> ssl.SSLContext:
    """The system's trust, or `ca_file` alone; `client_cert` is a PEM file with certificate and key."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if client_cert is not None:
            context.load_cert_chain(client_cert)
    except OSError as error:  # SSLError is one
        raise UsageError(f"can't load {client_cert or ca_file}: {reason(error)}") from error
    context.set_alpn_protocols(["http/1.1"])
    # Python 3.11.2, Debian 12's, takes every end of a connection for TLS's own goodbye. Constant: OpenSSL 3 and later.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context
