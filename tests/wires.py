"""How an answer goes over the wire: honest, broken off, or as no HTTP library would send it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from tests.breaks import BREAKS, ENDS, NOT_HTTP, Break, Close, Goodbye, interrupt
from tests.plans import Answer, Ask, Fault

PIECE = 65_536
CHUNK = 16_384
REASONS = {200: "OK", 206: "Partial Content", 302: "Found", 304: "Not Modified", 404: "Not Found"}
HEADER_FLOOD = b"".join(b"X-Flood-%d: %s\r\n" % (number, b"x" * 1000) for number in range(2000))
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


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
    """Put `answer` on the wire, breaking as `fault` says. Raises one of `breaks.ENDS` where the connection ends."""
    kind = fault.kind if fault else ""
    broken = BREAKS.get(kind)
    await send_head(stream, head_of(answer), kind, broken)
    if ask.method != "HEAD" and answer.status not in {204, 304}:
        await send_body(stream, answer, kind, broken)
    if kind == "uninvited 408":  # as servers do that are about to close an idle connection
        await stream.send_all(TIMED_OUT)
        raise Close
    if answer.http10 or (answer.length is None and not answer.chunked):
        raise Goodbye


async def send_head(stream: trio.abc.Stream, head: bytes, kind: str, broken: Break | None) -> None:
    if broken and broken.phase == "headers":
        await interrupt(stream, broken.manner, head)
    elif broken and broken.phase == "within headers":
        await stream.send_all(head[: len(head) // 2])
        await interrupt(stream, broken.manner, head[len(head) // 2 :])
    elif kind in ODD_HEADS:
        await ODD_HEADS[kind](stream, head)
    else:
        await stream.send_all(head)


async def send_body(stream: trio.abc.Stream, answer: Answer, kind: str, broken: Break | None) -> None:
    size = CHUNK if answer.chunked else PIECE
    pieces = [framed(answer, answer.body[at : at + size]) for at in range(0, len(answer.body), size)]
    cut = len(pieces) // 2
    for number, piece in enumerate(pieces):
        if broken and broken.phase in ("body", "chunk") and number == cut:
            await break_body(stream, piece, broken)
        else:
            await stream.send_all(piece)
    if broken and broken.manner in ENDS:  # an empty body: it breaks at its end
        raise ENDS[broken.manner]
    if answer.chunked:
        await stream.send_all(b"0\r\n\r\n")


def framed(answer: Answer, piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece


async def break_body(stream: trio.abc.Stream, piece: bytes, broken: Break) -> None:
    half = len(piece) // 2 if broken.phase == "body" else 0
    await stream.send_all(piece[:half])
    if broken.manner == "garbage" and broken.phase == "body" and isinstance(stream, trio.SSLStream):
        await stream.transport_stream.send_all(NOT_HTTP * 10)  # among the records of TLS
        raise Close
    await interrupt(stream, broken.manner, piece[half:])


# -- heads that are not as they should be --------------------------------------------------


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


async def endless_hints(stream: trio.abc.Stream, _: bytes) -> None:
    while True:
        await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        await trio.sleep(0.02)


async def two_lengths(stream: trio.abc.Stream, head: bytes) -> None:
    await stream.send_all(head.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n"))


async def length_in_words(stream: trio.abc.Stream, head: bytes) -> None:
    await stream.send_all(head.replace(b"Content-Length: ", b"Content-Length: about "))


async def http_9(stream: trio.abc.Stream, head: bytes) -> None:
    await stream.send_all(head.replace(b"HTTP/1.", b"HTTP/9.", 1))


ODD_HEADS: dict[str, Callable[[trio.abc.Stream, bytes], Awaitable[None]]] = {
    "header flood": header_flood,
    "endless headers": endless_headers,
    "hints": hints,
    "endless hints": endless_hints,
    "two lengths": two_lengths,
    "length in words": length_in_words,
    "http 9": http_9,
}
ODD_WIRES = (*ODD_HEADS, "uninvited 408")
