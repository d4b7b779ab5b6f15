"""Connections kept and handed out.

Why not httpx's own transport: it reads 64 KiB at a time, which costs half of
the throughput (0.5 against 0.8 to 1.06 GB/s on loopback, 2 cores, 2026-11),
offers no place to check the address that a name resolved to, and normalises
paths. Why not httpcore's pool: for each request it polls every idle socket
and counts its connections once per connection; with 16 of them a small GET
cost 0.80 ms of CPU instead of 0.38. Why not httpx's client: it follows
redirects with foreign credentials, decodes bodies, and costs 0.3 ms more. Nor
its requests and answers: to build and take apart the two costs as much as to
write them (30 µs). What is left of httpx are its names for what goes wrong.
"""

from __future__ import annotations

from dataclasses import replace

import httpx
import trio

from rangefs.core.latency import Stalls
from rangefs.sources.clock import since_boot
from rangefs.sources.dial import Dialer
from rangefs.sources.heads import Head, Request
from rangefs.sources.urls import Origin
from rangefs.sources.wire import Connection, State

# Idle connections are closed before most servers do it (nginx: 75 s; for the others each is looked at before use).
KEEPALIVE_S = 60.0


class Transport:
    """Sends one request, as it is, on a connection that was idle or is new. Whoever asks limits how many there are.

    Every request is taken for one that may be sent twice (RFC 9110 9.2.2): one that was lost with an idle connection
    is sent again at once on a new one.
    Raises httpx's transport errors (`failures` translates them) and `Denied` for certificates and closed doors.

    max_idle  connections kept open for later, all origins together
    """

    def __init__(self, dialer: Dialer, max_idle: int, connect_timeout_s: float) -> None:
        self._dialer = dialer
        self._max_idle = max_idle
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Connection] = []  # least recently used first
        self._closed = False

    async def send(self, request: Request, origin: Origin, stalls: Stalls) -> Reply:
        if self._dialer.proxy is not None and origin.scheme == "http":
            target = str(origin).encode("ascii") + request.target  # RFC 9112 3.2.2: the whole URL, for the proxy
            request = replace(request, target=target)
        connection = await self._take(origin)
        if connection is not None:
            try:
                return await self._ask(connection, request, stalls.idle_s, stalls.body_s)
            except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.TimeoutException):
                if connection.heard:
                    raise
                # Closed by the other side, or the way is gone: another address, a long sleep. The others went with it.
                await self._drop_idle()
        connection = Connection(await self._dialer.dial(origin, self._connect_timeout_s), origin)
        return await self._ask(connection, request, stalls.head_s, stalls.body_s)

    async def _ask(self, connection: Connection, request: Request, head_stall_s: float, body_stall_s: float) -> Reply:
        try:
            head = await connection.ask(request, head_stall_s, body_stall_s)
        except BaseException as error:
            await connection.aclose()
            await self.look_out(error)
            raise
        return Reply(head, connection, self)

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

    def take_back(self, connection: Connection) -> Connection | None:
        """The answer on `connection` is over. Which connection is to be closed now, if any?

        One that is not idle was given up in the middle.
        """
        if connection.state is not State.IDLE or self._closed:
            return connection
        self._idle.append(connection)
        return self._idle.pop(0) if len(self._idle) > self._max_idle else None

    async def _take(self, origin: Origin) -> Connection | None:
        """The idle connection to `origin` that was used last and is still good."""
        oldest = since_boot() - KEEPALIVE_S
        while self._idle and self._idle[0].idle_since < oldest:
            await self._idle.pop(0).aclose()
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index].origin == origin:
                connection = self._idle.pop(index)
                if connection.good:
                    return connection
                await connection.aclose()
                return await self._take(origin)
        return None


class Reply:
    """An answer as it comes: its head, and its body's bytes, never decoded."""

    def __init__(self, head: Head, connection: Connection, transport: Transport) -> None:
        self.status = head.status
        self.headers = head.headers
        self._connection = connection
        self._transport = transport

    @property
    def left(self) -> int | None:
        """How many bytes of the body are still to come; None where only its end will tell."""
        return self._connection.left

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
        """Gives back the connection if the body has been read to its end, else closes it. Never waits."""
        spare = self._transport.take_back(self._connection)
        if spare is not None:
            with trio.CancelScope(shield=True):
                await spare.aclose()
