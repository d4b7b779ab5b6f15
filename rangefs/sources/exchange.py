"""One question, one answer: the HTTP exchange that every web-like source is built on.

What happens here, once: credentials by origin, redirects by hand, tries and
their pauses within the caller's deadline, the gate of each origin, figures,
and the translation of transport failures. What an answer *means* is judged
by the source (`core.ranges`).

Invariants: a slot of a gate is held exactly while a request is under way or
its answer is open; nobody holds a slot while they pause. An answer given up
early costs its connection, never a drained body.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import trio

from rangefs import __version__
from rangefs.core import ranges, retry
from rangefs.core.figures import UpstreamFigures
from rangefs.core.listing.store_errors import StoreError, parse_store_error
from rangefs.core.redact import redact_url
from rangefs.core.settings import KiB, UpstreamSettings
from rangefs.core.validators import Headers, body_length
from rangefs.errors import RangefsError, TooManyRedirects, Unreachable
from rangefs.sources.bandwidth import Bandwidth
from rangefs.sources.base import Ticket
from rangefs.sources.credentials import Bearer, Credentials, Refusal
from rangefs.sources.dial import Dialer, tls_context
from rangefs.sources.failures import Translated
from rangefs.sources.gate import Gate
from rangefs.sources.redirects import MAX_HOPS, REDIRECTS, Doors, Redirects, next_hop
from rangefs.sources.transport import Transport
from rangefs.sources.urls import Origin, Url, parse_url

CONNECT_TIMEOUT_S = 5.0
STALL_TIMEOUT_S = 10.0
# An error page up to this size is read to its end, so that the connection can be used again; a larger one is cut.
DRAIN_BYTES = 64 * KiB
# ... but only if it is there at once: it came with its headers, as a rule.
DRAIN_S = 0.2
# The words that come with a refusal are worth a little more patience than a connection is.
EXPLAIN_S = 2.0
# Codes of stores that mean "try again" under statuses that do not (S3 API Reference, "Error responses").
AGAIN = frozenset({"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "ServerBusy"})
# A refusal may teach more than one thing in turn: the region, the time, that credentials have expired.
MAX_RENEWALS = 3
REFUSALS = frozenset({400, 401, 403})
_REQUEST_IDS = ("x-amz-request-id", "x-ms-request-id", "x-guploader-uploadid")
# Redirect targets are other origins, with connections of their own worth keeping.
IDLE_FACTOR = 2
BASE_HEADERS = {"user-agent": f"rangefs/{__version__}", "accept-encoding": "identity"}
_NOTHING = httpx.ByteStream(b"")


@dataclass(frozen=True, slots=True)
class Ask:
    """A question, independent of where it is asked in the end.

    fresh  follow redirects anew, not from memory
    """

    method: str
    url: Url
    headers: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False


class Answer:
    """Status and headers, and a body that has not been read yet: iterate over it, once, for its raw pieces.

    url      what answered, after redirects
    problem  why it says no, in the origin's own words, where it has any

    Iterating raises `Unreachable` where the body breaks off or stalls.
    """

    def __init__(self, exchange: Exchange, gate: Gate, url: Url, response: httpx.Response, bodiless: bool) -> None:
        self.status = response.status_code
        self.headers: Headers = _joined(response.headers.raw)
        self.url = url
        self.problem: StoreError | None = None
        self._exchange = exchange
        self._gate = gate
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._body = response.stream
        self._pieces = self._body.__aiter__()
        self._ended = False
        self._bodiless = bodiless
        length = 0 if bodiless else body_length(self.headers)
        self._drainable = bodiless or (self.status >= 300 and length is not None and length <= DRAIN_BYTES)

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

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        with Translated(self.url.origin):
            try:
                piece = await self._pieces.__anext__()
            except StopAsyncIteration:
                self._ended = True
                raise
        self._exchange.figures.bytes += len(piece)
        await self._exchange.bandwidth.pay(len(piece))
        return piece

    async def read(self, limit_bytes: int) -> bytes | None:
        """The whole body, or None if it is larger than `limit_bytes`."""
        parts: list[bytes] = []
        size_bytes = 0
        async for piece in self:
            parts.append(piece)
            size_bytes += len(piece)
            if size_bytes > limit_bytes:
                return None
        return b"".join(parts)

    async def explain(self) -> None:
        """Reads why it says no, if it is a store's XML or JSON of usual size that is there at once: sets `problem`."""
        if self.status < 300:
            return
        code = self.headers.get("x-ms-error-code", "")[:64]  # all that Azure says to a HEAD
        self.problem = StoreError(code) if code.isalnum() else None
        kind, length = self.headers.get("content-type", ""), body_length(self.headers)
        if self._bodiless or (length or 0) > DRAIN_BYTES or not ("xml" in kind or "json" in kind):
            return
        with trio.move_on_after(EXPLAIN_S) as scope:
            try:
                self.problem = parse_store_error(await self.read(DRAIN_BYTES) or b"") or self.problem
            except Unreachable:
                self._ended = True  # broken off: its status has to do
        if scope.cancelled_caught:
            self._drainable = False

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
                with trio.CancelScope(shield=True), Translated(self.url.origin):
                    await self._body.aclose()
            finally:
                self._exchange.figures.in_flight -= 1
                self._gate.release()

    async def _drain(self) -> None:
        with trio.move_on_after(DRAIN_S):
            try:
                async for _ in self:
                    pass
            except RangefsError:
                self._ended = True  # broken off: the connection closes itself


class Exchange:
    """All talk with the origins behind one mount.

    root     where the mount is: credentials and custom headers are for its origin only
    bearer   who speaks for us; None: what the settings' files say (`Credentials`)
    doors    which addresses may be reached; None: those of the Internet, and the kind of place where `root` is
    stall_timeout_s  a connection on which no byte comes for so long is dropped
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        figures: UpstreamFigures,
        root: Url,
        stall_timeout_s: float = STALL_TIMEOUT_S,
        bearer: Bearer | None = None,
        doors: Doors | None = None,
    ) -> None:
        self.figures = figures
        self.bandwidth = Bandwidth(settings.bwlimit_bytes_s)
        self.credentials: Bearer = Credentials(settings, root.origin) if bearer is None else bearer
        self._max_connections = settings.max_connections
        self._gates: dict[Origin, Gate] = {}
        self._origin_urls: dict[Origin, httpx.URL] = {}
        self._redirects = Redirects()
        dialer = Dialer(
            tls_context(settings.ca_file, settings.client_cert),
            (doors or Doors(root.origin.host)).may_reach,
            None if settings.proxy is None else parse_url(settings.proxy).origin,
        )
        idle = IDLE_FACTOR * settings.max_connections
        self._transport = Transport(dialer, idle, CONNECT_TIMEOUT_S, stall_timeout_s)

    @asynccontextmanager
    async def open(self, ask: Ask, ticket: Ticket) -> AsyncIterator[Answer]:
        """The answer to `ask`, after tries and redirects; any status that is not worth another try.

        Raises `Unreachable` (all tries used up), `TooManyRedirects`, `Denied`, `BadAnswer`.
        Cancelled: the connection is closed, the slot given back.
        """
        try:
            answer = await self._answered(ask, ticket)
        except RangefsError:
            self.figures.errors += 1
            raise
        try:
            yield answer
        finally:
            await answer.aclose()

    async def aclose(self) -> None:
        """Closes all connections; the exchange is of no use then."""
        await self._transport.aclose()

    # -- tries ---------------------------------------------------------------

    async def _answered(self, ask: Ask, ticket: Ticket) -> Answer:
        """Tries until an answer comes that another try would not better."""
        failures, renewals = 0, 0
        while True:
            asked_s = None
            try:
                answer = await self._follow(ask, ticket)
            except Unreachable as error:
                failure = error
                if isinstance(error.__cause__, httpx.TimeoutException):
                    await self._transport.drop_idle()
            else:
                await _explained(answer)
                if answer.status in REFUSALS and renewals < MAX_RENEWALS and await self._renewed(answer):
                    renewals += 1
                    continue
                if not _worth_another_try(answer):
                    return answer
                failure = Unreachable(f"{answer.url.origin} answers with status {answer.status}{answer.words}")
                asked_s = retry.retry_after_s(answer.headers.get("retry-after", ""), time.time())
                await answer.aclose()
            failures += 1
            await _pause(failures, asked_s, failure)
            self.figures.retries += 1

    async def _renewed(self, answer: Answer) -> bool:
        """Has the bearer learned from a refusal how to do better? Then `answer` has been closed."""
        try:
            renewed = await self.credentials.renew(Refusal(answer.status, answer.headers, answer.problem))
        except BaseException:
            await answer.aclose()
            raise
        if renewed:
            await answer.aclose()
        return renewed

    # -- redirects -----------------------------------------------------------

    async def _follow(self, ask: Ask, ticket: Ticket) -> Answer:
        """The first answer that is no redirect. A target known from before is asked first, and once only."""
        if not ask.fresh:
            answer = await self._from_known_target(ask, ticket)
            if answer is not None:
                return answer
        url = ask.url
        for _ in range(1 + MAX_HOPS):
            answer = await self._send(ask, url, ticket)
            location = answer.headers.get("location")
            if answer.status not in REDIRECTS or location is None:
                if url != ask.url:
                    self._redirects.remember(ask.url, url, trio.current_time())
                return answer
            await answer.aclose()
            url = next_hop(url, location)
        raise TooManyRedirects(f"{redact_url(str(ask.url))}: more than {MAX_HOPS} redirects")

    async def _from_known_target(self, ask: Ask, ticket: Ticket) -> Answer | None:
        """The remembered target's answer; None where the original has to be asked (none known, expired, gone)."""
        target = self._redirects.get(ask.url, trio.current_time())
        if target is None:
            return None
        try:
            answer = await self._send(ask, target, ticket)
        except Unreachable:
            self._redirects.forget(ask.url)
            return None
        if answer.status < 300 or answer.status in (412, 416):
            return answer
        self._redirects.forget(ask.url)
        await answer.aclose()
        return None

    # -- one request ---------------------------------------------------------

    async def _send(self, ask: Ask, url: Url, ticket: Ticket) -> Answer:
        """One request to one origin, with headers made for that origin."""
        gate = self._gate(url.origin)
        await gate.acquire(ticket)
        self.figures.in_flight += 1
        self.figures.requests += 1
        try:
            headers = [
                ("host", url.origin.authority),
                *(BASE_HEADERS | dict(ask.headers)).items(),
                *await self.credentials.headers_for(ask.method, url, ask.headers),
            ]
            with Translated(url.origin):
                response = await self._transport.handle_async_request(
                    httpx.Request(
                        ask.method,
                        self._origin_url(url.origin),
                        headers=headers,
                        stream=_NOTHING,
                        extensions={"origin": url.origin, "target": url.target},
                    )
                )
        except BaseException:
            self.figures.in_flight -= 1
            gate.release()
            raise
        if response.status_code in ranges.THROTTLED:
            gate.concurrency.throttled(trio.current_time())
        else:
            gate.concurrency.succeeded()
        return Answer(self, gate, url, response, bodiless=ask.method == "HEAD")

    def _gate(self, origin: Origin) -> Gate:
        gate = self._gates.get(origin)
        if gate is None:
            gate = self._gates[origin] = Gate(retry.Concurrency(self._max_connections))
        return gate

    def _origin_url(self, origin: Origin) -> httpx.URL:
        """Parsed once per origin: parsing costs as much as the rest of building a request."""
        url = self._origin_urls.get(origin)
        if url is None:
            url = self._origin_urls[origin] = httpx.URL(f"{origin}/")
        return url


async def _explained(answer: Answer) -> None:
    """As `Answer.explain`; cancelled, it closes the answer, which nobody holds yet."""
    try:
        await answer.explain()
    except BaseException:
        await answer.aclose()
        raise


def _worth_another_try(answer: Answer) -> bool:
    return answer.status in ranges.RETRYABLE or (answer.problem is not None and answer.problem.code in AGAIN)


async def _pause(failures: int, asked_s: float | None, failure: Unreachable) -> None:
    """Waits before the next try, or raises `failure` where there is to be none."""
    left_s = trio.current_effective_deadline() - trio.current_time()
    delay_s = retry.pause_s(failures, random.random(), left_s, asked_s)
    if delay_s is None:
        raise failure
    await trio.sleep(delay_s)


def _joined(raw: list[tuple[bytes, bytes]]) -> Headers:
    """Lower-case names, repeated fields joined: so that a doubled Content-Range is seen to be no Content-Range."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
