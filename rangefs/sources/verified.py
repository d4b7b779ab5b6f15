"""Bodies that are checked against a hash before anyone sees a byte of them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

import trio

from rangefs.core.digests import Digest
from rangefs.core.settings import MiB
from rangefs.core.versions import Stat
from rangefs.errors import BadAnswer
from rangefs.sources.base import Body

_PIECE_BYTES = MiB


class Spool:
    """An unnamed temporary file: filled by one body, hashed as it is filled, then read from the start.

    All of its file work is done in worker threads. Raises `BadAnswer` where the disk does not take it.
    """

    def __init__(self, file: IO[bytes], digest: Digest) -> None:
        self._file = file
        self._digest = digest
        self.size_bytes = 0

    async def fill(self, body: Body, most_bytes: int) -> None:
        """Takes all of `body`, but stops once it has more than `most_bytes`.

        Cancelled: the spool is of no use, its space is given back as it is closed.
        """
        waiting = bytearray()
        async for piece in body:
            waiting += piece
            self.size_bytes += len(piece)
            if len(waiting) >= _PIECE_BYTES:
                await trio.to_thread.run_sync(self._append, bytes(waiting))
                waiting.clear()
            if self.size_bytes > most_bytes:
                return
        await trio.to_thread.run_sync(self._append, bytes(waiting))

    def wrong(self) -> str:
        """As `Digest.wrong`."""
        return self._digest.wrong()

    async def rewind(self) -> None:
        await trio.to_thread.run_sync(self._file.seek, 0)

    async def piece(self) -> bytes:
        """The next bytes, b"" at the end."""
        return await trio.to_thread.run_sync(self._file.read, _PIECE_BYTES)

    def _append(self, data: bytes) -> None:
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise BadAnswer(f"no space to check a file's hash in {tempfile.gettempdir()}: {error.strerror}") from error


@asynccontextmanager
async def spool(digest: Digest) -> AsyncIterator[Spool]:
    """An empty spool; it is gone at the end."""
    try:
        file = await trio.to_thread.run_sync(tempfile.TemporaryFile)
    except OSError as error:
        raise BadAnswer(f"no temporary file to check a hash in: {error.strerror}") from error
    try:
        yield Spool(file, digest)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(file.close)


class SpooledBody:
    """`base.Body` of a whole file that has been checked."""

    def __init__(self, filled: Spool, stat: Stat) -> None:
        self.stat = stat
        self.start = 0
        self.end: int | None = filled.size_bytes
        self._spool = filled

    def __aiter__(self) -> SpooledBody:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._spool.piece()
        if not piece:
            raise StopAsyncIteration
        return piece
