"""Objects by HEAD and GET: what every source whose objects have URLs does alike.

A source says where an object is and what an answer tells of its version;
here it is asked, judged (`core.ranges`), pinned, and refused in one line.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from rangefs.core import ranges, validators
from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.names import component
from rangefs.core.ranges import Bad, Changed, Forbidden, Missing, Part, PastEnd, Refused, Verdict, Whole
from rangefs.core.redact import redact_url
from rangefs.core.settings import KiB, UpstreamSettings
from rangefs.core.validators import Headers
from rangefs.core.versions import Stat, Version
from rangefs.errors import BadAnswer, Denied, NotFound, RangesIgnored, Stale, Unreachable
from rangefs.sources.answers import Answer
from rangefs.sources.base import Body, Ticket
from rangefs.sources.bodies import EmptyBody, ExchangeBody
from rangefs.sources.exchange import Ask, Exchange
from rangefs.sources.habits import Habits
from rangefs.sources.urls import Url

# Where HEAD is answered so, a GET of one byte may do better: methods that are forbidden, and stores whose refusal
# has no body and so no words.
HEAD_REFUSED = frozenset({400, 403, 405, 501})
# Ranges up to here may be asked for twice when late: what the loser had sent by then is thrown away.
HEDGE_BYTES = 256 * KiB


@dataclass(frozen=True, slots=True)
class Learned:
    """What an object is now, and the URL that told it, after redirects."""

    stat: Stat
    url: Url


class ObjectSource:
    """The half of `base.Source` that deals with single objects. Its children know folders, and say where objects are.

    exchange  children with credentials or answers of their own kind give theirs
    """

    def __init__(self, settings: UpstreamSettings, exchange: Exchange) -> None:
        self._settings = settings
        self._exchange = exchange
        self._habits = Habits()
        self._file_key: bytes | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url(b'')}>"

    @property
    def single(self) -> bytes | None:
        """The key of the one file that is mounted; None for a folder, and before `connect`."""
        return self._file_key

    @property
    def failing(self) -> bool:
        """Does the origin leave requests without an answer, so that only probes are sent? What is cached may serve."""
        return self._exchange.failing(self._at(b"").origin)

    async def aclose(self) -> None:
        await self._exchange.aclose()

    # -- what children say ---------------------------------------------------------

    def _at(self, key: bytes, pin: Version | None = None) -> Url:
        """Where `key` is; of the very version `pin`, where the origin keeps versions apart by URL."""
        raise NotImplementedError

    def _stat_of(self, key: bytes, headers: Headers, size: int | None, now: float) -> Stat:
        """What an answer says of the object (`validators.stat_of`)."""
        return validators.stat_of(key, headers, size, now)

    def _headers(self, pin: Version | None) -> dict[str, str]:
        """What to send with a question about an object, beside the range."""
        return self._preconditions(pin)

    def _open(self, ask: Ask, ticket: Ticket) -> AbstractAsyncContextManager[Answer]:
        """The answer to `ask`; children may look at it and ask elsewhere."""
        return self._exchange.open(ask, ticket)

    def url(self, key: bytes) -> str:
        return redact_url(str(self._at(key)))

    # -- objects -------------------------------------------------------------------

    async def stat(self, key: bytes) -> Stat:
        return (await self._learn(self._at(key), key)).stat

    async def _learn(self, url: Url, key: bytes) -> Learned:
        """What is at `url` now: by HEAD, else by one byte, else by a plain GET's headers."""
        if not self._habits.refuses_head:
            async with self._open(Ask("HEAD", url, self._headers(None), fresh=True, hedge=True), Ticket()) as answer:
                verdict = self._judge_whole(answer, key, None)
                if isinstance(verdict, Part) and (verdict.end is not None or self._habits.ignores_ranges(key)):
                    return Learned(verdict.stat, answer.url)
                self._habits.refuses_head = answer.status in (405, 501)
            if not isinstance(verdict, Part) and answer.status not in HEAD_REFUSED:
                self._refuse(verdict, self._who(url, key), answer)
        ask = Ask("GET", url, {"range": ranges.range_header(0, 1), **self._headers(None)}, fresh=True)
        async with self._open(ask, Ticket()) as answer:
            verdict = self._judge(answer, key, 0, 1, None)
        if isinstance(verdict, PastEnd):
            async with self._open(Ask("GET", url, self._headers(None), fresh=True), Ticket()) as answer:
                verdict = self._judge_whole(answer, key, None)
        if not isinstance(verdict, Part | Whole):
            self._refuse(verdict, self._who(url, key), answer)
        if isinstance(verdict, Whole):
            self._habits.answered_whole(key)
        return Learned(verdict.stat, answer.url)

    async def _list_one_file(self, key: bytes) -> Listing:
        """The listing of a root that is this one file. Its name is the key's, percent-decoded and without a query."""
        stat = await self.stat(key)
        validator = stat.version.validator
        name = component(self._name_of(key))
        entry = Entry(
            name.name,
            Kind.FILE,
            key,
            stat.version.size,
            stat.mtime_ns,
            etag=validator if validators.is_etag(validator) else "",
        )
        return Listing((entry,), escaped=int(name.escaped))

    def _name_of(self, key: bytes) -> bytes:
        """The raw name behind the key of a single file: here it is percent-encoded, perhaps with a query."""
        return unquote_to_bytes(key.partition(b"?")[0])

    @asynccontextmanager
    async def fetch(self, key: bytes, start: int, end: int, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        fits = start == 0 and pin is not None and pin.size is not None and pin.size <= end
        if self._habits.ignores_ranges(key) and not fits:
            raise RangesIgnored(f"{self.url(key)}: this server has no ranges")
        headers = {"range": ranges.range_header(start, end), **self._headers(pin)}
        ask = Ask("GET", self._at(key, pin), headers, hedge=end - start <= HEDGE_BYTES)
        async with self._open(ask, ticket) as answer:
            verdict = self._judge(answer, key, start, end, pin)
            if isinstance(verdict, Part):
                if answer.status == 206:
                    self._habits.answered_a_range(key)
                yield ExchangeBody(answer, verdict.stat, verdict.start, verdict.end)
                return
        if isinstance(verdict, Whole):
            self._habits.answered_whole(key)
            raise RangesIgnored(f"{self.url(key)}: the server answered a range with the whole file")
        if isinstance(verdict, PastEnd) and pin is None:
            stat = await self.stat(key)
            if stat.version.size is None or stat.version.size > start:
                raise BadAnswer(f"{self.url(key)}: refuses a range inside its {stat.version.size} bytes")
            yield EmptyBody(stat, start)
            return
        if await self._another_way(verdict, key, pin):
            async with self.fetch(key, start, end, pin, ticket) as body:
                yield body
            return
        await self._refuse_pinned(verdict, key, pin, answer)

    @asynccontextmanager
    async def fetch_whole(self, key: bytes, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        ask = Ask("GET", self._at(key, pin), self._headers(pin))
        async with self._open(ask, ticket) as answer:
            verdict = self._judge_whole(answer, key, pin)
            if isinstance(verdict, Part):
                yield ExchangeBody(answer, verdict.stat, 0, verdict.end)
                return
        if await self._another_way(verdict, key, pin):
            async with self.fetch_whole(key, pin, ticket) as body:
                yield body
            return
        await self._refuse_pinned(verdict, key, pin, answer)

    # -- verdicts become errors ------------------------------------------------------

    def _judge(self, answer: Answer, key: bytes, start: int, end: int, pin: Version | None) -> Verdict:
        return ranges.judge(answer.status, answer.headers, key, start, end, pin, time.time(), self._stat_of)

    def _judge_whole(self, answer: Answer, key: bytes, pin: Version | None) -> Verdict:
        return ranges.judge_whole(answer.status, answer.headers, key, pin, time.time(), self._stat_of)

    def _preconditions(self, pin: Version | None) -> dict[str, str]:
        return {} if self._habits.lies_about_matches else validators.preconditions(pin)

    async def _another_way(self, verdict: Verdict, key: bytes, pin: Version | None) -> bool:
        """Should the same be asked again, as something has been learned of how to ask?

        After a 412: does the origin still show the very version that it denied to have? Then it isn't asked so.
        """
        if not isinstance(verdict, Refused):
            return False
        stat = await self._there_now(key)
        if pin is None or not validators.compatible(pin, stat):
            self._stale(key, stat)
        self._habits.lies_about_matches = True
        return True

    async def _refuse_pinned(self, verdict: Verdict, key: bytes, pin: Version | None, answer: Answer) -> NoReturn:
        """Raises what `verdict` means for a fetch."""
        match verdict:
            case Changed(stat):
                self._stale(key, stat)
            case Missing() if pin is not None:
                self._stale(key, None)
            case PastEnd() if pin is not None:
                stat = await self._there_now(key)
                if not validators.compatible(pin, stat):
                    self._stale(key, stat)
                raise BadAnswer(f"{self.url(key)}: refuses a range inside its {pin.size} bytes")
        self._refuse(verdict, self.url(key), answer)

    async def _there_now(self, key: bytes) -> Stat:
        """What is there instead of a pinned version. Raises `Stale` where nothing is."""
        try:
            return await self.stat(key)
        except NotFound as error:
            raise Stale(f"{self.url(key)} is gone upstream") from error

    def _stale(self, key: bytes, stat: Stat | None) -> NoReturn:
        raise Stale(f"{self.url(key)} {'is gone' if stat is None else 'has changed'} upstream", stat)

    def _who(self, url: Url, key: bytes) -> str:
        """The object's name for people, where `url` may not be that of `key`."""
        return redact_url(str(url))

    def _refuse(self, verdict: Verdict, where: str, answer: Answer) -> NoReturn:
        """Raises the error for a `verdict` that is no answer, in the store's own words where it has some."""
        words = answer.words
        match verdict:
            case Missing():
                raise NotFound(f"{where}: not found{words}")
            case Forbidden(403) if self._settings.forbidden_as_missing:
                raise NotFound(f"{where}: not found (403){words}")
            case Forbidden(401) if not words:
                raise Denied(f"{where}: asks who we are (status 401): --netrc, --header-file or --bearer-token-file")
            case Forbidden(status):
                raise Denied(f"{where}: access denied (status {status}){words}")
            case ranges.Again(status):
                raise Unreachable(f"{where}: status {status}{words}")
            case Bad(reason):
                raise BadAnswer(f"{where}: {reason}{words}")
        raise BadAnswer(f"{where}: {type(verdict).__name__} where none of it was asked")
