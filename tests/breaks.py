"""Where and how an exchange breaks: the phases of a connection, and what may happen in each.

A *manner* is what comes instead of the rest. `interrupt` does it: most raise, and `tests.origin` ends the connection
as the exception says.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import trio

DRIP_S = 0.1  # a byte each tenth of a second: alive, and of no use
SSH_BANNER = b"\x16\x03\x01SSH-2.0-OpenSSH_9.2\r\n" * 10
NOT_HTTP = b"\x00\xff\x00garbage\x00\r\n" * 10


class Reset(Exception):
    """End the connection with RST, at once."""


class Close(Exception):
    """End the connection, though more was promised; under TLS without its goodbye."""


class Goodbye(Exception):
    """As `Close`; under TLS with its goodbye (close_notify)."""


class Stall(Exception):
    """Say nothing more, for as long as the client stays."""


ENDS: dict[str, type[Exception]] = {"reset": Reset, "close": Close, "goodbye": Goodbye, "stall": Stall}
MANNERS = (*ENDS, "drip", "garbage")


@dataclass(frozen=True, slots=True)
class Break:
    """One cell of the table.

    phase   ``headers`` (before the first byte), ``within headers``, ``body`` (after some of it), ``chunk``
            (between two chunks, where the body is sent in chunks; elsewhere as ``body``)
    manner  of `MANNERS`
    """

    phase: str
    manner: str


BREAKS: dict[str, Break] = {
    f"{manner} {phase}": Break(phase, manner)
    for manner in MANNERS
    for phase in ("headers", "within headers", "body", "chunk")
}
AT_CONNECT = ("refused connect", "reset connect", "close connect", "stall connect", "garbage connect")
AT_HANDSHAKE = ("reset tls", "close tls", "stall tls", "drip tls", "garbage tls", "alert tls")
ALERT = bytes.fromhex("15 03 03 00 02 02 28")  # handshake_failure, fatal: RFC 8446 section 6


async def interrupt(stream: trio.abc.Stream, manner: str, rest: bytes) -> None:
    """Break in `manner` where `rest` was to come. Returns only after a drip, which brings all of it in the end."""
    if manner == "drip":
        await drip(stream, rest)
        return
    if manner == "garbage":
        await stream.send_all(NOT_HTTP)
        raise Close
    raise ENDS[manner]


async def drip(stream: trio.abc.Stream, data: bytes) -> None:
    """A byte at a time."""
    for at in range(len(data)):
        await stream.send_all(data[at : at + 1])
        await trio.sleep(DRIP_S)


async def break_at_connect(stream: trio.abc.Stream, kind: str) -> None:
    """A connection that is accepted and is no good. Always raises."""
    if kind == "garbage connect":  # a server of another protocol, which speaks first
        await stream.send_all(SSH_BANNER)
        raise Close
    raise ENDS[kind.partition(" ")[0]]


async def break_handshake(stream: trio.abc.Stream, context: ssl.SSLContext, kind: str) -> None:
    """Break in the middle of the server's first flight. Always raises."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(bytes(await stream.receive_some(65_536)))
    try:
        server.do_handshake()
    except ssl.SSLError:  # it wants more, or was sent something else
        flight = outgoing.read()
    if kind == "alert tls":
        await stream.send_all(ALERT)
        raise Close
    if kind == "garbage tls":  # a server without TLS on that port
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        raise Close
    half = len(flight) // 2
    await stream.send_all(flight[:half])
    await interrupt(stream, kind.partition(" ")[0], flight[half:])
    raise Close
