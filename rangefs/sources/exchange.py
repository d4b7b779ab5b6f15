"""One question, one answer: the HTTP exchange that every web-like source is built on.

What happens here, once: credentials by origin, redirects by hand, tries and
their pauses within the caller's deadline, the gate and breaker of each
origin, hedges, figures, and the translation of transport failures. What an
answer *means* is judged by the source (`core.ranges`).

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

import trio

from rangefs import __version__
from rangefs.core import ranges, retry
from rangefs.core.figures import UpstreamFigures
from rangefs.core.redact import redact_url
from rangefs.core.settings import UpstreamSettings
from rangefs.errors import RangefsError, TooManyRedirects, Unreachable
from rangefs.sources.answers import Answer
from rangefs.sources.bandwidth import Bandwidth
from rangefs.sources.base import Ticket
from rangefs.sources.credentials import Bearer, Credentials, Refusal
from rangefs.sources.dial import Dialer, tls_context
from rangefs.sources.failures import Translated
from rangefs.sources.heads import Request
from rangefs.sources.peers import OriginDown, Peer
from rangefs.sources.redirects import MAX_HOPS, REDIRECTS, Doors, Redirects, next_hop
from rangefs.sources.transport import Transport
from rangefs.sources.urls import Origin, Url, parse_url

CONNECT_TIMEOUT_S = 5.0
STALL_TIMEOUT_S = 10.0
# Codes of stores that mean "try again" under statuses that do not (S3 API Reference, "Error responses").
AGAIN = frozenset(
    {"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "ServerBusy"}
    | {"rateLimitExceeded", "userRateLimitExceeded"}  # Google's JSON API, under 403
)
# A refusal may teach more than one thing in turn: the region, the time, that credentials have expired.
MAX_RENEWALS = 3
REFUSALS = frozenset({400, 401, 403})
# Redirect targets are other origins, with connections of their own worth keeping.
IDLE_FACTOR = 2
BASE_HEADERS = {"user-agent": f"rangefs/{__version__}", "accept": "*/*", "accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Ask:
    """A question, independent of where it is asked in the end.

    fresh  follow redirects anew, not from memory
    hedge  its answer is small: where it is late it may be asked for twice
    """

    method: str
    url: Url
    headers: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False
    hedge: bool = False


class Exchange:
    """All talk with the origins behind one mount.

    root     where the mount is: credentials and custom headers are for its origin only
    bearer   who speaks for us; None: what the settings' files say (`Credentials`)
    doors    which addresses may be reached; None: those of the Internet, and the kind of place where `root` is
    stall_timeout_s  the longest wait for a head, and for more of a body until the origin's own pace is known
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
        self.credentials: Bearer = Credentials(settings, root.origin) if bearer is None else bearer
        self._bandwidth = Bandwidth(settings.bwlimit_bytes_s)
        self._max_connections = settings.max_connections
        self._stall_s = stall_timeout_s
        self._peers: dict[Origin, Peer] = {}
        self._redirects = Redirects()
        dialer = Dialer(
            tls_context(settings.ca_file, settings.client_cert),
            (doors or Doors(root.origin.host)).may_reach,
            None if settings.proxy is None else parse_url(settings.proxy).origin,
        )
        self._transport = Transport(dialer, IDLE_FACTOR * settings.max_connections, CONNECT_TIMEOUT_S)

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

    def failing(self, origin: Origin) -> bool:
        """Has `origin` left so many requests without an answer that only probes are sent?"""
        return origin in self._peers and self._peers[origin].breaker.open

    async def aclose(self) -> None:
        """Closes all connections; the exchange is of no use then."""
        await self._transport.aclose()

    # -- tries ---------------------------------------------------------------

    async def _answered(self, ask: Ask, ticket: Ticket) -> Answer:
        """Tries until an answer comes that another try would not better."""
        failures, renewals = 0, 0
        failure: Unreachable
        while True:
            asked_s = None
            try:
                answer = await self._follow(ask, ticket)
            except OriginDown as error:
                failure = error
                failures += 2  # it waited for somebody's probe; that weighs more
            except Unreachable as error:
                failure = error
                failures += 1
            else:
                await answer.explain()
                if answer.status in REFUSALS and renewals < MAX_RENEWALS and await self._renewed(answer):
                    renewals += 1
                    continue
                if not _worth_another_try(answer):
                    return answer
                failure = Unreachable(f"{answer.url.origin} answers with status {answer.status}{answer.words}")
                failures += 1
                asked_s = retry.retry_after_s(answer.headers.get("retry-after", ""), time.time())
                await answer.aclose()
            await self._pause(failures, asked_s, failure, self._peer(ask.url.origin), ticket)

    async def _pause(
        self, failures: int, asked_s: float | None, failure: Unreachable, peer: Peer, ticket: Ticket
    ) -> None:
        """Waits before the next try, or raises `failure` where there is to be none."""
        left_s = trio.current_effective_deadline() - trio.current_time()
        delay_s = retry.pause_s(failures, random.random(), left_s, asked_s)
        down = isinstance(failure, OriginDown)
        if delay_s is None or (down and not ticket.urgent) or not peer.may_try_again(ticket):
            raise failure
        if not down:  # else the breaker says when
            self.figures.retries += 1
            await trio.sleep(delay_s)

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
            answer = await self._send_hedged(ask, url, ticket)
            location = answer.headers.get("location")
            if answer.status not in REDIRECTS or location is None:
                if url != ask.url and answer.status < 400:
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
            answer = await self._send_hedged(ask, target, ticket)
        except Unreachable:
            self._redirects.forget(ask.url)
            return None
        if answer.status < 300 or answer.status in (412, 416):
            return answer
        self._redirects.forget(ask.url)
        await answer.aclose()
        return None

    # -- one request, or two -----------------------------------------------------

    async def _send_hedged(self, ask: Ask, url: Url, ticket: Ticket) -> Answer:
        """One request; a second one beside it where the first is late by the origin's own measure, and a reader waits.

        The first answer counts, the other request is given up.
        """
        peer = self._peer(url.origin)
        peer.hedges.earn()
        late_s = peer.hedge_after_s if ask.hedge and ticket.urgent else None
        if late_s is None:
            return await self._send(ask, url, ticket)
        race = _Race()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run, ask, url, ticket, race, nursery.cancel_scope)
                await trio.sleep(late_s)
                if not race.failures and peer.hedges.spend():
                    race.runners += 1
                    nursery.start_soon(self._run, ask, url, ticket, race, nursery.cancel_scope)
        except BaseException:
            if race.winner is not None:
                await race.winner.aclose()
            raise
        if race.winner is None:
            raise race.failures[0]
        return race.winner

    async def _run(self, ask: Ask, url: Url, ticket: Ticket, race: _Race, finish: trio.CancelScope) -> None:
        """One side of a race. The first answer ends it, and so does the last failure."""
        try:
            answer = await self._send(ask, url, ticket, race)
        except RangefsError as error:
            race.failures.append(error)
            if len(race.failures) == race.runners:
                finish.cancel()
            return
        if race.winner is None:
            race.winner = answer
            finish.cancel()
        else:  # both came in the same turn of the loop
            await answer.aclose()

    async def _send(self, ask: Ask, url: Url, ticket: Ticket, race: _Race | None = None) -> Answer:
        """One request to one origin, with headers made for that origin."""
        peer = self._peer(url.origin)
        probe = await peer.enter(ticket)
        began = trio.current_time()
        self.figures.in_flight += 1
        self.figures.requests += 1
        try:
            request = await self._request(ask, url)
            began = trio.current_time()
            with Translated(url.origin):
                reply = await self._transport.send(request, url.origin, peer.stalls)
        except BaseException as error:
            self.figures.in_flight -= 1
            peer.gate.release()
            if isinstance(error, Unreachable):
                peer.failed(probe)
            else:
                lost = race is not None and race.winner is not None
                peer.cancelled(0.0 if lost else trio.current_time() - began, probe)
            raise
        peer.answered(reply.status, trio.current_time() - began, probe)
        return Answer(reply, url, peer, self.figures, self._bandwidth)

    async def _request(self, ask: Ask, url: Url) -> Request:
        headers = {"host": url.origin.authority, **BASE_HEADERS, **ask.headers}
        headers.update(await self.credentials.headers_for(ask.method, url, ask.headers))
        return Request(ask.method, url.target, headers)

    def _peer(self, origin: Origin) -> Peer:
        peer = self._peers.get(origin)
        if peer is None:
            peer = self._peers[origin] = Peer(origin, self._max_connections, self._stall_s)
        return peer


def _worth_another_try(answer: Answer) -> bool:
    return answer.status in ranges.RETRYABLE or (answer.problem is not None and answer.problem.code in AGAIN)


@dataclass(slots=True)
class _Race:
    """A request and its hedge: who won, and who fell."""

    runners: int = 1
    winner: Answer | None = None
    failures: list[RangefsError] = field(default_factory=list)
