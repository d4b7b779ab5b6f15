"""Bodies that are checked against a hash before anyone sees a byte of them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BufferedRandom

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

    def __init__(self, file: BufferedRandom, digest: Digest) -> None:
        self._file = file
        self._digest = digest
        self.size_bytes = 0

    async def fill(self, body: Body, most_bytes: int) -> None:
        """Takes all of `body`, but stops once it has more than `most_bytes`.

        Cancelled: the spool is of no use, its space is given back as it is closed.
        """
        buffer = memoryview(bytearray(_PIECE_BYTES))
        filled = 0
        while count := await body.readinto(buffer[filled:]):
            filled += count
            self.size_bytes += count
            if filled == len(buffer):
                await trio.to_thread.run_sync(self._append, buffer)
                filled = 0
            if self.size_bytes > most_bytes:
                return
        await trio.to_thread.run_sync(self._append, buffer[:filled])

    def wrong(self) -> str:
        """As `Digest.wrong`."""
        return self._digest.wrong()

    async def rewind(self) -> None:
        await trio.to_thread.run_sync(self._file.seek, 0)

    async def readinto(self, buffer: memoryview) -> int:
        """The next bytes into `buffer`: how many, 0 at the end."""
        return await trio.to_thread.run_sync(self._file.readinto, buffer)

    def _append(self, data: memoryview) -> None:
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise BadAnswer(f"no space to check a file's hash in {tempfile.gettempdir()}: {error.strerror}") from error


@asynccontextmanager
async def spool(digest: Digest) -> AsyncIterator[Spool]:
    """An empty spool; it is gone at the end."""
    try:
        file = await trio.to_thread.run_sync(_unnamed)
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

    async def readinto(self, buffer: memoryview) -> int:
        return await self._spool.readinto(buffer)


def _unnamed() -> BufferedRandom:
    """A temporary file without a name."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # whoever called closes it
    assert isinstance(file, BufferedRandom)
    return file
