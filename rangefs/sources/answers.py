"""An answer whose body is still on the wire."""

from __future__ import annotations

import httpx
import trio

from rangefs.core.figures import UpstreamFigures
from rangefs.core.redact import redact_url
from rangefs.core.settings import KiB
from rangefs.core.validators import Headers, body_length
from rangefs.errors import RangefsError
from rangefs.sources.bandwidth import Bandwidth
from rangefs.sources.failures import Translated
from rangefs.sources.peers import Peer
from rangefs.sources.transport import RawBody
from rangefs.sources.urls import Url

# A body up to this size that nobody wants (an error page) is read to its end, so that the connection can be used
# again; a larger one costs its connection instead.
DRAIN_BYTES = 64 * KiB
# ... but only if it is there at once: it came with its head, as a rule.
DRAIN_S = 0.2


class Answer:
    """Status and headers, and a body that has not been read yet: iterate over it, once, for its raw pieces.

    url  what answered, after redirects

    Iterating raises `Unreachable` where the body breaks off or stalls. Holds a slot of the peer's gate until closed.
    """

    def __init__(
        self, response: httpx.Response, url: Url, peer: Peer, figures: UpstreamFigures, bandwidth: Bandwidth
    ) -> None:
        self.status = response.status_code
        self.headers: Headers = _joined(response.headers.raw)
        self.url = url
        self._peer = peer
        self._figures = figures
        self._bandwidth = bandwidth
        assert isinstance(response.stream, RawBody)
        self._body = response.stream
        self._ended = False
        length = body_length(self.headers)
        self._drainable = self._body.empty or (length is not None and length <= DRAIN_BYTES)

    def __repr__(self) -> str:
        return f"<Answer {self.status} of {redact_url(str(self.url))}>"

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        with Translated(self.url.origin):
            try:
                piece = await self._body.__anext__()
            except StopAsyncIteration:
                self._ended = True
                self._peer.was_silent(self._body.longest_silence_s)
                raise
            except httpx.ReadTimeout:
                self._peer.was_silent(self._body.longest_silence_s)
                raise
        self._figures.bytes += len(piece)
        await self._bandwidth.pay(len(piece))
        return piece

    def expect_end(self) -> None:
        """All that was promised has been read: what `aclose` may still have to read is the end mark alone."""
        self._drainable = True

    async def aclose(self) -> None:
        """Gives back the connection (read to its end) or closes it (given up early), and the slot."""
        try:
            if self._drainable and not self._ended:
                await self._drain()
        finally:
            try:
                with trio.CancelScope(shield=True):  # does not wait
                    await self._body.aclose()
            finally:
                self._figures.in_flight -= 1
                self._peer.gate.release()

    async def _drain(self) -> None:
        with trio.move_on_after(DRAIN_S):
            try:
                async for _ in self:
                    pass
            except RangefsError:
                self._ended = True  # broken off: the connection closes itself


def _joined(raw: list[tuple[bytes, bytes]]) -> Headers:
    """Lower-case names, repeated fields joined: so that a doubled Content-Range is seen to be no Content-Range."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
