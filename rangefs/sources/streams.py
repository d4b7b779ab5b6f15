"""Byte streams as `wire.Connection` needs them: what is here already is had without a trip round the loop.

A small answer is on the socket by the time one looks, and a large one's bytes
come faster than they are taken: a cancel scope and a turn of the loop for each
read cost more than the read (25 µs of 40, 2026-11).
"""

from __future__ import annotations

import os
import socket
from typing import Protocol

import trio


class ByteStream(Protocol):
    """One talker at a time: sending and receiving are never called side by side. Raises `OSError` or trio's errors."""

    @property
    def socket(self) -> trio.socket.SocketType:
        """What it all goes through in the end."""

    @property
    def cut_off(self) -> bool:
        """Has it ended without the goodbye that its kind of stream has?"""

    def wake_at(self, count: int) -> None:
        """From now on it is worth waking up whoever waits for `count` bytes, or the end; 1 at first. Only a wish."""

    def receive_now(self, buffer: memoryview) -> int | None:
        """What is here, into `buffer` (not empty): how many bytes, 0 at the end; None where one has to wait."""

    async def receive_into(self, buffer: memoryview) -> int:
        """As `receive_now`, but waits."""

    def send_now(self, data: bytes) -> int:
        """How many of the bytes have gone at once."""

    async def send_all(self, data: bytes) -> None: ...

    async def aclose(self) -> None:
        """Closes at once."""


class PlainStream:
    """A TCP connection."""

    cut_off = False

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._enough = 1

    @property
    def socket(self) -> trio.socket.SocketType:
        return self._stream.socket

    def wake_at(self, count: int) -> None:
        if count != self._enough:
            self._enough = count
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)  # socket(7), tcp(7)

    def receive_now(self, buffer: memoryview) -> int | None:
        try:
            return os.readv(self.socket.fileno(), (buffer,))
        except BlockingIOError:
            return None

    async def receive_into(self, buffer: memoryview) -> int:
        while (count := self.receive_now(buffer)) is None:
            await trio.lowlevel.wait_readable(self.socket)
        return count

    def send_now(self, data: bytes) -> int:
        try:
            return os.write(self.socket.fileno(), data)
        except BlockingIOError:
            return 0

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)
