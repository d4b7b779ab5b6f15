"""TLS over a socket, many records at a time.

trio's SSLStream gives out one record of 16 KiB a call and reads the socket in
as small pieces: 2.5 s of CPU a GiB on loopback, most of it bookkeeping between
records. An HTTP/1.1 client talks and listens in turns, so it needs none of the
care that SSLStream takes for both at once.
"""

from __future__ import annotations

import ssl

import trio

from rangefs.core.settings import KiB
from rangefs.sources.streams import ByteStream

# Ciphertext read from the socket at a time: 16 records.
CIPHER_BYTES = 256 * KiB


# How Python 3.11.2 calls an `ssl.SSLEOFError`.
UNEXPECTED_EOF = "UNEXPECTED_EOF_WHILE_READING"


class TlsStream:
    """TLS over another `ByteStream`.

    A connection that ends without TLS's own goodbye (close_notify) counts as ended, as browsers and curl have it:
    where HTTP's framing does not tell a cut-off body, `cut_off` does.

    cut_off  it ended so
    """

    def __init__(self, transport: ByteStream, context: ssl.SSLContext, host: str) -> None:
        self._transport = transport
        self.cut_off = False
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._cipher = memoryview(bytearray(CIPHER_BYTES))
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def do_handshake(self) -> None:
        """Raises `ssl.SSLError` (`SSLCertVerificationError` among them) and `trio.BrokenResourceError`."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                await self._flush()  # the alert tells the other side why
                raise
            else:
                await self._flush()
                return

    @property
    def socket(self) -> trio.socket.SocketType:
        return self._transport.socket

    def wake_at(self, count: int) -> None:
        """Bytes of the body are not those of the socket."""

    def receive_now(self, buffer: memoryview) -> int | None:
        return None  # what has come may have to be answered first

    async def receive_into(self, buffer: memoryview) -> int:
        """All records that are here; waits only where there is none yet."""
        size = 0
        while size < len(buffer):
            try:
                count = self._decrypt(buffer[size:])
            except ssl.SSLWantReadError:
                await self._flush()  # an answer to a change of keys
                if size:
                    break
                await self._fill()
                continue
            if not count:
                break
            size += count
        return size

    def _decrypt(self, into: memoryview) -> int:
        """Bytes of the next record; 0 at the end. Raises `ssl.SSLWantReadError` and `trio.BrokenResourceError`."""
        try:
            return self._tls.read(len(into), into)  # type: ignore[return-value]  # with a buffer, it counts
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLZeroReturnError:
            return 0
        except ssl.SSLError as error:
            if isinstance(error, ssl.SSLEOFError) or error.reason == UNEXPECTED_EOF:
                self.cut_off = True
                return 0
            raise trio.BrokenResourceError(error.reason or "TLS failed") from error

    def send_now(self, data: bytes) -> int:
        return 0

    async def send_all(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(error.reason or "TLS failed") from error
        await self._flush()

    async def aclose(self) -> None:
        """Closes at once, without TLS's goodbye: nobody waits for it in HTTP."""
        await self._transport.aclose()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._transport.send_all(self._outgoing.read())

    async def _fill(self) -> None:
        count = await self._transport.receive_into(self._cipher)
        if count:
            self._incoming.write(self._cipher[:count])
        else:
            self._incoming.write_eof()
