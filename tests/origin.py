"""An origin that misbehaves on purpose: a raw HTTP server in a thread, playing `tests.plans`.

Raw, because no HTTP library would send most of this. Every folder of `Origin.folders` is listed at ``/NAME/`` with its
plans as files; the root lists all folders there may ever be, so that no name is ever "known to be missing".
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import trio

from tests.breaks import AT_HANDSHAKE, Close, Goodbye, Reset, Stall, break_at_connect, break_handshake
from tests.certificates import EXPIRED, FOREIGN, GOOD, UNKNOWN, Certificates
from tests.plans import LIES, Answer, Ask, Fault, Plan
from tests.wires import PIECE, send

BAD_CERTIFICATES = (UNKNOWN, EXPIRED, FOREIGN)
TLS_FAULTS = (*AT_HANDSHAKE, *BAD_CERTIFICATES)


@dataclass(slots=True)
class Origin:
    """Runs from entry to exit. `folders` may be changed at any time from the outside: one name → plan map a folder.

    folder_names  what the root lists
    certificates  of an origin that speaks TLS
    troubles  mistakes of the origin itself; leaving it fails on them
    """

    folder_names: list[str]
    certificates: Certificates | None = None
    folders: dict[str, dict[str, Plan]] = field(default_factory=dict)
    folder_faults: dict[str, list[str]] = field(default_factory=dict)
    port: int = 0
    troubles: list[str] = field(default_factory=list)
    _connection_faults: tuple[Fault, ...] = ()
    _connections: int = 0
    _token: trio.lowlevel.TrioToken | None = None
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _listening: trio.CancelScope | None = None
    _nursery: trio.Nursery | None = None
    _thread: threading.Thread | None = None
    _live: set[trio.SocketStream] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self.port}/"

    # -- life -------------------------------------------------------------------------

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve, ready), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._thread is not None
        self._soon(self._scope.cancel)
        self._thread.join(10)
        assert not self.troubles or kind is not None, self.troubles

    def break_connections(self, *faults: Fault) -> None:
        """Close every connection; the next ones, counted from 0, meet `faults`: of `AT_CONNECT` or `TLS_FAULTS`."""
        self._connections, self._connection_faults = 0, faults
        self.hang_up()

    def hang_up(self) -> None:
        """Close every connection, so that the next request needs a new one."""

        def close_all() -> None:
            for stream in list(self._live):
                with contextlib.suppress(OSError, ValueError):  # gone already
                    stream.socket.shutdown(socket.SHUT_RDWR)

        self._soon(close_all)

    def refuse(self) -> None:
        """Refuse connections from now on, and close those there are. `listen` ends it; the port stays ours."""

        def stop() -> None:
            if self._listening is not None:
                self._listening.cancel()
                self._listening = None

        self._soon(stop)
        self.hang_up()

    def listen(self) -> None:
        """Accept connections (again)."""

        def start() -> None:
            if self._listening is None and self._nursery is not None:
                self._listening = trio.CancelScope()
                self._nursery.start_soon(self._accept_all, self._listening)

        self._soon(start)

    def _soon(self, action: Callable[[], object]) -> None:
        """In the origin's own thread."""
        assert self._token is not None
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(action)

    async def _serve(self, ready: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with bound_socket(0) as holder:  # never listens: it keeps the port while nobody does
            self.port = holder.getsockname()[1]
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    self._listening = trio.CancelScope()
                    await self._nursery.start(self._accept_all, self._listening)
                    ready.set()
                    await trio.sleep_forever()

    async def _accept_all(
        self, scope: trio.CancelScope, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED
    ) -> None:
        listening = trio.socket.from_stdlib_socket(bound_socket(self.port))
        listening.listen(128)
        with scope:
            await trio.serve_listeners(
                self._connection,
                [trio.SocketListener(listening)],
                handler_nursery=self._nursery,
                task_status=task_status,
            )

    # -- one connection -----------------------------------------------------------------

    async def _connection(self, stream: trio.SocketStream) -> None:
        self._live.add(stream)
        number, self._connections = self._connections, self._connections + 1
        try:
            async with stream:
                await self._until_it_breaks(stream, self._meets(number))
        except Exception as mistake:  # one exchange must not end the origin of all others
            self.troubles.append("".join(traceback.format_exception(mistake)))
        finally:
            self._live.discard(stream)

    def _meets(self, number: int) -> str:
        """The kind of fault that a connection meets, "" for none."""
        faults = self._connection_faults
        return next((fault.kind for fault in faults if fault.first <= number < fault.first + fault.times), "")

    async def _until_it_breaks(self, stream: trio.SocketStream, kind: str) -> None:
        talk: trio.abc.Stream = stream
        try:
            talk = await self._accepted(stream, kind)
            requests = Requests(talk)
            while ask := await requests.take():
                await self._exchange(talk, ask)
        except Reset:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except Stall:
            await wait_until_it_leaves(stream)
        except Goodbye:
            await say_goodbye(talk)
        except (Close, trio.BrokenResourceError, trio.ClosedResourceError, OSError, ssl.SSLError):
            return

    async def _accepted(self, stream: trio.SocketStream, kind: str) -> trio.abc.Stream:
        """The stream to talk on. Raises where the connection breaks before the first request."""
        if kind.endswith(" connect"):
            await break_at_connect(stream, kind)
        if self.certificates is None:
            return stream
        contexts = self.certificates.contexts
        if kind in AT_HANDSHAKE:
            await break_handshake(stream, contexts[GOOD], kind)
        context = contexts[kind if kind in BAD_CERTIFICATES else GOOD]
        return trio.SSLStream(stream, context, server_side=True, https_compatible=True)

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


def bound_socket(port: int) -> socket.socket:
    """One of several that may share a loopback port."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


async def say_goodbye(stream: trio.abc.Stream) -> None:
    """TLS's close_notify, which trio leaves out where it may."""
    if isinstance(stream, trio.SSLStream):
        with trio.move_on_after(5), contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.unwrap()


async def wait_until_it_leaves(stream: trio.abc.Stream) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        while await stream.receive_some(PIECE):
            pass
