"""The control socket of a mount: one JSON line asks, one JSON line answers, then the connection is over.

    {"command": "status"}            →  {"ok": true, "result": {…}}
    {"command": "dance"}             →  {"ok": false, "error": "no command is called 'dance'"}

The socket lies in a folder that only its owner can enter, and each peer's user
id is checked as well: root and the owner may ask. Its name is made of the
mount point, so a command finds it without asking anybody. A new socket is
renamed over an old one: whoever mounted last owns the name, and a socket that
a dead process left is in nobody's way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from rangefs.errors import RangefsError

logger = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

LARGEST_REQUEST = 64 << 10  #: bytes; a list of paths fits
LARGEST_ANSWER = 16 << 20  #: bytes; more is not ours
REQUEST_TIMEOUT_S = 5.0  #: a local peer that takes longer to send one line is gone
MOST_PEERS = 64  #: at once; the rest wait in the kernel's queue
LONGEST_SOCKET_PATH = 107  #: sun_path, less its NUL: unix(7)
CREDENTIALS = struct.Struct("3i")  #: struct ucred: pid, uid, gid


class NotServing(RangefsError):
    """Nobody answers on a control socket."""


# -- where the sockets are ----------------------------------------------------


def mount_name(mountpoint: Path) -> str:
    """A file name for a mount point, readable and unique: ``/mnt/data`` → ``mnt-data-1a2b3c4d``."""
    digest = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", str(mountpoint)).strip("-.")[-40:].lstrip("-.")
    return f"{readable}-{digest}" if readable else digest


def control_folders(uid: int, environment: Mapping[str, str]) -> list[Path]:
    """Where sockets of a user's mounts may be; the first is where a new one goes.

    Root's are in ``/run/rangefs`` whatever the environment says, for fstab, systemd and sudo have none.
    """
    if uid == 0:
        return [Path("/run/rangefs")]
    folders = [Path(f"/run/user/{uid}/rangefs"), Path(f"/tmp/rangefs-{uid}")]
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and uid == os.geteuid():
        folders.insert(0, Path(runtime) / "rangefs")
    return [folder for folder in dict.fromkeys(folders) if folder.name != "rangefs" or folder.parent.is_dir()]


def control_path(mountpoint: Path) -> Path:
    """Where this process serves `mountpoint`'s control socket. Makes the folder; raises `RangefsError` if it can't."""
    reason = ""
    for folder in control_folders(os.geteuid(), os.environ):
        path = folder / f"{mount_name(mountpoint)}.sock"
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH - len(".4194304"):  # room for the temporary name
            reason = f"{folder} is too long a path"
            continue
        try:
            private_folder(folder)
        except OSError as error:
            reason = f"{folder}: {error.strerror}"
        else:
            return path
    raise RangefsError(f"no folder for the control socket: {reason}")


def private_folder(folder: Path) -> None:
    """Make `folder`, or make sure that it is a folder of ours that nobody else can enter. Raises `OSError`."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(1, "belongs to another user: remove it")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


# -- the server ---------------------------------------------------------------


async def serve_control(
    path: Path, handlers: Mapping[str, Handler], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer on `path` until cancelled; cancelling closes all connections and removes the socket.

    A handler takes the request and returns what is the answer's ``result``; a `RangefsError` of its is told to the
    peer, any other exception is logged and told as an internal error. Raises `RangefsError` if `path` can't be bound.
    """
    listener = _listen(path)
    inode = _inode(path)
    try:
        task_status.started()
        async with trio.open_nursery() as nursery:
            slots = trio.Semaphore(MOST_PEERS)
            while True:
                await slots.acquire()
                peer = await _accept(listener)
                nursery.start_soon(_answer, peer, slots, handlers)
    finally:
        listener.close()
        if inode is not None and _inode(path) == inode:  # else a later mount has taken the name
            _remove(path)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _listen(path: Path) -> trio.socket.SocketType:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove(temporary)
        raw = socket.socket(fileno=os.dup(listener.fileno()))
        with raw:
            raw.bind(os.fspath(temporary))
            raw.listen(MOST_PEERS)
        temporary.chmod(0o600)
        temporary.rename(path)
    except OSError as error:
        listener.close()
        raise RangefsError(f"control socket {path}: {error.strerror or error}") from error
    return listener


async def _accept(listener: trio.socket.SocketType) -> trio.socket.SocketType:
    while True:
        try:
            peer, _ = await listener.accept()
        except OSError as error:  # EMFILE and the like: not a reason to end the mount
            logger.debug("control socket: accept: %s", error)
            await trio.sleep(0.1)
        else:
            return peer


async def _answer(peer: trio.socket.SocketType, slots: trio.Semaphore, handlers: Mapping[str, Handler]) -> None:
    try:
        with peer, contextlib.suppress(OSError, trio.BrokenResourceError):  # the peer has left
            if _peer(peer).uid in (0, os.geteuid()):
                await _exchange(peer, handlers)
    finally:
        slots.release()


async def _exchange(peer: trio.socket.SocketType, handlers: Mapping[str, Handler]) -> None:
    request = None
    with trio.move_on_after(REQUEST_TIMEOUT_S):
        request = await _line(peer)
    if request is not None:
        answer = await _reply(request, handlers)
        with trio.move_on_after(REQUEST_TIMEOUT_S):
            await trio.SocketStream(peer).send_all(answer)


async def _line(peer: trio.socket.SocketType) -> bytes | None:
    """One line without its end, or None if the peer leaves first or sends too much."""
    received = bytearray()
    while b"\n" not in received:
        piece = await peer.recv(4096)
        received += piece
        if not piece or len(received) > LARGEST_REQUEST:
            return None
    return bytes(received.partition(b"\n")[0])


async def _reply(line: bytes, handlers: Mapping[str, Handler]) -> bytes:
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise RangefsError("a request is one JSON object")  # noqa: TRY301 - told to the peer just below
        handler = handlers.get(str(request.get("command")))
        if handler is None:
            raise RangefsError(f"no command is called {request.get('command')!r}")  # noqa: TRY301 - as above
        answer = {"ok": True, "result": await handler(request)}
    except (ValueError, RecursionError):
        answer = {"ok": False, "error": "a request is one JSON object"}
    except RangefsError as error:
        answer = {"ok": False, "error": str(error)}
    except Exception:  # the boundary: a broken handler must not end the mount
        logger.exception("control socket: a handler failed")
        answer = {"ok": False, "error": "internal error, see the log of the mount"}
    return json.dumps(answer).encode() + b"\n"


# -- the client ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end: of a listening socket, the process that made it."""

    pid: int
    uid: int


def _peer(connection: Any) -> Peer:
    pid, uid, _ = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return Peer(pid, uid)


def sockets_of(uid: int, environment: Mapping[str, str]) -> Iterator[Path]:
    """All control sockets of a user's mounts, also those of dead ones."""
    for folder in control_folders(uid, environment):
        with contextlib.suppress(OSError):
            yield from sorted(folder.glob("*.sock"))


def find_socket(mountpoint: Path, uid: int, environment: Mapping[str, str]) -> Path:
    """The socket of the mount at `mountpoint` that the user `uid` made. Raises `NotServing`."""
    for folder in control_folders(uid, environment):
        path = folder / f"{mount_name(mountpoint)}.sock"
        if path.exists():
            return path
    raise NotServing(f"no rangefs answers for {mountpoint}")


def owner_of(path: Path) -> Peer:
    """Who serves `path`: the kernel tells, so a process too busy to answer is known too. Raises `NotServing`."""
    with _connected(path, REQUEST_TIMEOUT_S) as connection:
        return _peer(connection)


def ask(path: Path, request: Mapping[str, Any], timeout_s: float = REQUEST_TIMEOUT_S) -> dict[str, Any]:
    """Send one request, return its result.

    timeout_s  for each step of the exchange

    Raises `NotServing` if nobody answers (the socket of a dead process is removed), `RangefsError` with the mount's
    own words if it refuses.
    """
    with _connected(path, timeout_s) as connection:
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(_received(connection))
        except (OSError, ValueError) as error:
            raise NotServing(f"no answer on {path}: {error}") from error
    if answer.get("ok"):
        return dict(answer["result"])
    raise RangefsError(str(answer.get("error", "refused")))


@contextlib.contextmanager
def _connected(path: Path, timeout_s: float) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(os.fspath(path))
        except ConnectionRefusedError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise NotServing(f"{path} was left by a process that is gone") from error
        except OSError as error:
            raise NotServing(f"{path}: {error.strerror or error}") from error
        yield connection


def _received(connection: socket.socket) -> bytes:
    received = bytearray()
    while piece := connection.recv(65536):
        received += piece
        if len(received) > LARGEST_ANSWER:
            raise ValueError("the answer is too long")
    return bytes(received)
