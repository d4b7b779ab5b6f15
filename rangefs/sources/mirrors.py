"""``--mirror URL``: one tree on several origins, behind the same protocol as one.

The primary's word counts: what it says is there, is not there, or has changed,
is so. Mirrors stand in for it while it does not answer, and beside it give
bytes of versions that they have in common (`core.joining`); nothing that a
mirror lacks or has otherwise is ever "deleted" or "changed".

- **Names and versions** are asked of the primary; of the mirrors when it fails,
  or is silent for longer than `HOLD`. Their answers are marked as ``mirrored``.
- **Bytes of a pinned version** come from whoever has it and would be soonest:
  small ranges from the fastest, ranges ahead spread over all.
- **A dead origin** costs its first few readers a moment; then it is asked by
  one probe at a time (`run`), and again like the others once it answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import trio

from rangefs.core.entries import Entry, Listing
from rangefs.core.failover import Agreements, Has, Roster
from rangefs.core.joining import PRIMARY, asked_of, common, joinable, owner
from rangefs.core.versions import Stat, Version
from rangefs.errors import DeadlineExceeded, RangefsError, RangesIgnored, Unreachable
from rangefs.sources.bandwidth import Bandwidth
from rangefs.sources.base import Body, Finder, Ticket
from rangefs.sources.contest import Contest, Patience, Won
from rangefs.sources.upstream import Upstream, WatchedBody

T = TypeVar("T")

# An open has 5 s, the check of a known version 2 s (fs.asking): the mirrors' answer has to be here by then.
ONE_FILE = Patience(next_s=0.5, hold_s=1.5, rated=True, brief=True)
# A folder's page may take its time; while bytes of it come it is waited for.
FOLDER = Patience(next_s=1.0, hold_s=2.5, brief=True)
CONNECT = Patience(next_s=0.0, hold_s=2.5)
# Bytes are the same from whoever has them: another one is asked when this one is late by its own measure.
LATE_FACTOR = 4.0
LATE_MIN_S = 0.25
LATE_MAX_S = 1.0
# Ranges ahead queue for a connection of their own.
LATE_AHEAD_S = 2.5
# A silent body is dropped after this where another origin may have the rest: far above any pause of a live one.
STALL_S = 3.0
PROBE_S = 3.0
#: an origin that is down and that nobody needs is looked at so often, for the sake of ``rangefs status``
IDLE_PROBE_S = 10.0
#: one that answers and can't be used (no such folder, no listing, access denied)
USELESS_PROBE_S = 60.0


class AnotherVersion(RangefsError):
    """A mirror has other bytes than those asked for. Internal: another origin is asked."""


@dataclass(slots=True)
class _Opened:
    """A body under way; `stack` closes it."""

    stack: AsyncExitStack
    body: Body
    stat: Stat

    async def aclose(self) -> None:
        await self.stack.aclose()


class Mirrors:
    """A primary and its mirrors, as one `Source`. `run` must run beside it for origins to come back.

    upstreams  the primary first
    """

    def __init__(self, upstreams: list[Upstream], roster: Roster, bandwidth: Bandwidth) -> None:
        self.upstreams = upstreams
        self._primary = upstreams[PRIMARY]
        self._roster = roster
        self._agreements = Agreements()
        self._bandwidth = bandwidth
        self._last_key = b""
        self.identity = self._primary.source.identity

    def __repr__(self) -> str:
        return f"<Mirrors {self.upstreams!r}>"

    # -- life --------------------------------------------------------------------------

    async def connect(self) -> None:
        """Proves that the primary's root answers or, where it does not, that of a mirror."""
        await Contest(self.upstreams, Upstream.connect, CONNECT, eager=True).run()

    async def run(self) -> None:
        """Brings back origins that were down, by one probe at a time each. Until cancelled."""
        async with trio.open_nursery() as nursery:
            for upstream in self.upstreams:
                nursery.start_soon(self._look_after, upstream)

    async def _look_after(self, upstream: Upstream) -> None:
        while True:
            if not upstream.health.doubted:
                await upstream.wanted.wait()
            now = trio.current_time()
            await trio.sleep_until(max(now, upstream.health.next_probe_at) if upstream.health.down else now)
            upstream.wanted = trio.Event()
            if upstream.health.may_probe(trio.current_time()):
                await self._probe(upstream)
                if upstream.health.down:
                    with trio.move_on_after(IDLE_PROBE_S):
                        await upstream.wanted.wait()

    async def _probe(self, upstream: Upstream) -> None:
        """One question, small and of the kind that it gets from readers."""
        why, useless_s = f"{upstream.name}: no answer for {PROBE_S:g} s", 0.0
        try:
            with trio.move_on_after(PROBE_S):
                if upstream.connected:
                    await upstream.source.stat(upstream.key(self._last_key, self._primary))
                else:
                    await upstream.connect()
                upstream.answered()
                return
        except (Unreachable, DeadlineExceeded) as error:
            why = str(error)
        except RangefsError as error:
            if upstream.connected:  # it answers: that is all that was asked
                upstream.answered()
                return
            why, useless_s = str(error), USELESS_PROBE_S
        except BaseException:
            upstream.health.gave_up()
            raise
        upstream.missed(why, useless_s)

    async def aclose(self) -> None:
        for upstream in self.upstreams:
            await upstream.source.aclose()

    def url(self, key: bytes) -> str:
        return self._primary.source.url(key)

    # -- names and versions ------------------------------------------------------------

    async def list(self, key: bytes) -> Listing:
        async def ask(upstream: Upstream) -> Listing:
            return upstream.listed(await upstream.source.list(upstream.key(key, self._primary)), self._primary)

        return (await self._asked(ask, FOLDER)).value

    async def stat(self, key: bytes) -> Stat:
        self._last_key = key

        async def ask(upstream: Upstream) -> Stat:
            return upstream.told(key, await upstream.source.stat(upstream.key(key, self._primary)))

        return (await self._asked(ask, ONE_FILE)).value

    async def _asked(self, ask: Callable[[Upstream], Awaitable[T]], patience: Patience) -> Won[T]:
        """The primary's answer to `ask`, or a mirror's. Raises the primary's error: a mirror's "no" means nothing."""
        return await Contest(self._by_word(), _connected(ask), patience).run()

    def _by_word(self) -> Sequence[Upstream]:
        """Whose word is asked for first: the primary's while it is up, then the mirrors' that are."""
        self._call_the_fallen()
        ranked = self._ranked(self.upstreams, 0)
        return sorted(ranked, key=lambda upstream: (upstream.health.down, not upstream.is_primary))

    def _ranked(self, upstreams: Iterable[Upstream], size_bytes: int) -> Sequence[Upstream]:
        numbers = self._roster.order([upstream.number for upstream in upstreams], size_bytes)
        return [self.upstreams[number] for number in numbers]

    def _call_the_fallen(self) -> None:
        """Somebody could do with those that are down."""
        for upstream in self.upstreams:
            if upstream.health.down:
                upstream.wanted.set()

    # -- bytes -------------------------------------------------------------------------

    @asynccontextmanager
    async def fetch(self, key: bytes, start: int, end: int, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        def opening(upstream: Upstream, pin: Version | None, ticket: Ticket) -> AbstractAsyncContextManager[Body]:
            return upstream.source.fetch(upstream.key(key, self._primary), start, end, pin, ticket)

        async with self._opened(key, pin, end - start, ticket, opening) as body:
            yield body

    @asynccontextmanager
    async def fetch_whole(self, key: bytes, pin: Version | None, ticket: Ticket) -> AsyncIterator[Body]:
        def opening(upstream: Upstream, pin: Version | None, ticket: Ticket) -> AbstractAsyncContextManager[Body]:
            return upstream.source.fetch_whole(upstream.key(key, self._primary), pin, ticket)

        size_bytes = 0 if pin is None else pin.size or 0
        async with self._opened(key, pin, size_bytes, ticket, opening) as body:
            yield body

    @asynccontextmanager
    async def _opened(
        self,
        key: bytes,
        pin: Version | None,
        size_bytes: int,
        ticket: Ticket,
        opening: Callable[[Upstream, Version | None, Ticket], AbstractAsyncContextManager[Body]],
    ) -> AsyncIterator[Body]:
        self._last_key = key
        tickets = _Tickets(ticket)

        async def ask(upstream: Upstream) -> _Opened:
            return await self._open_at(upstream, key, pin, lambda asked: opening(upstream, asked, tickets.another()))

        runners = self._by_word() if pin is None else self._holders(pin, size_bytes, ticket.urgent)
        contest = Contest(runners, _connected(ask), self._patience(runners[0], pin, ticket), undo=_Opened.aclose)
        busy = runners[0]
        busy.health.queued_bytes += size_bytes
        try:
            won = await self._won(contest, pin)
            busy.health.queued_bytes -= size_bytes
            busy = won.upstream
            busy.health.queued_bytes += size_bytes
            others = len(runners) > 1
            async with won.value.stack:
                stall_s = STALL_S if others else float("inf")
                yield WatchedBody(won.value.body, won.value.stat, won.upstream, stall_s, self._bandwidth)
        finally:
            busy.health.queued_bytes -= size_bytes
            tickets.close()

    async def _open_at(
        self,
        upstream: Upstream,
        key: bytes,
        pin: Version | None,
        opening: Callable[[Version | None], AbstractAsyncContextManager[Body]],
    ) -> _Opened:
        """The body from one origin. Raises `AnotherVersion` for a mirror's that can't be joined with the pin."""
        asked = None if pin is None else asked_of(pin, upstream.number)
        async with AsyncExitStack() as stack:
            body = await stack.enter_async_context(opening(asked))
            stat = upstream.told(key, body.stat)
            if pin is not None:
                if not upstream.is_primary and owner(pin) is None and not joinable(pin, stat.version):
                    raise AnotherVersion(f"{upstream.name} has another version of {self.url(key)}")
                stat = Stat(stat.version if upstream.is_primary else pin, stat.mtime_ns)
            return _Opened(stack.pop_all(), body, stat)
        raise AssertionError("nothing is suppressed")

    def _holders(self, pin: Version, size_bytes: int, urgent: bool) -> Sequence[Upstream]:
        """Who may have `pin`, best first: for a reader who waits, those that are sure to have it before the others."""
        self._call_the_fallen()
        now, shared = trio.current_time(), common(pin)
        unsure: set[int] = set()
        holders = []
        for upstream in self.upstreams:
            if asked_of(pin, upstream.number) is None:
                continue
            if shared is not None and not upstream.is_primary:
                has = self._agreements.has(upstream.number, shared, now)
                strange = self._agreements.strange(upstream.number, now) and not self._primary.health.down
                if has is Has.NO or (strange and has is Has.PERHAPS):
                    continue
                if has is Has.PERHAPS:
                    unsure.add(upstream.number)
            holders.append(upstream)
        ranked = self._ranked(holders, size_bytes)
        if urgent:
            ranked = sorted(ranked, key=lambda upstream: (upstream.health.doubted, upstream.number in unsure))
        self._roster.chosen(ranked[0].number, [upstream.number for upstream in holders])
        return ranked

    def _patience(self, first: Upstream, pin: Version | None, ticket: Ticket) -> Patience:
        if pin is None:
            return ONE_FILE
        if not ticket.urgent:
            return Patience(LATE_AHEAD_S)
        usual_s = LATE_FACTOR * (LATE_MAX_S if first.health.latency_s is None else first.health.latency_s)
        return Patience(min(LATE_MAX_S, max(LATE_MIN_S, usual_s)), rated=True)

    async def _won(self, contest: Contest[_Opened], pin: Version | None) -> Won[_Opened]:
        """Who serves `pin`; what the others lacked is remembered."""
        shared = None if pin is None else common(pin)
        try:
            won = await contest.run()
        except RangefsError as error:
            ignored = [e for e in contest.failures.values() if isinstance(e, RangesIgnored)]
            if isinstance(error, Unreachable) and ignored:
                raise ignored[0] from error  # who has it has no ranges: better whole than not at all
            raise
        finally:
            for number, failure in contest.failures.items():
                lacks = not isinstance(failure, Unreachable | DeadlineExceeded | RangesIgnored)
                if shared is not None and lacks and number != PRIMARY:
                    self._agreements.differed(number, shared, trio.current_time())
        if shared is not None:
            self._agreements.agreed(won.upstream.number, shared)
        return won

    # -- for status ----------------------------------------------------------------------

    @property
    def answer(self) -> bool:
        """Is anyone up?"""
        return any(not upstream.health.down for upstream in self.upstreams)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is not as it should be, for people."""
        now = trio.current_time()
        down = [upstream for upstream in self.upstreams if upstream.health.down]
        strange = [upstream for upstream in self.upstreams if self._agreements.strange(upstream.number, now)]
        return (
            *(f"{_role(upstream)} does not serve: {upstream.trouble}" for upstream in down),
            *(f"{_role(u)} {u.name} has other versions than the primary" for u in strange if u not in down),
        )

    def shown(self) -> Sequence[dict[str, Any]]:
        """Each origin, the primary first, as ``status --json`` has them."""
        return [
            {
                "url": upstream.name,
                "role": "primary" if upstream.is_primary else "mirror",
                "state": "down" if upstream.health.down else "ok",
                "requests": upstream.figures.requests,
                "bytes": upstream.figures.bytes,
                "errors": upstream.figures.errors,
                "latency_ms": round(1000 * (upstream.health.latency_s or 0.0), 3),
            }
            for upstream in self.upstreams
        ]


class FindingMirrors(Mirrors):
    """Where the primary is a `Finder`."""

    async def find(self, folder: bytes, name: bytes) -> Entry | None:
        async def ask(upstream: Upstream) -> Entry | None:
            source = upstream.source
            if not isinstance(source, Finder):
                listing = await source.list(upstream.key(folder, self._primary))
                entry = listing.by_name.get(name)
            else:
                entry = await source.find(upstream.key(folder, self._primary), name)
            if entry is None and not upstream.is_primary:
                raise AnotherVersion(f"{upstream.name} has no such name")  # which does not mean that there is none
            return None if entry is None else upstream.entered(entry, self._primary)

        return (await self._asked(ask, ONE_FILE)).value


class _Tickets:
    """A ticket for each queue that one question stands in; all become urgent with the caller's."""

    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket
        self._made: list[Ticket] = []
        ticket.when_urgent(self._hurry)

    def another(self) -> Ticket:
        self._made.append(Ticket(self._ticket.urgent, self._ticket.number))
        return self._made[-1]

    def close(self) -> None:
        self._ticket.when_urgent(None)

    def _hurry(self) -> None:
        for ticket in self._made:
            ticket.urgent = True


def _connected(ask: Callable[[Upstream], Awaitable[T]]) -> Callable[[Upstream], Awaitable[T]]:
    """`ask`, of an origin that is connected first where it was not there so far."""

    async def connect_and_ask(upstream: Upstream) -> T:
        if not upstream.connected:
            await upstream.connect()
        return await ask(upstream)

    return connect_and_ask


def _role(upstream: Upstream) -> str:
    return "the primary" if upstream.is_primary else "the mirror"
