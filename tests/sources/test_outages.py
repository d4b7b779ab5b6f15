"""Origins that die, stall and come back: few requests while they are down, right bytes when they are up."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from rangefs.core.breaker import OPEN_AFTER
from rangefs.core.figures import UpstreamFigures
from rangefs.core.latency import TRUSTED_FROM
from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Level, Version
from rangefs.errors import RangefsError, Unreachable
from rangefs.sources.base import Ticket
from rangefs.sources.peers import OriginDown, Peer
from rangefs.sources.urls import Origin
from rangefs.sources.web import WebSource
from tests.sources.reading import opened, read_body, read_range
from tests.sources.scripted import Asked, Honest, Wire, origin, reply

BODY = bytes(range(256)) * 40
PIN = Version(b"file", Level.STRONG, '"x"', len(BODY))
HERE = Origin("http", "host", 80)


class Switch:
    """An honest server that can be told to hang up on everyone."""

    def __init__(self) -> None:
        self.down = False

    async def __call__(self, asked: Asked, wire: Wire) -> bool:
        if self.down:
            return False
        await wire.send(Honest(BODY).answer(asked))
        return True


def peer_of(source: object) -> Peer:
    (peer,) = source._exchange._peers.values()  # type: ignore[attr-defined]
    assert isinstance(peer, Peer)
    return peer


async def test_many_readers_of_a_dead_origin_send_few_requests(no_pauses: None) -> None:
    switch = Switch()
    errors: list[RangefsError] = []
    async with origin(switch) as server, opened(server.url, connect=False) as source:

        async def read() -> None:
            try:
                await read_range(source, b"file", 0, 10, PIN)
            except Unreachable as error:
                errors.append(error)

        switch.down = True
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(read)
        assert len(errors) == 100
        assert len(server.asked) <= 16 + OPEN_AFTER + 8  # those under way when it opened, and a few probes
        assert source.failing  # type: ignore[attr-defined]


async def test_readers_who_wait_see_the_origin_come_back(no_pauses: None) -> None:
    switch = Switch()
    async with origin(switch) as server, opened(server.url, connect=False) as source:
        switch.down = True
        with pytest.raises(Unreachable):
            await read_range(source, b"file", 0, 10, PIN)
        assert source.failing  # type: ignore[attr-defined]
        switch.down = False
        async with trio.open_nursery() as nursery:
            for start in range(10):
                nursery.start_soon(read_range, source, b"file", start, start + 10, PIN)
        assert not source.failing  # type: ignore[attr-defined]


async def test_nothing_is_fetched_ahead_from_an_origin_that_is_down(no_pauses: None) -> None:
    switch = Switch()
    async with origin(switch) as server, opened(server.url, connect=False) as source:
        switch.down = True
        with pytest.raises(Unreachable):
            await read_range(source, b"file", 0, 10, PIN)
        asked = len(server.asked)
        with pytest.raises(OriginDown):
            await read_body(source.fetch(b"file", 0, 10, PIN, Ticket(urgent=False)))
        assert len(server.asked) == asked


async def test_fetching_ahead_gives_up_trying_before_readers_do(no_pauses: None) -> None:
    async def busy(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(503))
        return True

    async with origin(busy) as server, opened(server.url, connect=False) as source:
        for _ in range(20):
            with pytest.raises(Unreachable):
                await read_body(source.fetch(b"file", 0, 10, PIN, Ticket(urgent=False)))
        assert len(server.asked) <= 20 + 11
        before = len(server.asked)
        with pytest.raises(Unreachable):
            await read_range(source, b"file", 0, 10, PIN)
        assert len(server.asked) == before + 6


async def test_a_probe_that_is_cancelled_makes_room_for_the_next(autojump_clock: object) -> None:
    peer = Peer(HERE, 16, 10.0)
    for _ in range(OPEN_AFTER):
        peer.failed(probe=False)
    assert await peer.enter(Ticket()) is True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.enter, Ticket())
        await trio.testing.wait_all_tasks_blocked()
        peer.cancelled(0.1, probe=True)


async def test_a_deadline_that_passes_in_silence_counts_against_the_origin() -> None:
    peer = Peer(HERE, 16, 10.0)
    for _ in range(OPEN_AFTER):
        peer.cancelled(0.1, probe=False)
    assert not peer.breaker.open
    for _ in range(OPEN_AFTER):
        peer.cancelled(2.0, probe=False)
    assert peer.breaker.open


# -- stalls and hedges -------------------------------------------------------------


async def test_a_stalled_body_is_dropped_at_the_origins_own_pace() -> None:
    peer = Peer(HERE, 16, 10.0)
    assert peer.stalls.body_s == 10.0
    for _ in range(TRUSTED_FROM):
        peer.was_silent(0.001)
    assert peer.stalls.body_s == 2.0
    for _ in range(TRUSTED_FROM):
        peer.was_silent(2.0)
    assert peer.stalls.body_s == 8.0


class OnceStuck:
    """Answers everyone but the first, who waits for ever."""

    def __init__(self, stuck: int = 1) -> None:
        self.stuck = stuck
        self.given_up = trio.Event()

    async def __call__(self, asked: Asked, wire: Wire) -> bool:
        if self.stuck:
            self.stuck -= 1
            await wire.closed_by_peer()
            self.given_up.set()
            return False
        await wire.send(Honest(BODY).answer(asked))
        return True


async def heavy_tail(source: WebSource, url: str) -> None:
    """Makes `source` believe that one answer in thirty takes 60 ms."""
    from rangefs.sources.urls import parse_url

    peer = source._exchange._peer(parse_url(url).origin)
    for late in [0.001] * 97 + [0.06] * 3:
        peer._first_bytes.add(late)


async def test_a_late_answer_is_overtaken_by_a_second_request() -> None:
    script, figures = OnceStuck(), UpstreamFigures()
    async with origin(script) as server:
        source = WebSource(server.url, UpstreamSettings(), figures)
        await heavy_tail(source, server.url)
        with trio.fail_after(5):
            assert await read_range(source, b"file", 0, 100, PIN) == BODY[:100]
            await script.given_up.wait()
        assert (figures.requests, figures.retries, figures.in_flight) == (2, 0, 0)
        await source.aclose()


async def test_both_late_and_cancelled_leaves_nothing_behind() -> None:
    script, figures = OnceStuck(stuck=2), UpstreamFigures()
    async with origin(script) as server:
        source = WebSource(server.url, UpstreamSettings(), figures)
        await heavy_tail(source, server.url)
        with trio.move_on_after(0.3):
            await read_range(source, b"file", 0, 100, PIN)
        assert len(server.asked) == 2
        assert figures.in_flight == 0
        assert await read_range(source, b"file", 0, 100, PIN) == BODY[:100]
        await source.aclose()


async def test_errors_come_through_a_race_as_they_are() -> None:
    async def gone(asked: Asked, wire: Wire) -> bool:
        await trio.sleep(0.1)
        await wire.send(reply(403))
        return True

    async with origin(gone) as server:
        source = WebSource(server.url, UpstreamSettings(), UpstreamFigures())
        await heavy_tail(source, server.url)
        from rangefs.errors import Denied

        with pytest.raises(Denied):
            await read_range(source, b"file", 0, 100, PIN)
        await source.aclose()


async def test_a_large_range_is_never_hedged() -> None:
    script, figures = OnceStuck(), UpstreamFigures()
    async with origin(script) as server:
        source = WebSource(server.url, UpstreamSettings(), figures)
        await heavy_tail(source, server.url)
        with trio.move_on_after(0.2):
            await read_range(source, b"file", 0, 1 << 20, None)
        assert figures.requests == 1
        await source.aclose()


async def test_fetching_ahead_is_never_hedged() -> None:
    script, figures = OnceStuck(), UpstreamFigures()
    async with origin(script) as server:
        source = WebSource(server.url, UpstreamSettings(), figures)
        await heavy_tail(source, server.url)
        with trio.move_on_after(0.2):
            await read_body(source.fetch(b"file", 0, 100, PIN, Ticket(urgent=False)))
        assert figures.requests == 1
        await source.aclose()


async def test_a_burst_of_readers_is_hedged_within_the_budget() -> None:
    script, figures = OnceStuck(stuck=100), UpstreamFigures()
    async with origin(script) as server:
        source = WebSource(server.url, UpstreamSettings(max_connections=64), figures)
        await heavy_tail(source, server.url)
        with trio.move_on_after(0.3):
            async with trio.open_nursery() as nursery:
                for start in range(40):
                    nursery.start_soon(partial(read_range, source, b"file", start, start + 1, PIN))
        assert figures.requests <= 40 + 3 + 2
        assert figures.in_flight == 0
        await source.aclose()
