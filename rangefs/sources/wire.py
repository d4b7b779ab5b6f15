"""One HTTP/1.1 connection. h11 reads answers' heads and odd bodies; bodies of known length go past it.

h11 copies each byte of a body three times and httpcore once more, half of the
cost of a large range (0.85 s of CPU a GiB on loopback, 2026-11). A body framed
by Content-Length needs no parser: once its head has been read, the rest of it
are the next so many bytes of the socket, and the kernel puts them where they
stay: into the memory of whoever fetches.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import h11
import httpx
import trio

from rangefs.core.settings import KiB
from rangefs.sources.clock import since_boot
from rangefs.sources.dial import reason
from rangefs.sources.heads import Head, Request, head_of, told
from rangefs.sources.streams import ByteStream
from rangefs.sources.urls import Origin

# What is read at a time of heads, and of bodies that h11 frames.
READ_BYTES = 16 * KiB
# A socket that always has more must not keep everyone else waiting: no read that need not wait is larger than the
# first, and after the second it is the others' turn. (Both at 256 KiB: no better p99 for the others. 2026-11)
RECEIVE_MAX_BYTES = 1024 * KiB
TURN_BYTES = 256 * KiB
# A body that comes fast is looked at this often, not at each packet: 128 KiB at a time, as one of sixteen connections
# brings them, cost an eighth of the processor's time of a stream over 30 ms; half as long and half as much at the most,
# 6 % of its speed (26 pairs of runs, 2026-11). Not above half of what the kernel holds: it sees to that (tcp(7)).
NAP_S = 0.02
NAP_MAX_BYTES = 1024 * KiB
HEAD_LIMIT_BYTES = 100 * KiB  # as httpcore's; Apache and nginx send 8 KiB at most
# 100 and 103 answers before the real one: a server that sends more of them is playing.
INTERIM_LIMIT = 16


def _one() -> int:
    return 1


class State(enum.Enum):
    IDLE = "idle"  #: a request may be sent
    ASKED = "asked"  #: a head or a body is on its way
    OVER = "over"  #: of no more use


class Connection:
    """States: IDLE → ASKED (`ask`) → IDLE or OVER (`readinto` gave 0). Any exception from either leads to OVER.

    longest_silence_s  within the body that is being read
    heard              has anything of the answer come?
    """

    def __init__(self, stream: ByteStream, origin: Origin) -> None:
        self.origin = origin
        self.state = State.IDLE
        self.idle_since = since_boot()
        self.heard = False
        self.longest_silence_s = 0.0
        self._stream = stream
        self._stall_s = 0.0
        self._talk = h11.Connection(h11.CLIENT)
        self._left: int | None = None  # bytes of a sized body still to come; None where h11 frames it
        self._scratch = memoryview(bytearray(READ_BYTES))
        self._turn = 0  # bytes read since the others last had their turn
        self._body_since = 0.0  # when its head was read
        self._body_bytes = 0  # of it that were received since then
        self._first = b""  # bytes of the body that are here already: what came with the head, what h11 gave
        self._keep = False
        self._until_close = False

    def __repr__(self) -> str:
        return f"<Connection to {self.origin}, {self.state.value}>"

    @property
    def left(self) -> int | None:
        """How many bytes of the body are still to come; None where only its end will tell."""
        return self._left

    @property
    def good(self) -> bool:
        """Idle, and the other side has not closed: an idle socket with something to read has its end to tell."""
        return self.state is State.IDLE and not self._stream.socket.is_readable()

    async def aclose(self) -> None:
        """Closes the socket, at once."""
        self.state = State.OVER
        await self._stream.aclose()

    async def ask(self, request: Request, head_stall_s: float, body_stall_s: float) -> Head:
        """Sends `request`; the head of its answer.

        head_stall_s, body_stall_s  the longest silence before `httpx.ReadTimeout` (or `WriteTimeout`)
        """
        assert self.state is State.IDLE
        self.state = State.OVER  # until all has gone well
        self._stall_s = head_stall_s
        self.heard = False
        self._talk = talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        talk.send(told(request.method))  # that it ends there makes no difference to the answer, and costs 8 µs to say
        await self._send(request.encode())
        head = await self._head()
        self._frame(request.method, head)
        self._stall_s, self.longest_silence_s = body_stall_s, 0.0
        self._body_since, self._body_bytes = trio.current_time(), 0
        self.state = State.ASKED
        return head

    async def readinto(self, buffer: memoryview) -> int:
        """The next bytes of the body into `buffer` (not empty): how many, 0 at its end.

        Raises `httpx.RemoteProtocolError` where it breaks off.
        """
        if self.state is not State.ASKED:
            return 0
        self.state = State.OVER
        if self._left is None:
            count = await self._read_framed(buffer)
        else:
            count = await self._read_sized(buffer[: self._left])
            self._left -= count
        if count:
            self.state = State.ASKED
        elif self._keep:
            self._stream.wake_at(1)  # `good` is to see whatever comes
            self.state = State.IDLE
            self.idle_since = since_boot()
        return count

    def _frame(self, method: str, head: Head) -> None:
        """How the body ends (RFC 9112 6.3), and whether the connection outlives it."""
        self._keep = head.persists
        self._left, self._first, self._until_close = None, b"", False
        if method == "HEAD" or head.status in (204, 304):
            self._left = 0
        elif "transfer-encoding" in head.headers:
            return
        elif "content-length" in head.headers:
            self._left = int(head.headers["content-length"])  # h11 has seen to it that it is one number
        else:
            self._keep, self._until_close = False, True  # the end of the connection is the end of the body
            return
        self._first = self._talk.trailing_data[0]
        if len(self._first) > self._left:  # bytes that nobody asked for: never taken for the next answer
            self._first, self._keep = self._first[: self._left], False

    async def _head(self) -> Head:
        await self._feed()
        for _ in range(INTERIM_LIMIT):
            event = await self._event()
            if isinstance(event, h11.Response):
                return head_of(event)
        raise httpx.RemoteProtocolError("no end of interim answers")

    async def _read_sized(self, buffer: memoryview) -> int:
        if not buffer:
            return 0
        if self._first:
            return self._take_first(buffer)
        count = await self._receive(buffer, self._enough)
        if not count:
            raise httpx.RemoteProtocolError(f"closed {self._left} bytes before the end of the body")
        self._body_bytes += count
        return count

    def _enough(self) -> int:
        """How many of the bytes that are left are worth waking up for: those of `NAP_S`, at the rate so far."""
        assert self._left is not None
        seconds = trio.current_time() - self._body_since
        enough = int(NAP_S * self._body_bytes / seconds) if seconds > NAP_S / 10 else 1
        return min(max(enough, 1), NAP_MAX_BYTES, self._left)

    async def _read_framed(self, buffer: memoryview) -> int:
        """Chunked, or up to the end of the connection."""
        while not self._first:
            event = await self._event()
            if not isinstance(event, h11.Data):
                if self._until_close and self._stream.cut_off:
                    # RFC 9112 9.8: such a body is whole only where TLS itself said goodbye; anyone can cut a wire
                    raise httpx.RemoteProtocolError("closed without TLS's goodbye: the body may be cut off")
                self._keep = self._keep and self._talk.their_state is h11.DONE and not self._talk.trailing_data[0]
                return 0
            self._first = bytes(event.data)
        return self._take_first(buffer)

    def _take_first(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._first))
        buffer[:count] = self._first[:count]
        self._first = self._first[count:]
        return count

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        try:
            while (event := self._talk.next_event()) is h11.NEED_DATA:
                await self._feed()
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        assert event is not h11.NEED_DATA
        return event  # type: ignore[return-value]

    async def _feed(self) -> None:
        """Gives h11 what comes next."""
        count = await self._receive(self._scratch)
        if not count and self._talk.their_state is h11.SEND_RESPONSE:
            raise httpx.RemoteProtocolError("closed without an answer")
        self.heard = self.heard or count > 0
        self._talk.receive_data(bytes(self._scratch[:count]))

    async def _receive(self, buffer: memoryview, enough: Callable[[], int] = _one) -> int:
        """The next bytes of the stream: how many, 0 at its end.

        enough  how many are worth waking up for, where one has to wait
        """
        try:
            count = self._stream.receive_now(buffer[:RECEIVE_MAX_BYTES])
            if count is not None:
                self._turn += count
                if self._turn >= TURN_BYTES:
                    self._turn = 0
                    await trio.lowlevel.checkpoint()
                return count
            began = trio.current_time()
            self._stream.wake_at(enough())
            with trio.move_on_after(self._stall_s):
                count = await self._stream.receive_into(buffer)
                self.longest_silence_s = max(self.longest_silence_s, trio.current_time() - began)
                return count
            if count := self._stream.receive_now(buffer):  # less than was worth waking up for
                return count
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpx.ReadError(reason(error)) from error
        self.longest_silence_s = max(self.longest_silence_s, self._stall_s)
        raise httpx.ReadTimeout("silent")

    async def _send(self, data: bytes) -> None:
        try:
            left = data[self._stream.send_now(data) :]
            if not left:
                return
            with trio.move_on_after(self._stall_s):
                await self._stream.send_all(left)
                return
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpx.WriteError(reason(error)) from error
        raise httpx.WriteTimeout("silent")
