"""An origin that misbehaves on purpose: a raw HTTP server in a thread, playing `tests.plans`.

Raw, because no HTTP library would send most of this. Every folder of `Origin.folders` is listed at ``/NAME/`` with its
plans as files; the root lists all folders there may ever be, so that no name is ever "known to be missing".
"""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import struct
import threading
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import trio

from tests.plans import LIES, Answer, Ask, Fault, Plan

PIECE = 65_536
REASONS = {200: "OK", 206: "Partial Content", 302: "Found", 304: "Not Modified", 404: "Not Found"}
HEADER_FLOOD = b"".join(b"X-Flood-%d: %s\r\n" % (number, b"x" * 1000) for number in range(2000))


class Reset(Exception):
    """End the connection with RST, at once."""


class Close(Exception):
    """End the connection in an orderly way, though more was promised."""


class Stall(Exception):
    """Say nothing more, for as long as the client stays."""


@dataclass(slots=True)
class Break:
    """Where and how an exchange breaks.

    phase   ``headers`` (before the first byte), ``within headers``, ``body`` (after some of it), ``chunk``
            (between two chunks, where the body is sent in chunks; elsewhere as ``body``)
    manner  what is raised there
    """

    phase: str
    manner: type[Exception]


BREAKS: dict[str, Break] = {
    f"{name} {phase}": Break(phase, manner)
    for name, manner in (("reset", Reset), ("close", Close), ("stall", Stall))
    for phase in ("headers", "within headers", "body", "chunk")
}
# What is on the wire is not HTTP, or not at any useful speed.
ODD_WIRES = ("drip", "garbage", "header flood", "endless headers", "hints", "bad chunk")
AT_ACCEPT = ("reset connect", "close connect", "stall connect")
TRANSPORT_FAULTS = (*BREAKS, *ODD_WIRES)


@dataclass(slots=True)
class Origin:
    """Runs from entry to exit. `folders` may be changed at any time from the outside: one name → plan map a folder.

    folder_names  what the root lists
    accept_faults  kinds of `AT_ACCEPT`, one taken for each new connection
    troubles  mistakes of the origin itself; leaving it fails on them
    """

    folder_names: list[str]
    folders: dict[str, dict[str, Plan]] = field(default_factory=dict)
    folder_faults: dict[str, list[str]] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    port: int = 0
    accept_faults: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    troubles: list[str] = field(default_factory=list)
    _token: trio.lowlevel.TrioToken | None = None
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _thread: threading.Thread | None = None
    _live: set[trio.SocketStream] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/"

    # -- life -------------------------------------------------------------------------

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve, ready), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._token is not None
        assert self._thread is not None
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(10)
        assert not self.troubles or kind is not None, self.troubles

    def hang_up(self) -> None:
        """Close every connection, so that the next request needs a new one."""

        def close_all() -> None:
            for stream in list(self._live):
                with contextlib.suppress(OSError, ValueError):  # gone already
                    stream.socket.shutdown(socket.SHUT_RDWR)

        assert self._token is not None
        self._token.run_sync_soon(close_all)

    async def _serve(self, ready: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        ready.set()
        with self._scope:
            await trio.serve_listeners(self._connection, [listener])

    async def _connection(self, stream: trio.SocketStream) -> None:
        self._live.add(stream)
        try:
            async with stream:
                await self._until_it_breaks(stream)
        except Exception as mistake:  # one exchange must not end the origin of all others
            self.troubles.append("".join(traceback.format_exception(mistake)))
        finally:
            self._live.discard(stream)

    async def _until_it_breaks(self, stream: trio.SocketStream) -> None:
        try:
            await self._accept(stream)
            talk: trio.abc.Stream = stream
            if self.tls is not None:
                talk = trio.SSLStream(stream, self.tls, server_side=True, https_compatible=True)
            requests = Requests(talk)
            while ask := await requests.take():
                await self._exchange(talk, ask)
        except Reset:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except Stall:
            await wait_until_it_leaves(stream)
        except (Close, trio.BrokenResourceError, trio.ClosedResourceError, OSError, ssl.SSLError):
            return

    async def _accept(self, stream: trio.SocketStream) -> None:
        with contextlib.suppress(queue.Empty):
            kind = self.accept_faults.get_nowait()
            await trio.lowlevel.checkpoint()
            raise {"reset connect": Reset, "close connect": Close, "stall connect": Stall}[kind]

    # -- one exchange ---------------------------------------------------------------------

    async def _exchange(self, stream: trio.abc.Stream, ask: Ask) -> None:
        path, _, query = ask.path.partition("?")
        folder, _, name = unquote(path).lstrip("/").partition("/")
        if not name:
            await self._list(stream, ask, folder)
            return
        plan = self.folders.get(folder, {}).get(name)
        if plan is None:
            await send(stream, ask, Answer(404, body=b"no\n", length=3), None)
            return
        if plan.redirect is not None and (elsewhere := redirected(plan, path, query)):
            await send(stream, ask, elsewhere, None)
            return
        fault = plan.due(ask.method)
        answer = plan.answer(ask)
        if fault and fault.kind in LIES:
            await send(stream, ask, LIES[fault.kind](answer), None)
        else:
            await send(stream, ask, answer, fault)

    async def _list(self, stream: trio.abc.Stream, ask: Ask, folder: str) -> None:
        faults = self.folder_faults.get(folder, [])
        kind = faults.pop(0) if faults else None
        if folder == "":
            answer = page({f"{name}/": None for name in self.folder_names})
        elif folder in self.folders:
            answer = page(
                {
                    name: len(plan.bodies[plan.current()]) if plan.listed else None
                    for name, plan in self.folders[folder].items()
                }
            )
        else:
            answer = Answer(404, body=b"no\n", length=3)
        if kind in LIES:
            await send(stream, ask, LIES[kind](answer), None)
        else:
            await send(stream, ask, answer, Fault(kind, 0, 1) if kind else None)


def redirected(plan: Plan, path: str, query: str) -> Answer | None:
    """A signed target that expires after `Plan.redirect` uses: 302, 403, or None where the file itself may answer."""
    if query:
        plan.uses[query] = plan.uses.get(query, 0) + 1
        known = query.removeprefix("signature=").isdigit()
        return None if known and plan.uses[query] <= (plan.redirect or 0) else Answer(403, body=b"expired\n", length=8)
    plan.targets += 1
    return Answer(302, (("Location", f"{path}?signature={plan.targets}"),), length=0)


def page(entries: dict[str, int | None]) -> Answer:
    """An index as nginx writes it where every size is known, as http.server does elsewhere."""
    if entries and all(size is not None for size in entries.values()):
        rows = "".join(
            f'<a href="{name}">{name}</a>{" " * max(1, 51 - len(name))}01-Jan-2018 00:00 {size:>19}\r\n'
            for name, size in entries.items()
        )
        text = (
            f"<html>\r\n<head><title>Index of /</title></head>\r\n<body>\r\n<h1>Index of /</h1><hr><pre>"
            f'<a href="../">../</a>\r\n{rows}</pre><hr></body>\r\n</html>\r\n'
        )
    else:
        rows = "".join(f'<li><a href="{name}">{name}</a></li>\n' for name in entries)
        text = (
            f"<!DOCTYPE HTML>\n<html>\n<head>\n<title>Directory listing for /</title>\n</head>\n<body>\n"
            f"<h1>Directory listing for /</h1>\n<hr>\n<ul>\n{rows}</ul>\n<hr>\n</body>\n</html>\n"
        )
    body = text.encode()
    return Answer(200, (("Content-Type", "text/html; charset=utf-8"),), body, len(body))


# -- the wire ------------------------------------------------------------------------------


class Requests:
    """The requests of one connection, one after the other; bodies are not expected."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._data = bytearray()

    async def take(self) -> Ask | None:
        """The next one, None once the client has ended."""
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            more = await self._stream.receive_some(PIECE)
            if not more:
                return None
            self._data += more
        first, *lines = bytes(self._data[:end]).decode("latin-1").split("\r\n")
        del self._data[: end + 4]
        method, path, _ = first.split(" ")
        pairs = (line.split(":", 1) for line in lines)
        return Ask(method, path, {name.strip().lower(): value.strip() for name, value in pairs})


async def wait_until_it_leaves(stream: trio.abc.Stream) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        while await stream.receive_some(PIECE):
            pass


def head_of(answer: Answer) -> bytes:
    version = "1.0" if answer.http10 else "1.1"
    headers = list(answer.headers)
    if answer.length is not None:
        headers.append(("Content-Length", str(answer.length)))
    elif answer.chunked:
        headers.append(("Transfer-Encoding", "chunked"))
    else:
        headers.append(("Connection", "close"))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/{version} {answer.status} {REASONS.get(answer.status, 'So It Is')}\r\n{lines}\r\n".encode("latin-1")


async def send(stream: trio.abc.Stream, ask: Ask, answer: Answer, fault: Fault | None) -> None:
    """Put `answer` on the wire, breaking as `fault` says. Raises `Close` after an answer that ends with the close."""
    kind = fault.kind if fault else ""
    broken = BREAKS.get(kind)
    if broken and broken.phase == "headers":
        raise broken.manner
    head = head_of(answer)
    if broken and broken.phase == "within headers":
        await stream.send_all(head[: len(head) // 2])
        raise broken.manner
    if kind in WIRES:
        await WIRES[kind](stream, head)
    else:
        await stream.send_all(head)
    if ask.method != "HEAD" and answer.status not in {204, 304}:
        await send_body(stream, answer, kind, broken)
    if answer.http10 or (answer.length is None and not answer.chunked):
        raise Close


async def send_body(stream: trio.abc.Stream, answer: Answer, kind: str, broken: Break | None) -> None:
    size = 16_384 if answer.chunked else PIECE
    pieces = [answer.body[at : at + size] for at in range(0, len(answer.body), size)]
    cut = len(pieces) // 2
    for number, piece in enumerate(pieces):
        if broken and number == cut:
            if broken.phase == "body":
                await stream.send_all((b"%x\r\n" % len(piece) if answer.chunked else b"") + piece[: len(piece) // 2])
            raise broken.manner
        if kind == "bad chunk" and answer.chunked and number == cut:
            await stream.send_all(b"not a length\r\n")
            raise Close
        if kind == "drip" and number == cut:
            await drip(stream, answer, piece)
        elif answer.chunked:
            await stream.send_all(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            await stream.send_all(piece)
    if broken:
        raise broken.manner
    if answer.chunked:
        await stream.send_all(b"0\r\n\r\n")


async def drip(stream: trio.abc.Stream, answer: Answer, piece: bytes) -> None:
    """A byte each tenth of a second: alive, and of no use."""
    if answer.chunked:
        await stream.send_all(b"%x\r\n" % len(piece))
    for at in range(len(piece)):
        await stream.send_all(piece[at : at + 1])
        await trio.sleep(0.1)


async def garbage(stream: trio.abc.Stream, _: bytes) -> None:
    await stream.send_all(b"\x16\x03\x01SSH-2.0-OpenSSH_9.2\r\n" * 10)
    raise Close


async def header_flood(stream: trio.abc.Stream, head: bytes) -> None:
    line, rest = head.split(b"\r\n", 1)
    await stream.send_all(line + b"\r\n" + HEADER_FLOOD + rest)


async def endless_headers(stream: trio.abc.Stream, _: bytes) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        await stream.send_all(b"X-%d: y\r\n" % number)
        await trio.sleep(0.02)


async def hints(stream: trio.abc.Stream, head: bytes) -> None:
    """Interim answers first: legal, and to be skipped."""
    await stream.send_all(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + head)


WIRES: dict[str, Callable[[trio.abc.Stream, bytes], Awaitable[None]]] = {
    "garbage": garbage,
    "header flood": header_flood,
    "endless headers": endless_headers,
    "hints": hints,
}
