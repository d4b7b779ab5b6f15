"""A judged answer's body, held to what its headers promised."""

from __future__ import annotations

from rangefs.core.redact import redact_url
from rangefs.core.versions import Stat
from rangefs.errors import BadAnswer, Unreachable
from rangefs.sources.answers import Answer

_PAST_THE_END = memoryview(bytearray(1))  #: where a byte would go that nobody asked for; nobody looks at it


class ExchangeBody:
    """`base.Body` over an open `Answer`: counts, and raises where the body is shorter or longer than promised.

    httpx notices neither a body cut off by the end of the connection nor one longer than its Content-Range.
    """

    def __init__(self, answer: Answer, stat: Stat, start: int, end: int | None) -> None:
        self.stat = stat
        self.start = start
        self.end = end
        self._answer = answer
        self._at = start
        if end == start:
            answer.expect_end()

    def __repr__(self) -> str:
        return f"<ExchangeBody [{self.start}, {self.end}) at {self._at} of {self._answer!r}>"

    async def readinto(self, buffer: memoryview) -> int:
        if self.end is None:
            return await self._answer.readinto(buffer)
        left = self.end - self._at
        if not left:
            if await self._answer.readinto(_PAST_THE_END):
                raise BadAnswer(f"{self._who}: more bytes than promised, after {self.end}")
            return 0
        count = await self._answer.readinto(buffer[:left])
        if not count:
            raise Unreachable(f"{self._who}: cut off at {self._at} of {self.end}")
        self._at += count
        if count == left:
            self._answer.expect_end()
        return count

    @property
    def _who(self) -> str:
        return redact_url(str(self._answer.url))


class EmptyBody:
    """Nothing, for a range that begins at or past the end of the version found there."""

    def __init__(self, stat: Stat, start: int) -> None:
        self.stat = stat
        self.start = start
        self.end: int | None = start

    async def readinto(self, buffer: memoryview) -> int:
        return 0
