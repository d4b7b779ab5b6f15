"""An answer whose body is still on the wire."""

from __future__ import annotations

import httpx
import trio

from rangefs.core.figures import UpstreamFigures
from rangefs.core.listing.store_errors import StoreError, parse_store_error
from rangefs.core.redact import redact_url
from rangefs.core.settings import KiB
from rangefs.core.validators import Headers
from rangefs.errors import RangefsError
from rangefs.sources.bandwidth import Bandwidth
from rangefs.sources.base import read_all
from rangefs.sources.failures import Translated
from rangefs.sources.peers import Peer
from rangefs.sources.transport import Reply
from rangefs.sources.urls import Url

# A body up to this size that nobody wants (an error page) is read to its end, so that the connection can be used
# again; a larger one costs its connection instead.
DRAIN_BYTES = 64 * KiB
# ... but only if it is there at once: it came with its head, as a rule.
DRAIN_S = 0.2
# The words that come with a refusal are worth a little more patience than a connection is.
EXPLAIN_S = 2.0
_REQUEST_IDS = ("x-amz-request-id", "x-ms-request-id", "x-guploader-uploadid")


class Answer:
    """Status and headers, and a body that has not been read yet.

    url      what answered, after redirects
    problem  why it says no, in the origin's own words, where it has any

    Reading raises `Unreachable` where the body breaks off or stalls. Holds a slot of the peer's gate until closed.
    """

    def __init__(self, reply: Reply, url: Url, peer: Peer, figures: UpstreamFigures, bandwidth: Bandwidth) -> None:
        self.status = reply.status
        self.headers: Headers = reply.headers
        self.url = url
        self.problem: StoreError | None = None
        self._peer = peer
        self._figures = figures
        self._bandwidth = bandwidth
        self._reply = reply
        self._ended = False
        self._drainable = reply.left is not None and reply.left <= DRAIN_BYTES

    def __repr__(self) -> str:
        return f"<Answer {self.status} of {redact_url(str(self.url))}>"

    @property
    def words(self) -> str:
        """``: Code "message" (request id)``, to go behind an error of ours; "" where upstream said nothing."""
        if self.problem is None:
            return ""
        message = f' "{self.problem.message}"' if self.problem.message else ""
        request = self.problem.request_id or next((self.headers[n] for n in _REQUEST_IDS if n in self.headers), "")
        return f": {self.problem.code}{message}" + (f" (request {request[:64]})" if request else "")

    async def readinto(self, buffer: memoryview) -> int:
        """The next raw bytes of the body into `buffer` (not empty): how many, 0 at its end."""
        with Translated(self.url.origin):
            try:
                count = await self._reply.readinto(buffer)
            except httpx.ReadTimeout:
                self._peer.was_silent(self._reply.longest_silence_s)
                raise
        if not count:
            self._ended = True
            self._peer.was_silent(self._reply.longest_silence_s)
            return 0
        self._figures.bytes += count
        await self._bandwidth.pay(count)
        return count

    async def read(self, limit_bytes: int) -> bytes | None:
        """The whole body, or None if it is larger than `limit_bytes`."""
        return await read_all(self, limit_bytes)

    async def explain(self) -> None:
        """Reads why it says no, if it is a store's XML or JSON of usual size that is there at once: sets `problem`.

        Cancelled: the answer is closed, which nobody holds yet.
        """
        if self.status < 300:
            return
        code = self.headers.get("x-ms-error-code", "")[:64]  # all that Azure says to a HEAD
        self.problem = StoreError(code) if code.isalnum() else None
        kind, left = self.headers.get("content-type", ""), self._reply.left
        if left == 0 or (left or 0) > DRAIN_BYTES or not ("xml" in kind or "json" in kind):
            return
        try:
            with trio.move_on_after(EXPLAIN_S) as scope:
                try:
                    self.problem = parse_store_error(await self.read(DRAIN_BYTES) or b"") or self.problem
                except RangefsError:
                    self._ended = True  # broken off: its status has to do
            if scope.cancelled_caught:
                self._drainable = False
        except BaseException:
            await self.aclose()
            raise

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
                await self._reply.aclose()
            finally:
                self._figures.in_flight -= 1
                self._peer.gate.release()

    async def _drain(self) -> None:
        with trio.move_on_after(DRAIN_S):
            try:
                scratch = memoryview(bytearray(DRAIN_BYTES))
                while await self.readinto(scratch):
                    pass
            except RangefsError:
                self._ended = True  # broken off: the connection closes itself
