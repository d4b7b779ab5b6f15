"""Connections kept and handed out, behind httpx's transport interface.

Why not httpx's own transport: it reads 64 KiB at a time, which costs half of
the throughput (0.5 against 0.8 to 1.06 GB/s on loopback, 2 cores, 2026-11),
offers no place to check the address that a name resolved to, and normalises
paths. Why not httpcore's pool: for each request it polls every idle socket
and counts its connections once per connection; with 16 of them a small GET
cost 0.80 ms of CPU instead of 0.38. Why not httpx's client: it follows
redirects with foreign credentials, decodes bodies, and costs 0.3 ms more.
"""

from __future__ import annotations

import httpx
import trio

from rangefs.sources.dial import Dialer
from rangefs.sources.urls import Origin
from rangefs.sources.wire import Connection, State

# Idle connections are closed before most servers do it (nginx: 75 s; for the others each is looked at before use).
KEEPALIVE_S = 60.0


class Transport(httpx.AsyncBaseTransport):
    """Sends one request, as it is, on a connection that was idle or is new. Whoever asks limits how many there are.

    ``request.extensions`` must have ``"origin"`` (an `Origin`) and ``"target"`` (bytes), which say exactly where to and
    what for, since httpx's own URL has been normalised; and ``"head_stall_s"``, ``"body_stall_s"`` (`Connection.ask`).
    Raises httpx's transport errors (`failures` translates them) and `Denied` for certificates and closed doors.

    max_idle  connections kept open for later, all origins together
    """

    def __init__(self, dialer: Dialer, max_idle: int, connect_timeout_s: float) -> None:
        self._dialer = dialer
        self._max_idle = max_idle
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Connection] = []  # least recently used first
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        details = request.extensions
        origin: Origin = details["origin"]
        target: bytes = details["target"]
        if self._dialer.proxy is not None and origin.scheme == "http":
            target = str(origin).encode("ascii") + target  # RFC 9112 3.2.2: the whole URL, for the proxy
        connection = await self._take(origin)
        try:
            head = await connection.ask(
                request.method, target, request.headers.raw, details["head_stall_s"], details["body_stall_s"]
            )
        except BaseException as error:
            await connection.aclose()
            await self.look_out(error)
            raise
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=RawBody(connection, self))

    async def look_out(self, error: BaseException) -> None:
        """After silence on one connection the way that all of them took may be gone: none is used again."""
        if isinstance(error, httpx.TimeoutException):
            await self._drop_idle()

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.aclose()

    async def aclose(self) -> None:
        """Closes the idle connections now and the busy ones when their answers are closed."""
        self._closed = True
        await self._drop_idle()

    async def give_back(self, connection: Connection) -> None:
        """The answer on `connection` is over. One that is not idle was given up in the middle, and is closed."""
        if connection.state is not State.IDLE or self._closed:
            await connection.aclose()
            return
        self._idle.append(connection)
        if len(self._idle) > self._max_idle:
            await self._idle.pop(0).aclose()

    async def _take(self, origin: Origin) -> Connection:
        """The idle connection to `origin` that was used last, if it is still good, or a new one."""
        oldest = trio.current_time() - KEEPALIVE_S
        while self._idle and self._idle[0].idle_since < oldest:
            await self._idle.pop(0).aclose()
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index].origin == origin:
                connection = self._idle.pop(index)
                if connection.good:
                    return connection
                await connection.aclose()
                return await self._take(origin)
        stream = await self._dialer.dial(origin, self._connect_timeout_s)
        return Connection(stream, origin)


class RawBody(httpx.AsyncByteStream):
    """The body's bytes as they come, never decoded: by `readinto` alone, httpx itself never reads them."""

    def __init__(self, connection: Connection, transport: Transport) -> None:
        self._connection = connection
        self._transport = transport

    @property
    def empty(self) -> bool:
        """Nothing will come, as far as the head tells."""
        return self._connection.at_end

    @property
    def longest_silence_s(self) -> float:
        return self._connection.longest_silence_s

    async def readinto(self, buffer: memoryview) -> int:
        """As `Connection.readinto`."""
        try:
            return await self._connection.readinto(buffer)
        except httpx.ReadTimeout as error:
            await self._transport.look_out(error)
            raise

    async def aclose(self) -> None:
        """Gives back the connection if the body has been read to its end, else closes it."""
        await self._transport.give_back(self._connection)
